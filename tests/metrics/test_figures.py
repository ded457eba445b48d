"""Figures against scikit-learn or a closed form, intervals against known answers, slices against exact tests."""

from decimal import ROUND_HALF_UP, Decimal
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import fisher_exact
from sklearn import metrics as sk

from dfutils.core.errors import InputError
from dfutils.evaluation import coverage
from dfutils.metrics import calibration, intervals, resampling, slices
from dfutils.metrics import figures as metrics_figures
from dfutils.reporting import tables

FAST = {"resamples": 50}


def random_sets(count: int = 200):
    """Yield labels, scores, threshold: many with ties, some constant, some with one class, some tiny."""
    rng = np.random.default_rng(0)
    for k in range(count):
        n = int(rng.integers(1, 120))
        labels = rng.integers(0, 2, n) if k % 5 else np.full(n, rng.integers(0, 2))
        scores = rng.random(n) * 0.6 + 0.4 * labels * rng.random()
        if k % 2:
            scores = np.round(scores, int(rng.integers(1, 3)))
        if k % 7 == 0:
            scores = np.full(n, round(rng.random(), 2))
        if k % 11 == 0:
            scores = labels.astype(float)
        yield labels, scores, float(rng.choice([0.5, 0.0, 1.0, scores[0]]))


def closed_forms(labels, scores, threshold):
    """Every figure from scikit-learn where it has one, else from its definition, video by video; None if undefined."""
    predicted = (scores >= threshold).astype(int)
    fakes, reals = int((labels == 1).sum()), int((labels == 0).sum())
    both = fakes > 0 and reals > 0
    figures = dict.fromkeys(resampling.NAMES)
    figures["accuracy"] = sk.accuracy_score(labels, predicted)
    by_class = sk.precision_recall_fscore_support(labels, predicted, labels=[0, 1], zero_division=np.nan)[:3]
    for kind, values in zip(("precision", "recall", "f1"), by_class, strict=True):
        for name, value in zip(metrics_figures.CLASSES, values, strict=True):
            figures[f"{kind}_{name}"] = None if np.isnan(value) else value
    figures["log_loss"] = sk.log_loss(labels, scores, labels=[0, 1])
    figures["brier"] = sk.brier_score_loss(labels, scores, pos_label=1)
    inside = [(scores >= k / 10) & ((scores < (k + 1) / 10) | (k == 9)) for k in range(10)]
    parts = [part.mean() * abs(scores[part].mean() - labels[part].mean()) for part in inside if part.any()]
    figures["ece"] = sum(parts)
    if both:
        figures["balanced_accuracy"] = sk.balanced_accuracy_score(labels, predicted)
        figures["roc_auc"] = sk.roc_auc_score(labels, scores)
        figures["average_precision"] = sk.average_precision_score(labels, scores)
        fpr, tpr, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
        figures["tpr_at_fpr_1"] = tpr[fpr <= 0.01].max()
        figures["tpr_at_fpr_5"] = tpr[fpr <= 0.05].max()
        crossing = np.argmax(fpr - (1 - tpr) >= -1e-15)
        before, after = (fpr + tpr - 1)[[crossing - 1, crossing]]
        figures["eer"] = fpr[crossing - 1] - before / (after - before) * (fpr[crossing] - fpr[crossing - 1])
    return figures


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning", "ignore::UserWarning")
def test_figures_equal_scikit_learn_or_closed_form():
    seen = {"ties": 0, "one class": 0, "constant": 0}
    for labels, scores, threshold in random_sets():
        seen["ties"] += len(np.unique(scores)) < len(scores)
        seen["one class"] += len(np.unique(labels)) == 1
        seen["constant"] += len(np.unique(scores)) == 1
        found = metrics_figures.summary(labels, scores, threshold, resamples=2)
        for name, expected in closed_forms(labels, scores, threshold).items():
            value = found[name]["value"]
            if expected is None:
                assert found[name] == {"value": None, "low": None, "high": None, "method": "none"}, name
            else:
                assert value == pytest.approx(expected, abs=1e-12, rel=0), name
    assert min(seen.values()) > 20


