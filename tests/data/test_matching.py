"""What is said of trees of videos that do not fit a layout: what was found, what was expected, what to set."""

from pathlib import Path

import pytest

from dfutils.core.errors import InputError
from dfutils.data.indexing import scan

FLAT = ["original/000.mp4", "original/003.mp4", "Deepfakes/000_003.mp4", "NeuralTextures/003_000.mp4"]
SPLIT = [f"{split}/{label}/{k}.mp4" for split in ("train", "test") for label in ("real", "fake") for k in range(3)]
OWN = ["camera one/a.mp4", "camera two/b.mp4"]


@pytest.mark.parametrize(
    ("layout", "paths", "says"),
    [
        # Kaggle's flat FaceForensics++, and a flat dataset that no layout is of.
        ("ffpp", FLAT, ["4 of them fit the layout ff_c23: set `layout: ff_c23`."]),
        ("ffpp", FLAT, ["original (2), Deepfakes (1), NeuralTextures (1)", "for example Deepfakes/000_003.mp4"]),
        ("ffpp", FLAT, ["Expected: files like manipulated_sequences/Deepfakes/c23/videos/000_003.mp4"]),
        (
            "ffpp",
            [path.replace("000_003", "a").replace("original/000", "original/b") for path in FLAT],
            ["If real videos are in original and fake videos are in Deepfakes, NeuralTextures, move or link"],
        ),
        ("folder", SPLIT, ["train/real (3)", "test/fake (3)", "{root}/test, {root}/train are datasets of their own"]),
        ("ffpp", SPLIT, ["name each in `dataset` and `root`, comma-separated, and `layout: folder, folder`"]),
        ("folder", [f"data/{path}" for path in ("real/a.mp4", "fake/x/b.mp4")], ["set `root: {root}/data`."]),
        ("folder", ["0_real/a.mp4", "1_fake/b.mp4"], ["If real videos are in 0_real and fake videos are in 1_fake"]),
        ("folder", ["0_real/a.mp4", "1_fake/b.mp4"], ["real/ and fake/<method>/", "`layout: folder`"]),
        ("folder", ["Celeb-real/id0_0000.mp4"], ["1 of them fit the layout celeb_df_v1: set `layout: celeb_df_v1`."]),
        (
            "folder",
            OWN,
            ["None of the 2 videos", "camera one (1), camera two (1)", "Set `layout` to one of celeb_df_v1"],
        ),
        ("folder", ["a.mp4"], ["no folder (1), for example a.mp4"]),
        (
            "dfdc",
            ["part/a.mp4", "part/b.mp4"],
            ["None of the 2 videos", "has a label", "metadata.json", "folder of part"],
        ),
        (
            "folder",
            ["real/a/0001.png", "real/a/0002.png"],
            ["no video below", "2 images such as real/a/0001.png", "set `layout: images`", "`layout: frames` if"],
        ),
        (
            "wilddeepfake",
            ["real_train/1.tar.gz", "real_train/2.tar.gz"],
            [
                "no folder of frames below {root}, but 2 archives such as real_train/1.tar.gz",
                "in {root}, `tar -xf real_train/1.tar.gz -C real_train`",
            ],
        ),
        ("frames", ["camera/v1/0.png"], ["None of the 1 videos", "in a CSV with the columns path and label"]),
        ("folder", ["notes.txt"], ["There is no video below {root}: Own videos has files like real/any name.mov"]),
    ],
)
def test_a_tree_that_does_not_fit_is_described(tmp_path: Path, layout: str, paths: list[str], says: list[str]) -> None:
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    with pytest.raises(InputError) as caught:
        scan(layout, tmp_path)
    text = str(caught.value)
    assert "\n" not in text
    for part in says:
        assert part.format(root=tmp_path) in text


@pytest.mark.parametrize(("layout", "folder"), [("folder", "real"), ("celeb_df_v2", "Celeb-real")])
def test_a_root_inside_the_dataset_is_told(tmp_path: Path, layout: str, folder: str) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "id0_0000.mp4").touch()
    with pytest.raises(InputError, match=f"one folder too deep: set `root: {tmp_path}`"):
        scan(layout, tmp_path / folder)


def test_what_fits_is_kept_and_the_rest_is_listed_with_what_was_expected(tmp_path: Path) -> None:
    for path in ("real/a.mp4", "fakes/b.mp4"):
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).touch()
    (warning,) = scan("folder", tmp_path).attrs["warnings"]
    assert warning["examples"] == ["fakes/b.mp4"]
    assert warning["text"].endswith("Expected: files like real/any name.mov and fake/<method>/any name.mp4.")
