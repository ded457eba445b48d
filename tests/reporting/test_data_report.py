"""What notebooks 01 and 02 show of datasets, of videos without a face, and of splits."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dfutils.core.params import Place
from dfutils.data import catalog, indexing
from dfutils.faces import batch, video
from dfutils.reporting.data_report import DatasetReport, FacesReport, SplitReport
from tests.support.videos import SETTINGS, indexed


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A dataset of two real videos and two fakes in which there is no face."""
    folder = tmp_path_factory.mktemp("videos")
    for k, name in enumerate(("real/a", "real/b", "fake/swap/a", "fake/blend/c")):
        grey = np.full((64, 64, 3), 40 * (k + 1), np.uint8)
        video.write(folder / f"{name}.mp4", [grey] * 3)
    return folder


def report(root, **changes) -> DatasetReport:
    videos = indexing.probe_videos(indexing.scan("folder", root), root, progress=False).assign(dataset="own", **changes)
    return DatasetReport(videos, [Place("own", "folder", root, root)])


def test_a_fake_stands_beside_the_video_it_was_made_from(root):
    videos = report(root).videos
    assert videos["video_id"].tolist() == ["fake__blend__c", "fake__swap__a", "real__a", "real__b"]
    drawn = report(root, source_video=["real__b", "elsewhere", "", ""]).first_frames()
    assert "real real__b; blend fake__blend__c; real real__a; swap fake__swap__a." in drawn.alt


def test_without_fakes_real_videos_are_shown(root):
    shown = report(root)
    alone = DatasetReport(shown.videos[shown.videos["label"] == 0], shown.places)
    assert "real real__a; real real__b." in alone.first_frames().alt


def test_what_is_not_known_is_a_sentence(root):
    shown = report(root, identity="", donor="")
    assert shown.published_counts() == "No counts are published for these."
    assert shown.people().startswith("Nobody is named")
    assert shown.unreadable() == "All of them can be read."
    assert (
        report(root, identity=["p", "p", "q", ""], donor="").people().startswith("2 people are named, each in 1 to 2")
    )


def test_lost_videos_of_pooled_datasets_are_found_under_their_own_ids(root, tmp_path):
    first = indexed(root, tmp_path)
    datasets = [first, first._replace(name="other", folder=tmp_path / "other")]
    made = {dataset.name: batch.preprocess(dataset, SETTINGS, progress=False) for dataset in datasets}
    videos, frames, strips = catalog.pool_faces(made)
    shown = FacesReport(videos, frames, datasets, made)
    assert not strips and len(shown.lost) == 8
    drawn = shown.rejected_faces(SETTINGS.max_frames)
    assert len(drawn) == 8 and drawn[0].alt.startswith(videos["video_id"].iloc[0])
    assert drawn._repr_html_().count("<img") == 8
    assert shown.review_files().count("review.csv") == 2
    assert shown.reviewed() == "No action is written there."
    assert list(shown.statuses().columns) == ["no_face"]


def test_the_policy_is_said_with_what_it_left_out():
    table = pd.DataFrame({
        "video_id": ["a", "b", "c", "d"], "dataset": "d", "label": [0, 1, 1, 0], "identity": ["p", "", "p", "q"],
        "source_video": "",
        "split": ["train", "test", "", ""], "status": ["ok", "ok", "ok", "excluded"], "method": ["", "", "swap", ""],
    })  # fmt: skip
    shown = SplitReport(table, {}, 64)
    assert shown.policy("random").splitlines()[0].endswith("1 videos are in no split.")
    assert "1 fakes name neither a person nor their source video" in shown.policy("random")
    assert shown.counts().loc["train", "real"] == 1 and np.isnan(shown.counts().loc["val", "real"])
    assert shown.methods().loc["test", "fake"] == 1 and shown.methods().loc["val", "fake"] == 0


def test_a_dataset_without_its_official_list_is_said_to_be_judged_whole():
    table = pd.DataFrame({
        "video_id": list("abcdef"), "dataset": list("lllooo"), "label": [0, 1] * 3, "identity": "", "source_video": "v",
        "official_split": ["test", *[""] * 5], "split": ["eval", "", "", "eval", "eval", "eval"], "status": "ok",
    })  # fmt: skip
    whole = "o: 3 of 3 videos are scored (all videos, as there is no official test list)."
    expected = ["l: 1 of 3 videos are scored (official list).", whole]
    assert SplitReport(table, {}, 64).policy("identity").splitlines()[1:] == expected
    judged = table.replace({"split": {"eval": "test"}})
    assert SplitReport(judged, {}, 64).policy("test").splitlines()[1:] == expected
    assert len(SplitReport(judged, {}, 64).policy("identity").splitlines()) == 1, "the test of a training of one's own"
    all_of_it = SplitReport(table.assign(split="eval"), {}, 64).policy("identity")
    assert "l: 3 of 3 videos are scored (all videos)." in all_of_it


def test_pairs_across_splits_fit_a_page():
    pair = {"split": "train", "other_split": "test", "video_id": "a", "other_video_id": "b", "distance": 0.1234}
    content = pd.DataFrame([{**pair, "label": 0, "other_label": 1}] * 11)
    faces = pd.DataFrame([{"person": 0, **pair, "videos": 3, "other_videos": 2}])
    shown, audit = (
        SplitReport(pd.DataFrame({"split": ["train"]}), {}, 64),
        SimpleNamespace(content=content, faces=faces),
    )
    assert list(shown.shared_content(audit)) == ["splits", "video", "other video", "distance"]
    assert len(shown.shared_content(audit)) == 10
    assert shown.shared_faces(audit).loc[0, ["splits", "videos", "distance"]].tolist() == [
        "train and test",
        "3 and 2",
        0.12,
    ]
    methods = pd.DataFrame(
        [("near", 2, "kind", 1, "known"), ("apart", 1, "", 0, "")],
        columns=["method", "videos", "shared", "sharing", "methods"],
    )
    listed = shown.related_methods(SimpleNamespace(methods=methods))
    assert listed.loc["near"].tolist() == [2, "kind", 1, "known"] and listed.loc["apart"].tolist() == [1, "–", 0, "–"]
    assert "every method" in shown.related_methods(SimpleNamespace(methods=methods.head(0)))
    empty = SimpleNamespace(content=content.head(0), faces=faces.head(0))
    assert shown.shared_content(empty) == shown.shared_faces(empty) == "None."