@given(
    labels=st.lists(st.integers(0, 1), min_size=0, max_size=30),
    levels=st.integers(0, 5),
    seed=st.integers(0, 1000),
    grouped=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_every_interval_holds_its_value_and_nothing_is_nan(labels, levels, seed, grouped):
    labels = np.array(labels, dtype=int)
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels + 1, len(labels)) / max(levels, 1)
    groups = rng.choice(["", "a", "b", "c"], len(labels)) if grouped else None
    found = metrics_figures.summary(labels, scores, groups=groups, seed=seed, **FAST)
    assert tuple(found) == resampling.NAMES
    for name, entry in found.items():
        assert entry["method"] in intervals.METHODS
        if entry["value"] is None:
            assert entry["low"] is None and entry["high"] is None
        else:
            assert np.isfinite(entry["value"])
            assert (entry["low"] is None) == (entry["high"] is None)
            if entry["low"] is not None:
                assert -1e-12 <= entry["low"] <= entry["value"] <= entry["high"] < np.inf, name
                if name != "log_loss":
                    assert entry["high"] <= 1 + 1e-12 or name in ("brier", "ece"), name


def simulated(n=80, seed=1, shift=1.5):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    return labels, 1 / (1 + np.exp(-rng.normal(size=n) - shift * (labels - 0.5)))


def test_intervals_depend_on_the_seed_and_not_on_the_order_of_rows():
    labels, scores = simulated()
    people = np.array([f"id{k % 13}" if k % 13 else "" for k in range(80)])
    order = np.random.default_rng(5).permutation(80)
    for groups in (None, people):
        mixed = None if groups is None else groups[order]
        first = metrics_figures.summary(labels, scores, groups=groups, seed=3, **FAST)
        assert first == metrics_figures.summary(labels[order], scores[order], groups=mixed, seed=3, **FAST)
        assert first != metrics_figures.summary(labels, scores, groups=groups, seed=4, **FAST)


def test_recall_without_people_is_wilsons_interval():
    labels, scores = np.repeat([0, 1], [20, 25]), np.r_[np.full(20, 0.1), np.full(3, 0.2), np.full(22, 0.9)]
    found = metrics_figures.summary(labels, scores, **FAST)
    low, high = intervals.wilson(22, 25)
    assert found["recall_fake"] == {"value": 22 / 25, "low": low, "high": high, "method": "wilson"}
    # Wilson (1927) for 22 of 25, as Newcombe's method 3 gives it
    assert (low, high) == (pytest.approx(0.7004, abs=1e-4), pytest.approx(0.9583, abs=1e-4))


def test_a_perfect_score_on_ten_videos_is_not_certain():
    labels = np.repeat([0, 1], 5)
    found = metrics_figures.summary(labels, labels * 0.8 + 0.1, **FAST)
    assert found["accuracy"]["value"] == found["roc_auc"]["value"] == 1
    assert found["accuracy"]["low"] == intervals.wilson(10, 10)[0] == pytest.approx(0.7225, abs=1e-4)
    for name in ("recall_fake", "roc_auc", "average_precision", "balanced_accuracy", "f1_fake"):
        assert found[name]["low"] < 0.75 and found[name]["high"] == 1
    assert found["eer"]["high"] > 0.25


def test_three_videos_say_next_to_nothing():
    found = metrics_figures.summary([0, 1, 1], [0.2, 0.8, 0.4], **FAST)
    assert found["accuracy"]["high"] - found["accuracy"]["low"] > 0.7
    assert found["roc_auc"]["low"] < 0.3
    assert found["brier"]["value"] is not None and found["brier"]["low"] is None


