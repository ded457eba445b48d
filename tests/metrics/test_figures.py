"""Tests of figures against scikit-learn or a closed form, and of intervals against known answers."""

from decimal import ROUND_HALF_UP, Decimal
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from dfutils.core.errors import InputError
from dfutils.metrics import calibration, intervals, resampling
from dfutils.metrics import figures as metrics_figures
from tests.support.scores import simulated

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
        figures = metrics_figures.summary(labels, scores, threshold, resamples=2)
        for name, expected in closed_forms(labels, scores, threshold).items():
            value = figures[name]["value"]
            if expected is None:
                assert figures[name] == {"value": None, "low": None, "high": None, "method": "none"}, name
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
    figures = metrics_figures.summary(labels, scores, groups=groups, seed=seed, **FAST)
    assert tuple(figures) == resampling.NAMES
    for name, entry in figures.items():
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
    figures = metrics_figures.summary(labels, scores, **FAST)
    low, high = intervals.wilson(22, 25)
    assert figures["recall_fake"] == {"value": 22 / 25, "low": low, "high": high, "method": "wilson"}
    # Wilson (1927) for 22 of 25, as Newcombe's method 3 gives it
    assert (low, high) == (pytest.approx(0.7004, abs=1e-4), pytest.approx(0.9583, abs=1e-4))


def test_a_perfect_score_on_ten_videos_is_not_certain():
    labels = np.repeat([0, 1], 5)
    figures = metrics_figures.summary(labels, labels * 0.8 + 0.1, **FAST)
    assert figures["accuracy"]["value"] == figures["roc_auc"]["value"] == 1
    assert figures["accuracy"]["low"] == intervals.wilson(10, 10)[0] == pytest.approx(0.7225, abs=1e-4)
    for name in ("recall_fake", "roc_auc", "average_precision", "balanced_accuracy", "f1_fake"):
        assert figures[name]["low"] < 0.75 and figures[name]["high"] == 1
    assert figures["eer"]["high"] > 0.25


def test_three_videos_give_wide_intervals():
    figures = metrics_figures.summary([0, 1, 1], [0.2, 0.8, 0.4], **FAST)
    assert figures["accuracy"]["high"] - figures["accuracy"]["low"] > 0.7
    assert figures["roc_auc"]["low"] < 0.3
    assert figures["brier"]["value"] is not None and figures["brier"]["low"] is None


def test_more_videos_give_narrower_intervals():
    width = []
    for n in (60, 600):
        figures = metrics_figures.summary(*simulated(n), **FAST)
        width.append({name: entry["high"] - entry["low"] for name, entry in figures.items()})
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


def test_few_reals_give_a_wide_interval_of_recall_at_one_percent():
    labels = np.repeat([0, 1], [30, 200])
    figure = metrics_figures.summary(labels, np.linspace(0, 1, 230), **FAST)["tpr_at_fpr_1"]
    assert figure["value"] == 1 and figure["low"] < 0.6


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1, 1], [0.1, np.nan, np.nan], "2 of 3 scores are NaN"),
        ([0, 1], [0.1, 1.2], "1 of 2 scores are outside"),
        ([0, 2], [0.1, 0.2], "labels must be"),
        ([0, 1], [0.1], "2 labels but 1 scores"),
    ],
)
def test_invalid_scores_raise_one_sentence(labels, scores, message):
    with pytest.raises(InputError, match=message):
        metrics_figures.summary(labels, scores)


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


# As printed in the report of a ResNeXt-50 + LSTM project (support 88 real, 84 fake), in the order of the table's cells.
SEED_TWO = {
    "real": {"precision": "0.88", "recall": "0.98", "f1": "0.92"},
    "fake": {"precision": "0.97", "recall": "0.86", "f1": "0.91"},
    "accuracy": {"f1": "0.92"},
    "macro avg": {"precision": "0.92", "recall": "0.92", "f1": "0.92"},
    "weighted avg": {"precision": "0.92", "recall": "0.92", "f1": "0.92"},
}


def differences(matrix) -> list[str]:
    """Name the printed figures of that report that a confusion matrix does not give at two decimals."""
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


def test_rates_refuse_an_invalid_confusion_matrix():
    for matrix in ([[1, 2]], [[1, -1], [0, 2]], [[0.5, 0.5], [1, 0]]):
        with pytest.raises(InputError, match="2 x 2"):
            metrics_figures.rates_from_confusion(np.array(matrix))


def test_paired_difference_is_the_difference_and_narrower_than_unpaired():
    labels, scores = simulated(300)
    others = np.clip(scores + np.random.default_rng(0).normal(size=300) * 0.02, 0, 1)
    difference = metrics_figures.paired_difference(labels, scores, others, "roc_auc", resamples=200)
    assert difference["value"] == pytest.approx(sk.roc_auc_score(labels, scores) - sk.roc_auc_score(labels, others))
    single = metrics_figures.summary(labels, scores, resamples=200)["roc_auc"]
    assert difference["high"] - difference["low"] < (single["high"] - single["low"]) / 2
    turned = metrics_figures.paired_difference(labels, others, scores, "roc_auc", resamples=200)
    assert turned["value"] == -difference["value"]


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


