"""Methods, compressions and sources chosen within datasets of FaceForensics++'s shape."""

import pytest

from dfutils.core.errors import InputError
from dfutils.core.params import Indexed, SelectionSettings
from dfutils.data.selection import choose
from tests.support.trees import indexed

FFPP = [
    *(f"original_sequences/youtube/{c}/videos/{n}.mp4" for c in ("c23", "c40") for n in ("000", "001")),
    "original_sequences/actors/c23/videos/01__exit.mp4",
    *(f"manipulated_sequences/{m}/{c}/videos/000_001.mp4" for m in ("Deepfakes", "FaceSwap") for c in ("c23", "c40")),
    "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__exit__ABCDEFGH.mp4",
]
CELEB = ["Celeb-real/id0_0000.mp4", "YouTube-real/00000.mp4", "Celeb-synthesis/id0_id1_0000.mp4"]


@pytest.fixture
def datasets(tmp_path) -> list[Indexed]:
    return [indexed(tmp_path / "a", "ffpp", FFPP), indexed(tmp_path / "b", "celeb_df_v2", CELEB)]


def chosen(datasets: list[Indexed], **selection: str) -> list[set[str]]:
    return [set(dataset.videos["path"]) for dataset in choose(datasets, SelectionSettings(**selection))]


def test_nothing_named_is_everything(datasets):
    assert chosen(datasets) == [set(FFPP), set(CELEB)]


def test_c23_of_youtube_and_two_methods_as_papers_print_it(datasets):
    ffpp, celeb = chosen(datasets, methods="deepfakes, FaceSwap", compressions="C23", sources="youtube")
    assert ffpp == {name for name in FFPP if "c23" in name and "actors" not in name and "DeepFakeDetection" not in name}
    assert celeb == set(CELEB), "a dataset that knows none of the names is used whole"


def test_fakes_go_with_the_real_videos_they_were_made_from(datasets):
    ffpp, _ = chosen(datasets, sources="youtube")
    assert ffpp == {name for name in FFPP if "actors" not in name and "DeepFakeDetection" not in name}
    assert chosen(datasets, sources="Celeb-real")[1] == {name for name in CELEB if "YouTube" not in name}


def test_every_video_is_chosen_or_left_out(datasets):
    for before, now in zip(datasets, choose(datasets, SelectionSettings(methods="FaceSwap")), strict=True):
        ids = set(now.videos["video_id"])
        assert ids | now.left_out == set(before.videos["video_id"])
        assert not ids & now.left_out


@pytest.mark.parametrize(
    ("selection", "says"),
    [
        (
            {"methods": "Deepfake"},
            "methods: no dataset has deepfake; what they have: Celeb-synthesis, DeepFakeDetection",
        ),
        ({"compressions": "raw"}, "compressions: no dataset has raw; what they have: c23, c40"),
        ({"sources": "actor"}, "sources: no dataset has actor"),
        ({"compressions": "c40", "methods": "DeepFakeDetection"}, "ffpp without real or without fake videos"),
    ],
)
def test_what_cannot_be_chosen_is_said(datasets, selection, says):
    with pytest.raises(InputError, match=says):
        choose(datasets, SelectionSettings(**selection))