def test_more_videos_give_narrower_intervals():
    width = []
    for n in (60, 600):
        found = metrics_figures.summary(*simulated(n), **FAST)
        width.append({name: entry["high"] - entry["low"] for name, entry in found.items()})
    assert all(width[1][name] < width[0][name] for name in resampling.NAMES)


def test_videos_of_one_person_count_less_than_videos_of_many():
    people = np.repeat(np.arange(20), 10)
    hard = np.random.default_rng(0).random(20)[people] < 0.3  # everything goes wrong for some people
    labels = np.arange(200) % 2
    scores = np.where(hard, 1 - labels, labels) * 0.6 + 0.2
    alone = metrics_figures.summary(labels, scores, resamples=300)
    together = metrics_figures.summary(labels, scores, groups=people, resamples=300)
    for name in ("accuracy", "recall_fake", "roc_auc", "eer", "brier", "tpr_at_fpr_5"):
        assert together[name]["value"] == alone[name]["value"]
        assert together[name]["high"] - together[name]["low"] > 1.5 * (alone[name]["high"] - alone[name]["low"]), name


def test_a_person_per_video_and_unknown_people_are_the_same_as_no_people():
    labels, scores = simulated()
    plain = metrics_figures.summary(labels, scores, **FAST)
    assert metrics_figures.summary(labels, scores, groups=np.full(80, ""), **FAST) == plain
    assert metrics_figures.summary(labels, scores, groups=np.arange(80), **FAST) == plain


def test_few_reals_leave_recall_at_one_percent_wide_open():
    labels = np.repeat([0, 1], [30, 200])
    found = metrics_figures.summary(labels, np.linspace(0, 1, 230), **FAST)["tpr_at_fpr_1"]
    assert found["value"] == 1 and found["low"] < 0.6


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1, 1], [0.1, np.nan, np.nan], "2 of 3 scores are NaN"),
        ([0, 1], [0.1, 1.2], "1 of 2 scores are outside"),
        ([0, 2], [0.1, 0.2], "labels must be"),
        ([0, 1], [0.1], "2 labels but 1 scores"),
    ],
)
def test_bad_scores_are_told_in_a_sentence(labels, scores, message):
    with pytest.raises(InputError, match=message):
        metrics_figures.summary(labels, scores)


# --- the seed's table ---


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_report_is_scikit_learns_and_undefined_where_that_says_zero():
    for labels, scores, threshold in random_sets(40):
        predicted = (scores >= threshold).astype(int)
        table = metrics_figures.rates_from_confusion(metrics_figures.confusion(labels, predicted))
        theirs = sk.classification_report(
            labels,
            predicted,
            labels=[0, 1],
            target_names=metrics_figures.CLASSES,
            output_dict=True,
            zero_division=np.nan,
        )
        assert (
            metrics_figures.confusion(labels, predicted) == sk.confusion_matrix(labels, predicted, labels=[0, 1])
        ).all()
        for name in metrics_figures.CLASSES:
            assert list(table.loc[name]) == pytest.approx(list(theirs[name].values()), abs=1e-12, nan_ok=True)
        assert table.loc["accuracy", "f1"] == pytest.approx(sk.accuracy_score(labels, predicted), abs=1e-12)
        if len(np.unique(labels)) == 2 and len(np.unique(predicted)) == 2:
            for name in ("macro avg", "weighted avg"):
                assert list(table.loc[name]) == pytest.approx(list(theirs[name].values()), abs=1e-12)


# As printed in the report of seed two (support 88 real, 84 fake), in the order of the table's cells.
SEED_TWO = {
    "real": {"precision": "0.88", "recall": "0.98", "f1": "0.92"},
    "fake": {"precision": "0.97", "recall": "0.86", "f1": "0.91"},
    "accuracy": {"f1": "0.92"},
    "macro avg": {"precision": "0.92", "recall": "0.92", "f1": "0.92"},
    "weighted avg": {"precision": "0.92", "recall": "0.92", "f1": "0.92"},
}