def test_two_people_who_are_judged_alike_do_not_make_a_score_sure():
    labels = np.array([0, 1, 1, 1, 1] * 2)
    scores = np.array([0.5, 0.4, 0.6, 0.7, 0.8] * 2)
    auc = metrics_figures.summary(labels, scores, groups=np.array(["one"] * 5 + ["two"] * 5, dtype=object))["roc_auc"]
    assert auc["value"] == 0.75
    assert auc["low"] < 0.4
    assert auc["high"] > 0.9


def test_losses_under_a_stated_share_of_fakes_are_those_of_so_many_copies():
    labels, scores = np.repeat([0, 1], [10, 90]), np.linspace(0.05, 0.95, 100)
    found = metrics_figures.summary(labels, scores, prior_fake=0.5, resamples=50)
    copies = np.where(labels == 1, 1, 9)
    plain = metrics_figures.summary(np.repeat(labels, copies), np.repeat(scores, copies), resamples=2)
    for name in ("log_loss", "brier", "ece"):
        assert found[name]["value"] == pytest.approx(plain[name]["value"], abs=1e-12)
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]
    assert found["roc_auc"] == metrics_figures.summary(labels, scores, resamples=50)["roc_auc"]
    alone = metrics_figures.summary([1, 1], [0.2, 0.3], prior_fake=0.5, resamples=50)
    assert alone["log_loss"]["value"] is None and alone["recall_fake"]["value"] == 0


def test_a_paired_difference_of_fewer_than_five_people_has_no_interval():
    labels, scores = simulated(80)
    others = np.clip(scores + np.random.default_rng(0).normal(size=80) * 0.1, 0, 1)
    for people, sure in ((2, False), (4, False), (5, True), (20, True)):
        found = metrics_figures.paired_difference(
            labels, scores, others, "roc_auc", groups=np.arange(80) // 2 % people, resamples=100
        )
        assert found["value"] is not None
        assert (found["low"] is not None) == sure, people
    one_real = metrics_figures.paired_difference([0, *[1] * 9], scores[:10], others[:10], "roc_auc", resamples=100)
    assert one_real["low"] is None


def test_a_paired_interval_is_students_with_the_corrected_standard_error():
    labels, scores = simulated(60)
    others = np.clip(scores + np.random.default_rng(0).normal(size=60) * 0.1, 0, 1)
    groups = np.arange(60) // 12  # five people, each with real and fake videos
    found = metrics_figures.paired_difference(labels, scores, others, "accuracy", groups=groups, resamples=2000)
    right = [((values >= 0.5) == labels).astype(float) for values in (scores, others)]
    by_person = np.bincount(groups, right[0] - right[1]) / 12
    error = by_person.std(ddof=0) / np.sqrt(5) * np.sqrt(5 / 4)  # of a mean over people, ratio to n - 1
    assert found["high"] - found["value"] == pytest.approx(2.776 * error, rel=0.1)


@pytest.mark.parametrize("kind", ["one group", "a video a group", "reals of one group", "equal", "certain", "infinite"])
def test_hard_inputs_give_figures_that_are_undefined_and_never_nan(kind):
    labels, scores = simulated(40)
    groups = np.arange(40) // 2
    if kind == "one group":
        groups = np.zeros(40, int)
    if kind == "a video a group":
        groups = np.arange(40)
    if kind == "reals of one group":
        groups = np.where(labels == 0, 0, 1 + np.arange(40))
    if kind == "equal":
        scores = np.full(40, 0.5)
    if kind == "certain":
        scores = labels.astype(float)
    if kind == "infinite":
        scores = calibration.Scaling(2.0, 1.0).probability(np.where(np.arange(40) % 3, 1.0, -np.inf))
    found = metrics_figures.summary(labels, scores, groups=groups, prior_fake=0.5, **FAST)
    for name, entry in found.items():
        for value in (entry["value"], entry["low"], entry["high"]):
            assert value is None or np.isfinite(value), name
    if kind in ("one group", "reals of one group"):
        assert found["brier"]["low"] is None
        for name in ("roc_auc", "recall_real"):
            assert found[name]["high"] - found[name]["low"] > 0.6, name
    if kind in ("equal", "certain"):  # that all losses are equal does not make them sure
        for name in ("log_loss", "brier", "ece"):
            assert found[name]["value"] is not None and found[name]["low"] is None, name
    if kind == "a video a group":
        assert found == metrics_figures.summary(labels, scores, prior_fake=0.5, **FAST)
        missing = np.full(40, None, dtype=object)
        assert found == metrics_figures.summary(labels, scores, groups=missing, prior_fake=0.5, **FAST)
