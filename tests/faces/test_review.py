"""review.csv: every video without a strip is listed, actions are applied and never lost, errors name their line."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skimage.data

from dfutils.core.errors import InputError
from dfutils.faces import batch, review, video
from tests.support.videos import SETTINGS, face_clip, indexed

FACE = (66, 30, 120, 120)  # roughly, in the frames of `face_clip`


@pytest.fixture
def dataset(tmp_path):
    root = tmp_path / "videos"
    (root / "real").mkdir(parents=True)
    (root / "fake" / "swap").mkdir(parents=True)
    face_clip(root / "real" / "face.mp4")
    face_clip(root / "real" / "one.mp4", frames=1)
    rng = np.random.default_rng(0)
    video.write(root / "fake" / "swap" / "noise ü.mp4", rng.integers(0, 255, (12, 96, 96, 3), dtype=np.uint8))
    (root / "real" / "empty.mp4").write_bytes(b"")
    return indexed(root, tmp_path)


def run(dataset) -> batch.Preprocessed:
    return batch.preprocess(dataset, SETTINGS, progress=False)


def listed(result: batch.Preprocessed) -> dict[str, dict[str, str]]:
    with (result.folder / review.NAME).open(encoding="utf-8-sig", newline="") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def write(result: batch.Preprocessed, actions: dict[str, str], extra: str = "") -> None:
    """Write actions into the file as a user would."""
    path = result.folder / review.NAME
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    for name, action in actions.items():
        (k,) = [k for k, line in enumerate(lines) if f"{name}.mp4," in line]
        lines[k] = f"{lines[k].rpartition(',')[0]},{action}"
    path.write_text("\n".join(lines) + "\n" + extra, encoding="utf-8")


def test_lost_videos_are_listed_and_actions_applied(dataset):
    result = run(dataset)
    assert result.reviewed.empty
    rows = listed(result)
    assert {path: row["status"] for path, row in rows.items()} == {
        "fake/swap/noise ü.mp4": "no_face",
        "real/empty.mp4": "unreadable",
        "real/one.mp4": "few_faces",
    }
    assert all(row["reason"] and row["action"] == "" for row in rows.values())
    write(result, {"one": "exclude", "empty": "Retry", "noise ü": "box 10 10 60 60.5"}, extra="real__face,,,,exclude\n")
    result = run(dataset)
    videos = result.videos.set_index("path")
    assert videos["status"].to_dict() == {
        "fake/swap/noise ü.mp4": "ok",
        "real/empty.mp4": "unreadable",
        "real/face.mp4": "excluded",
        "real/one.mp4": "excluded",
    }
    assert (videos.loc[videos["status"] == "excluded", ["strip", "reason"]] == ["", "excluded in review.csv."]).all(
        axis=None
    )
    boxed = result.frames[result.frames["video_id"] == videos.loc["fake/swap/noise ü.mp4", "video_id"]]
    assert (boxed[["x", "y", "w", "h"]] == [10, 10, 60, 60.5]).all(axis=None) and len(boxed) == 4
    results = dict(zip(result.reviewed["action"], result.reviewed["result"], strict=True))
    assert results["exclude"] == "excluded" and results["box 10 10 60 60.5"] == "has a strip"
    assert results["retry"].startswith("still unreadable: empty.mp4 is empty")
    rows = listed(result)
    assert rows["fake/swap/noise ü.mp4"]["action"] == "box 10 10 60 60.5", "actions stay, to be applied again"
    assert rows["real/face.mp4"]["status"] == "excluded"
    before = (result.folder / review.NAME).read_bytes()
    again = run(dataset)
    assert (result.folder / review.NAME).read_bytes() == before
    assert again.videos.equals(result.videos)


def test_an_action_taken_back_is_taken_back(dataset):
    result = run(dataset)
    before = result.videos
    write(result, {"one": "exclude", "noise ü": "box 10 10 60 60"})
    run(dataset)
    (result.folder / review.NAME).unlink()
    assert run(dataset).videos.equals(before)


def test_retry_tries_until_the_video_is_whole(dataset):
    write(run(dataset), {"empty": "retry", "one": "retry"})
    face_clip(dataset.root / "real" / "empty.mp4")
    result = run(dataset)
    assert result.videos.set_index("path")["status"][["real/empty.mp4", "real/one.mp4"]].tolist() == ["ok", "few_faces"]


def test_a_face_in_a_box_is_cropped_there_with_its_landmarks(dataset, tmp_path):
    picture = np.ascontiguousarray(skimage.data.astronaut()[:300, 80:380])
    video.write(dataset.root / "real" / "one.mp4", [picture] * 12)
    write(run(dataset._replace(videos=dataset.videos)), {"noise ü": "exclude"})
    result = run(dataset)
    path = result.folder / review.NAME
    path.write_text("video_id;path;status;reason;action;note\nreal__one;;;;box 66,30,120,120;mine\n", encoding="utf-8")
    result = run(dataset)
    assert result.reviewed["result"].tolist() == ["has a strip"]
    frames = result.frames[result.frames["video_id"] == "real__one"]
    assert (frames[["x", "y", "w", "h"]] == list(FACE)).all(axis=None) and frames["score"].isna().all()
    points = np.array(frames["landmarks"].iloc[0]).reshape(68, 2)
    assert points.min() > 5 and points.max() < 64
    assert points[36:48, 1].mean() < points[48:68, 1].mean()  # eyes above the mouth
    text = path.read_text(encoding="utf-8-sig")
    assert text.startswith("video_id;path;status;reason;action;note\n") and ";box 66,30,120,120;mine\n" in text


def test_a_box_outside_the_picture_is_told(dataset):
    write(run(dataset), {"noise ü": "box 400 10 60 60"})
    result = run(dataset)
    assert result.reviewed["result"].tolist() == ["still no_face: The box 400 10 60 60 is not in the 96x96 frame."]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("real__one,,,,throw away\n", "line 2: 'throw away' is no action; write exclude, retry, or box x y w h"),
        ("real__one,,,,box 1 2 3\n", "line 2: 'box 1 2 3' is no action"),
        ("real__one,,,,box 1 2 0 5\n", "line 2: 'box 1 2 0 5' is no action"),
        ("real__two,,,,exclude\n", "line 2: there is no video 'real__two'"),
        ("real__one,,,,exclude\nreal__one,,,,retry\n", "line 3: real__one has another action on a line above"),
    ],
)
def test_a_mistake_names_its_line_and_loses_nothing(dataset, line, words):
    result = run(dataset)
    path = result.folder / review.NAME
    path.write_text("video_id,path,status,reason,action\n" + line, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        run(dataset)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert path.read_text(encoding="utf-8").endswith(line)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("head", ["", "sep=;\n", "sep=;\r\n"])
def test_a_list_that_a_spreadsheet_program_saved_is_read(tmp_path, encoding, head):
    rows = "video_id;path;status;reason;action\na;\u00fc, a.mp4;no_face;x;exclude\n"
    (tmp_path / review.NAME).write_text(head + rows, encoding=encoding, newline="")
    assert review.actions(tmp_path, {"a"}) == {"a": review.Action("exclude")}
    videos = pd.DataFrame([("a", "\u00fc, a.mp4", "no_face", "y")], columns=review.COLUMNS[:-1])
    review.update(tmp_path, videos)
    assert review.actions(tmp_path, {"a"}) == {"a": review.Action("exclude")}
    (tmp_path / review.NAME).write_text(head + rows.replace("exclude", "exlude"), encoding=encoding, newline="")
    with pytest.raises(InputError, match=f"line {2 + bool(head)}: 'exlude' is no action"):
        review.actions(tmp_path, {"a"})


def test_a_file_that_is_no_list_is_a_sentence(dataset):
    result = run(dataset)
    for content in (b"a,b\n1,2\n", b"\xff\xfe\x00", b""):
        (result.folder / review.NAME).write_bytes(content)
        with pytest.raises(InputError, match=r"review\.csv"):
            run(dataset)
        assert (result.folder / review.NAME).read_bytes() == content


def test_what_is_written_while_a_run_is_at_work_is_kept(dataset, monkeypatch):
    result = run(dataset)
    update = review.update

    def write_and_update(folder: Path, videos) -> None:
        write(result, {"one": "exclude"})
        update(folder, videos)

    monkeypatch.setattr(review, "update", write_and_update)
    assert run(dataset).reviewed.empty
    assert listed(result)["real/one.mp4"]["action"] == "exclude"
    monkeypatch.undo()
    assert run(dataset).reviewed["result"].tolist() == ["excluded"]