def differences(matrix) -> list[str]:
    """Name the printed figures of seed two that a confusion matrix does not give at two decimals."""
    table = metrics_figures.rates_from_confusion(matrix)
    two = Decimal("0.01")
    return [
        f"{row} {column}"
        for row, cells in SEED_TWO.items()
        for column, printed in cells.items()
        if Decimal(table.loc[row, column]).quantize(two, ROUND_HALF_UP) != Decimal(printed)
    ]


def test_seed_twos_table_is_rebuilt_but_for_one_figure():
    matrix = np.array([[86, 2], [12, 72]])
    assert differences(matrix) == ["macro avg precision"]  # (0.8776 + 0.9730) / 2 = 0.9253, printed as 0.92
    assert metrics_figures.rates_from_confusion(matrix).loc["macro avg", "precision"] == pytest.approx(
        0.92526, abs=1e-5
    )
    # no other counts do better: both recalls alone leave only these
    fitting = [
        (right_real, right_fake)
        for right_real, right_fake in product(range(89), range(85))
        if round(right_real / 88, 2) == 0.98 and round(right_fake / 84, 2) == 0.86
    ]
    assert fitting == [(86, 72)]


def test_rates_refuse_what_is_no_confusion_matrix():
    for matrix in ([[1, 2]], [[1, -1], [0, 2]], [[0.5, 0.5], [1, 0]]):
        with pytest.raises(InputError, match="2 x 2"):
            metrics_figures.rates_from_confusion(np.array(matrix))


# --- comparisons and bands ---


def test_paired_difference_is_the_difference_and_narrower_than_unpaired():
    labels, scores = simulated(300)
    others = np.clip(scores + np.random.default_rng(0).normal(size=300) * 0.02, 0, 1)
    found = metrics_figures.paired_difference(labels, scores, others, "roc_auc", resamples=200)
    assert found["value"] == pytest.approx(sk.roc_auc_score(labels, scores) - sk.roc_auc_score(labels, others))
    single = metrics_figures.summary(labels, scores, resamples=200)["roc_auc"]
    assert found["high"] - found["low"] < (single["high"] - single["low"]) / 2
    turned = metrics_figures.paired_difference(labels, others, scores, "roc_auc", resamples=200)
    assert turned["value"] == -found["value"]


def test_paired_difference_of_equals_is_zero_and_of_two_perfect_ones_is_not_certain():
    labels, scores = simulated()
    same = metrics_figures.paired_difference(labels, scores, scores, "accuracy", **FAST)
    assert (same["value"], same["low"], same["high"]) == (0, 0, 0)
    perfect = metrics_figures.paired_difference(labels, labels * 0.8 + 0.1, labels * 0.6 + 0.2, "accuracy", **FAST)
    assert perfect["value"] == 0 and perfect["low"] < -0.05 and perfect["high"] > 0.05
    assert metrics_figures.paired_difference([1, 1], [0.1, 0.2], [0.3, 0.4], "roc_auc", **FAST)["value"] is None
    with pytest.raises(InputError, match="not a metric"):
        metrics_figures.paired_difference(labels, scores, scores, "auc")


def test_bands_hold_the_curves():
    labels, scores = simulated(200)
    table = metrics_figures.bands(labels, scores, resamples=200)
    fpr, tpr, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    curve = np.interp(table["x"], fpr, tpr)
    assert ((table["tpr_low"] <= curve + 1e-9) & (curve <= table["tpr_high"] + 1e-9)).mean() > 0.95
    assert (table["precision_low"] <= table["precision_high"]).all()
    assert metrics_figures.bands([1, 1], [0.2, 0.3]).empty


# --- thresholds and calibration ---


