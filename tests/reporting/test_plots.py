"""What every figure must have: a title that says what is found, units, a description in words, the same two colours."""

import base64
import hashlib
import io
import json
import os
import re
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from PIL import Image
from scipy.special import expit, logit

from dfutils.metrics import figures as metrics_figures
from dfutils.metrics import slices
from dfutils.reporting import comparison_plots, data_plots, image_plots, score_plots
from dfutils.reporting.figure import FAKE, REAL


def scored(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(n) % 2
    odds = np.random.default_rng(0).normal(size=n) * 1.5 + 3 * (labels - 0.5)
    return labels, 1 / (1 + np.exp(-odds))


def videos(n: int = 40) -> pd.DataFrame:
    label = np.arange(n) % 2
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "label": label,
            "method": np.where(label, "swap", ""),
            "dataset": "own",
            "width": 640.0,
            "height": 480.0,
            "fps": np.where(label, 25.0, 30.0),
            "duration_s": rng.gamma(4, 2, n),
            "bitrate": np.exp(rng.normal(13, 0.5, n)),
        }
    )


def faces(n: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    columns = {name: rng.gamma(3, 20, n) for name in ("face_px", "sharpness", "brightness")}
    return pd.DataFrame({"label": np.arange(n) % 2, **columns, "yaw": rng.normal(size=n) * 10})


def history(epochs: int = 4) -> pd.DataFrame:
    epoch = np.arange(1, epochs + 1)
    table = pd.DataFrame({"epoch": epoch, "train_loss": 1 / epoch, "val_loss": 1.2 / epoch, "best": epoch == epochs})
    return table.assign(train_accuracy=1 - 0.4 / epoch, val_accuracy=1 - 0.5 / epoch, val_auc=1 - 0.45 / epoch)


def sliced() -> pd.DataFrame:
    labels = np.repeat([0, 1], [40, 60])
    scores = np.where(labels == 1, 0.9, 0.1)
    scores[85:] = 0.2
    method = np.repeat(["", "easy", "hard"], [40, 40, 20])
    table = pd.DataFrame(
        {"label": labels, "probability_fake": scores, "method": method, "yaw": np.linspace(-20, 20, 100)}
    )
    return slices.by_slice(table, "method", 0.5)


def pictures(count: int = 3, height: int = 40, width: int = 60) -> list[np.ndarray]:
    return [np.random.default_rng(k).integers(0, 255, (height, width, 3), dtype=np.uint8) for k in range(count)]


crops = np.stack(pictures(12, 32, 32))
labels, scores = scored()
heat = np.random.default_rng(5).random((10, 32, 32)).astype(np.float32)
found = {"value": 0.8, "low": 0.7, "high": 0.9}


def disturbed() -> pd.DataFrame:
    names = ["undisturbed", "blur", "blur", "H.264 again", "noise"]
    table = pd.DataFrame({"perturbation": names, "level": [0, 2, 4, 4, 5], "lost": [0, 0.1, 0.5, 0.2, 1.0]})
    table = table.assign(roc_auc=[0.9, 0.8, 0.6, 0.7, np.nan], low=[0.8, 0.7, 0.4, 0.5, np.nan], high=0.95)
    change = table["roc_auc"] - 0.9
    return table.assign(change=change, change_low=change - 0.05, change_high=change + 0.05)


FIGURES = {
    "class_counts": lambda: data_plots.class_counts(videos()),
    "facts": lambda: data_plots.facts(videos()),
    "face_facts": lambda: data_plots.face_facts(faces()),
    "frame_grid": lambda: image_plots.frame_grid(pictures(), ["real\nid0", "swap\nid1", "blend"], title="First frames"),
    "strip": lambda: image_plots.strip(crops[:10], np.linspace(0, 1, 10), 0.6, "A clip", np.arange(10) / 2),
    "review": lambda: image_plots.review(pictures(2), [[((5, 5, 20, 20), "too small")], []], "v1: no face"),
    "curves": lambda: data_plots.curves(history()),
    "learning_rate": lambda: data_plots.learning_rate(
        pd.DataFrame({"done": [0, 1, 2], "learning_rate": [0, 1e-3, 5e-4]})
    ),
    "confusion": lambda: score_plots.confusion([[86, 2], [12, 72]]),
    "intervals": lambda: score_plots.intervals(metrics_figures.summary(labels, scores, resamples=50)),
    "roc_pr": lambda: score_plots.roc_pr(labels, scores, 0.4, metrics_figures.bands(labels, scores, resamples=20)),
    "score_histogram": lambda: score_plots.score_histogram(labels, scores, 0.4, (0.3, 0.6)),
    "reliability": lambda: score_plots.reliability(labels, scores, expit(logit(scores) / 2.0)),
    "slices": lambda: score_plots.slices(sliced()),
    "rates": lambda: score_plots.rates(labels, scores, 0.4),
    "forest": lambda: comparison_plots.forest(
        {"detector": found, "none": dict.fromkeys(found)}, "It beats none", mark="detector"
    ),
    "degradation": lambda: comparison_plots.degradation(disturbed()),
    "explained": lambda: image_plots.explained(
        crops[:10], {"Grad-CAM": heat}, np.linspace(0, 1, 10), 0.5, "A mistake", np.linspace(-1, 1, 10)
    ),
}


@pytest.fixture(scope="module")
def figures():
    return {name: make() for name, make in FIGURES.items()}


@pytest.fixture(scope="module")
def shown(figures):
    return {name: figure._repr_html_() for name, figure in figures.items()}


def words(figure) -> str:
    """Return all text that is drawn."""
    return " | ".join(text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text())


def data(html: str) -> bytes:
    return base64.b64decode(re.search(r"base64,([^\"]+)", html)[1])


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_a_title_a_description_and_fits_the_page(name, figures, shown):
    figure = figures[name]
    assert len(figure.get_suptitle()) > 5
    assert figure.alt.startswith(figure.get_suptitle().replace("\n", " ")) and len(figure.alt) > 30
    assert "nan" not in words(figure).lower() and "nan" not in figure.alt.lower()
    assert figure.get_figwidth() <= 7
    assert figure.get_facecolor() == (1, 1, 1, 1)
    picture = Image.open(io.BytesIO(data(shown[name])))
    assert picture.size[0] == round(figure.get_figwidth() * 150)
    assert len(data(shown[name])) < 150_000


@pytest.mark.parametrize("name", FIGURES)
def test_shown_pictures_carry_their_description_and_load_nothing(name, figures, shown):
    html = shown[name]
    assert html.startswith('<img alt="') and 'src="data:image/' in html and "max-width:100%" in html
    assert "http" not in re.sub(r"base64,[\w+/=]+", "", html)  # a picture's own bytes may spell anything
    assert repr(figures[name]) == f"[Picture: {figures[name].alt}]"


def test_charts_have_axis_labels(figures):
    for name in (
        "facts",
        "face_facts",
        "curves",
        "confusion",
        "roc_pr",
        "score_histogram",
        "reliability",
        "slices",
        "rates",
    ):
        axes = figures[name].axes
        assert any(place.get_xlabel() for place in axes), name
        assert any(place.get_ylabel() for place in axes) or name == "slices", name


def test_real_and_fake_have_the_same_colours_everywhere(figures):
    def drawn(figure):
        patches = figure.findobj(mpl.patches.Patch)
        lines, texts = figure.findobj(mpl.lines.Line2D), figure.findobj(mpl.text.Text)
        return {to_hex(patch.get_facecolor()) for patch in patches} | {
            to_hex(item.get_color()) for item in lines + texts
        }

    both = {REAL.lower(), FAKE.lower()}
    for name in ("class_counts", "facts", "face_facts", "strip", "confusion", "score_histogram", "slices", "explained"):
        assert both <= drawn(figures[name]), name
    for name in ("curves", "intervals", "roc_pr", "reliability", "review", "frame_grid", "forest", "degradation"):
        assert not both & drawn(figures[name]), name


def test_titles_say_what_is_found():
    assert score_plots.confusion([[86, 2], [12, 72]]).get_suptitle() == "72 of 84 fakes caught, 2 of 88 reals accused"
    assert "12 real" in score_plots.confusion([[86, 2], [12, 72]]).alt
    assert data_plots.facts(videos()).get_suptitle().startswith("Rate alone tells fake from real with AUC 1.00")
    assert data_plots.curves(history()).get_suptitle() == "Epoch 4 of 4 is kept: validation loss 0.30, AUC 0.89"
    assert score_plots.slices(sliced()).get_suptitle() == "Mistakes gather in hard: 15 of 20 videos"
    even = sliced().assign(p_holm=1.0)
    assert score_plots.slices(even).get_suptitle() == "No slice stands out from the others more than chance allows"
    assert data_plots.class_counts(videos()).get_suptitle().startswith("20 real and 20 fake videos")
    wrong = ((scores >= 0.4) != (labels == 1)).sum()
    assert score_plots.score_histogram(labels, scores, 0.4).get_suptitle().startswith(f"{wrong} of 60 videos")
    assert "frames" in score_plots.confusion([[1, 0], [0, 1]], unit="frames").alt


def test_what_costs_most_is_said():
    title = comparison_plots.degradation(disturbed()).get_suptitle().replace("\n", " ")
    assert title == "blur at level 4 costs most: AUC 0.90 → 0.60, 50% of the videos without a score"


def test_a_loss_whose_interval_holds_0_is_not_shown_and_never_no_loss():
    unsure = comparison_plots.worst_drop(disturbed().assign(change_high=0.01))
    assert unsure.startswith("A loss is not shown by these videos: AUC 0.90 undisturbed, 0.60 at worst")
    assert "no loss" not in unsure
    assert unsure.endswith("too few are left to judge after noise at level 5")
    calm = comparison_plots.worst_drop(disturbed().assign(roc_auc=0.9, change=0.0, change_high=0.05))
    assert calm.startswith("A loss is not shown")


def test_a_certain_loss_is_said_though_another_row_has_the_lowest_auc():
    table = disturbed().assign(change_high=[0, 0.1, 0.1, -0.02, np.nan], change=[0, -0.1, -0.05, -0.12, np.nan])
    assert comparison_plots.worst_drop(table).startswith("H.264 again at level 4 costs most: AUC 0.90 → 0.70, 20%")


def test_a_slice_that_is_better_than_the_rest_is_not_called_bad():
    table = slices.by_slice(easy(), "method", 0.5)
    assert table.set_index("slice").loc["easy", "p_holm"] < 0.05
    figure = score_plots.slices(table[table["slice"] == "easy"])
    assert figure.get_suptitle().replace("\n", " ").startswith("No slice is worse than the others")
    assert "easy: 2 of 200, better than the others" in figure.alt
    both = score_plots.slices(table)
    assert both.get_suptitle().replace("\n", " ") == "Mistakes gather in hard: 30 of 100 videos"
    assert "hard: 30 of 100, worse than the others" in both.alt


def easy() -> pd.DataFrame:
    scores = np.repeat([0.2, 0.9, 0.2, 0.9], [2, 198, 30, 70])
    return pd.DataFrame({"label": 1, "probability_fake": scores, "method": np.repeat(["easy", "hard"], [200, 100])})


def test_a_calibration_that_raises_the_error_is_said_in_the_title():
    given = {"prior_fake": 0.5, "groups": np.arange(60) // 2}
    better, worse = np.where(labels == 1, 0.8, 0.2), np.where(labels == 1, 0.6, 0.4)
    title = score_plots.reliability(labels, better, worse, **given).get_suptitle().replace("\n", " ")
    assert title == "Calibration raises the calibration error from 0.200 to 0.400, where 50% are fake"
    assert score_plots.reliability(labels, worse, better, **given).get_suptitle().startswith("Calibration takes")


def test_a_heat_map_leaves_zero_as_it_was_and_long_clips_are_thinned():
    figure = image_plots.explained(
        np.tile(crops[:1], (30, 1, 1, 1)), {"map": np.zeros((30, 32, 32))}, np.zeros(30), 0.5
    )
    (original, overlaid) = (axes.images[0].get_array() for axes in figure.axes[:2])
    assert original.shape == overlaid.shape == (32, 320, 3)
    assert np.abs(overlaid.mean(axis=2) - original.mean(axis=2)).max() <= 1
    with pytest.raises(ValueError, match="3 crops"):
        image_plots.explained(crops[:3], {"map": heat[:2]}, np.zeros(3), 0.5)


def test_slices_of_several_properties_stand_under_their_names():
    one = sliced().assign(property="face_px")
    figure = score_plots.slices(pd.concat([one, one.assign(property="mouth_open")]))
    assert "face size in pixels" in words(figure) and "mouth open" in words(figure)


def test_bars_of_a_strip_stand_below_their_faces_in_the_colour_of_the_call():
    given = [0.2, 0.6, 0.7, np.nan]
    figure = image_plots.strip(crops[:4], given, 0.65)
    face, bars = figure.axes
    assert face.get_position().x0 == bars.get_position().x0 and face.get_position().x1 == bars.get_position().x1
    colors = [to_hex(bar.get_facecolor()) for bar in bars.containers[1]]
    assert colors[:3] == [REAL.lower(), REAL.lower(), FAKE.lower()]
    assert "1 of 3 score 0.65 or more" in figure.alt and figure.alt.endswith("0.20, 0.60, 0.70, none.")


def test_a_strip_is_taken_as_frames_or_in_one_piece_and_breaks_after_ten():
    side_by_side = np.concatenate(list(crops[:6]), axis=1)
    assert "6 face crops" in image_plots.strip(side_by_side, title="x").alt
    assert len(image_plots.strip(crops, np.zeros(12)).axes) == 4
    with pytest.raises(ValueError, match="4 crops, but 3"):
        image_plots.strip(crops[:4], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="2 pictures, but 1"):
        image_plots.frame_grid(pictures(2), ["one"])


def test_what_is_missing_is_said_and_breaks_nothing():
    nothing = np.array([], dtype=int)
    undefined = metrics_figures.summary([1, 1], [0.2, 0.6], resamples=10)
    empty = videos().assign(bitrate=np.nan, fps=np.nan)
    made = [
        score_plots.roc_pr([1, 1], [0.2, 0.6], 0.5),
        score_plots.intervals(undefined),
        score_plots.intervals(metrics_figures.summary(nothing, nothing)),
        score_plots.score_histogram([1, 1], [0.2, 0.6], 0.5),
        score_plots.score_histogram(nothing, nothing, 0.5),
        score_plots.reliability(nothing, nothing),
        score_plots.confusion([[0, 0], [1, 2]]),
        score_plots.slices(sliced().head(0)),
        data_plots.class_counts(videos().head(0)),
        data_plots.facts(empty),
        data_plots.facts(videos().head(0)),
        data_plots.facts(videos().assign(label=1)),
        data_plots.curves(history(1).assign(val_auc=np.nan)),
        image_plots.frame_grid([], [], title="Nothing to see"),
        image_plots.review([], [], title="Cannot be read"),
        image_plots.strip(crops[:1], [0.4]),
        score_plots.rates([1, 1], [0.2, 0.6], 0.5),
        comparison_plots.forest({}, "Nothing to compare"),
        comparison_plots.degradation(disturbed().head(1)),
        image_plots.explained(crops[:1], {}, [0.4], 0.5, "One frame", [np.nan]),
    ]
    for figure in made:
        assert "nan" not in figure.alt.lower() and data(figure.to_html())
    assert "undefined" in made[0].alt and "undefined" in made[1].alt
    assert "accuracy 50%" in made[12].alt


def test_descriptions_are_escaped():
    figure = image_plots.frame_grid(pictures(1), ['a "b" <c>'], title="<script>")
    assert "<script>" not in figure.to_html() and "&lt;script&gt;" in figure.to_html()


def test_saved_pictures_are_the_same_every_time(tmp_path):
    """And those of a page: a figure is drawn once."""
    for name in ("one.png", "two.png"):
        figure = score_plots.confusion([[3, 1], [2, 4]])
        figure.save(tmp_path / "figures" / name)
    one, two = (path.read_bytes() for path in sorted((tmp_path / "figures").iterdir()))
    assert one == two and one.startswith(b"\x89PNG")
    assert base64.b64encode(one).decode() in figure.to_html()


def test_no_setting_of_the_user_changes_a_figure(shown, tmp_path):
    rc = tmp_path / "matplotlibrc"
    rc.write_text(
        "text.usetex: True\nbackend: TkAgg\nfont.family: serif\nfont.size: 30\nfigure.dpi: 40\nsavefig.dpi: 30\n"
        "figure.facecolor: black\naxes.facecolor: gray\naxes.grid: False\naxes.prop_cycle: cycler('color', ['lime'])\n"
        "lines.linewidth: 9\npatch.force_edgecolor: True\nimage.cmap: hot\nfigure.autolayout: True\nhatch.color: red\n"
    )
    code = (
        "import hashlib, json; from tests.reporting.test_plots import FIGURES\n"
        "made = {name: make()._repr_html_().encode() for name, make in FIGURES.items()}\n"
        "print(json.dumps({name: hashlib.sha256(html).hexdigest() for name, html in made.items()}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "MATPLOTLIBRC": str(rc)}
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {name: hashlib.sha256(html.encode()).hexdigest() for name, html in shown.items()}


def test_nothing_global_is_touched():
    code = (
        "import sys, matplotlib; before = dict(matplotlib.rcParams)\n"
        "from dfutils.reporting import comparison_plots, data_plots, figure, image_plots, score_plots\n"
        "score_plots.confusion([[3, 1], [2, 4]])._repr_html_()\n"
        "assert dict(matplotlib.rcParams) == before\n"
        "found = {'torch', 'dlib', 'cv2'} & set(sys.modules); assert not found, found\n"
        "from matplotlib import pyplot; assert pyplot.get_fignums() == []\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