def test_threshold_rules_on_known_scores():
    labels, scores = np.array([0, 0, 1, 0, 1, 1]), np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.8])
    assert calibration.choose_threshold(labels, scores, "0.5") == 0.5
    assert calibration.choose_threshold(labels, scores, 0.25) == 0.25
    # 0.25 and 0.5 are equally good (5 of 6): the nearer to 0.5
    assert calibration.choose_threshold(labels, scores, "balanced") == 0.5
    assert calibration.choose_threshold(labels, scores, "recall", 1.0) == pytest.approx(0.25)
    assert calibration.choose_threshold(labels, scores, "recall", 0.6) == 0.5
    assert calibration.choose_threshold(labels, np.ones(6), "recall") == 0.0
    for rule, labels in (("best", [0, 1]), ("1.5", [0, 1]), ("nan", [0, 1]), ("balanced", [1, 1]), ("recall", [0, 0])):
        with pytest.raises(InputError, match="threshold"):
            calibration.choose_threshold(np.array(labels), np.array([0.2, 0.4]), rule)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8)), min_size=2, max_size=40), st.integers(1, 10))
@settings(max_examples=60, deadline=None)
def test_thresholds_are_the_best_there_are(rows, tenths):
    labels, scores = np.array([label for label, _ in rows]), np.array([score for _, score in rows]) / 8
    if len(np.unique(labels)) < 2:
        return

    def rates(threshold):
        called = scores >= threshold
        return called[labels == 1].mean(), (~called[labels == 0]).mean()

    everywhere = np.concatenate([scores, scores + 1e-6])
    best = calibration.choose_threshold(labels, scores, "balanced")
    assert sum(rates(best)) >= max(sum(rates(t)) for t in everywhere) - 1e-12
    least = calibration.choose_threshold(labels, scores, "recall", tenths / 10)
    assert rates(least)[0] >= tenths / 10 - 1e-9
    assert all(rates(t)[1] <= rates(least)[1] for t in everywhere if rates(t)[0] >= tenths / 10)


def divided(scores: np.ndarray, temperature: float) -> np.ndarray:
    """Return scores whose log-odds are divided by a temperature, as scoring divides logits."""
    return expit(logit(np.clip(scores, 1e-12, 1 - 1e-12)) / temperature)


def test_temperature_is_found_again():
    rng = np.random.default_rng(0)
    odds = rng.normal(size=20_000) * 2
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-odds))).astype(int)
    for made in (0.5, 1.0, 3.0):
        scores = 1 / (1 + np.exp(-odds * made))
        assert calibration.fit_temperature(labels, scores) == pytest.approx(made, rel=0.05)
        cooled = divided(scores, made)
        assert cooled == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-6)
    assert divided(scores, 1.0) == pytest.approx(scores, abs=1e-9)


def test_temperature_stays_finite():
    assert calibration.fit_temperature(np.ones(5), np.linspace(0.1, 0.9, 5)) == 1.0
    assert calibration.fit_temperature([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]) == 1.0
    assert calibration.fit_temperature([1, 1, 0, 0], [0.1, 0.2, 0.8, 0.9]) == 20.0
    assert calibration.fit_temperature([0, 1], [0.0, 1.0]) == 1.0
    assert 0.05 <= calibration.fit_temperature([0, 1, 1, 0, 1], [0.49, 0.51, 0.52, 0.51, 0.5]) <= 20


def test_temperature_keeps_the_order_of_scores():
    rng = np.random.default_rng(1)
    odds = np.concatenate([rng.normal(3, 0.3, 200), rng.normal(-3, 0.3, 200), [20.0]])  # a low temperature fits best
    labels = (odds > 0).astype(int)
    labels[0] = 0
    scores = 1 / (1 + np.exp(-odds))
    temperature = calibration.fit_temperature(labels, scores)
    assert temperature < 1
    cooled = divided(scores, temperature)
    assert (np.argsort(cooled, kind="stable") == np.argsort(scores, kind="stable")).all()
    assert len(np.unique(cooled)) == len(np.unique(scores))


def test_reliability_bins_add_up_to_the_calibration_error():
    labels, scores = simulated(200)
    table = calibration.reliability(labels, scores)
    assert table["n"].sum() == 200
    error = (table["n"] * (table["mean_score"] - table["share_fake"]).abs()).sum() / 200
    assert error == pytest.approx(metrics_figures.summary(labels, scores, resamples=2)["ece"]["value"], abs=1e-12)
    assert (table["low"] <= table["share_fake"]).all() and (table["share_fake"] <= table["high"]).all()


# --- the predictions table ---


def predictions() -> pd.DataFrame:
    rows = [
        ("r1", 0, "", "id0", "ok", 0.1),
        ("r2", 0, "", "id1", "ok", 0.7),
        ("r3", 0, "", "", "no_face", np.nan),
        ("r4", 0, "", "", "unreadable", np.nan),
        ("f1", 1, "swap", "id0", "ok", 0.9),
        ("f2", 1, "swap", "id1", "ok", 0.3),
        ("f3", 1, "blend", "id1", "few_faces", np.nan),
        ("f4", 1, "blend", "id2", "excluded", np.nan),
    ]
    table = pd.DataFrame(rows, columns=["video_id", "label", "method", "identity", "status", "probability_fake"])
    return table.assign(dataset="own", split="test")


def test_policies_count_the_videos_without_a_face_as_they_say():
    table = predictions()
    left_out = coverage.with_policy(table)
    assert list(left_out.table["video_id"]) == ["r1", "r2", "f1", "f2"]
    assert left_out.predicted.tolist() == [0, 1, 1, 0]
    assert left_out.groups.tolist() == ["own: id0", "own: id1", "own: id0", "own: id1"]
    assert left_out.coverage == pytest.approx(4 / 7)
    called = coverage.with_policy(table, "fake")
    assert list(called.table["video_id"]) == ["r1", "r2", "r3", "f1", "f2", "f3"]
    assert called.scores.tolist() == [0.1, 0.7, 1.0, 0.9, 0.3, 1.0] and called.groups[2] == ""
    assert metrics_figures.confusion(called.labels, called.predicted).tolist() == [[1, 2], [1, 2]]
    assert coverage.with_policy(table, "real").scores[2] == 0.0
    assert coverage.with_policy(table, threshold=0.2).predicted.tolist() == [0, 1, 1, 1]
    assert coverage.coverage(table) == {
        "videos": 7, "scored": 4, "share": pytest.approx(4 / 7), "real": 0.5, "fake": pytest.approx(2 / 3),
    }  # fmt: skip
    assert coverage.coverage(table.head(0)) == {"videos": 0, "scored": 0, "share": None, "real": None, "fake": None}
    assert len(coverage.with_policy(table.head(0)).labels) == 0


def test_policies_refuse_unknown_ones_and_scores_that_are_missing():
    with pytest.raises(InputError, match="abstain, real or fake"):
        coverage.with_policy(predictions(), "guess")
    broken = predictions()
    broken.loc[0, "probability_fake"] = np.nan
    with pytest.raises(InputError, match="1 of 8 videos have faces but no score"):
        coverage.with_policy(broken)


def sliced(**columns) -> pd.DataFrame:
    labels = np.repeat([0, 1], [40, 60])
    scores = np.where(labels == 1, 0.9, 0.1)
    scores[[0, 1]] = 0.8  # two false alarms
    scores[85:] = 0.2  # the last fifteen fakes are missed
    return pd.DataFrame({"label": labels, "probability_fake": scores, **columns})


def test_slices_by_method_are_compared_with_the_other_fakes():
    table = sliced(method=np.repeat(["", "easy", "hard"], [40, 40, 20]))
    found = slices.by_slice(table, "method", 0.5).set_index("slice")
    assert list(found.index) == ["real", "easy", "hard"] and found["n"].tolist() == [40, 40, 20]
    assert found.loc["hard", "errors"] == 15 and found.loc["hard", "recall_fake"] == 0.25
    assert found.loc["hard", ["low", "high"]].tolist() == list(intervals.wilson(15, 20))
    assert np.isnan(found.loc["hard", "recall_real"]) and found.loc["real", "recall_real"] == 0.95
    expected = fisher_exact([[15, 5], [0, 40]]).pvalue
    assert found.loc["hard", "p"] == pytest.approx(expected) and found.loc["easy", "p"] == pytest.approx(expected)
    assert np.isnan(found.loc["real", "p"]) and found.loc["hard", "p_holm"] == pytest.approx(2 * expected)


def test_slices_for_the_reader_are_in_percent_below_their_property():
    table = slices.by_slice(sliced(method=np.repeat(["", "easy", "hard"], [40, 40, 20])), "method", 0.5)
    found = tables.slices(table)
    assert found.loc["hard"].tolist() == ["15 of 20", "75%", "53% – 89%", "–", "25%", "< .001"]
    assert found.loc["real", ["reals kept", "fakes caught", "corrected p"]].tolist() == ["95%", "–", "–"]
    named = tables.slices(table.assign(property=["method", "method", "face_px"]))
    assert list(named.index) == [("method", "real"), ("method", "easy"), ("face size in pixels", "hard")]


def test_slices_of_numbers_are_quarters_and_missing_values_a_slice():
    size = np.linspace(20, 119, 100)
    size[:3] = np.nan
    found = slices.by_slice(sliced(face_px=size, people=np.repeat([1, 2], 50)), "face_px", 0.5)
    assert list(found["slice"][-1:]) == ["unknown"] and found["n"].tolist() == [24, 24, 24, 25, 3]
    assert found["errors"].sum() == 17 and found["slice"][0] == "23 to 47"
    assert slices.by_slice(sliced(people=np.repeat([1, 2], 50)), "people", 0.5)["slice"].tolist() == ["1", "2"]
    assert slices.by_slice(sliced(x=np.ones(100)), "x", 0.5)["p"].isna().all()
    with pytest.raises(InputError, match="no column 'age'"):
        slices.by_slice(sliced(), "age", 0.5)


def test_slices_leave_out_videos_without_a_score():
    table = sliced(codec=np.repeat(["h264", "mpeg4"], 50))
    table.loc[:9, "probability_fake"] = np.nan
    assert slices.by_slice(table, "codec", 0.5)["n"].sum() == 90
    assert slices.by_slice(table.head(0), "codec", 0.5).empty


def test_holm_on_a_worked_example():
    assert slices.holm([0.01, 0.04, np.nan, 0.03]) == pytest.approx([0.03, 0.06, np.nan, 0.06], nan_ok=True)
    assert slices.holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert len(slices.holm([])) == 0


def test_one_figure_alone_and_many_threads_give_what_all_figures_and_one_thread_give():
    labels, scores = simulated(2500)
    sample = resampling.prepare(labels, scores, 0.5)
    drawn = next(resampling.draw_weights(labels, None, 40, 0))
    alone = resampling.roc_auc(sample, drawn)
    assert np.allclose(alone, resampling.figures(sample, drawn)[0][:, resampling.NAMES.index("roc_auc")], atol=1e-12)
    one = [resampling.roc_auc(sample, weights) for weights in resampling.draw_weights(labels, None, 2000, 0)]
    many = list(resampling.each_resample(lambda weights: resampling.roc_auc(sample, weights), labels, None, 2000, 0))
    assert len(many) > 1
    assert np.array_equal(np.concatenate(one), np.concatenate(many))


def test_two_people_who_are_judged_alike_do_not_make_a_score_sure():
    labels = np.array([0, 1, 1, 1, 1] * 2)
    scores = np.array([0.5, 0.4, 0.6, 0.7, 0.8] * 2)
    auc = metrics_figures.summary(labels, scores, groups=np.array(["one"] * 5 + ["two"] * 5, dtype=object))["roc_auc"]
    assert auc["value"] == 0.75
    assert auc["low"] < 0.4
    assert auc["high"] > 0.9
