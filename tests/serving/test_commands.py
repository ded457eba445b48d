"""What `dfutils predict` writes, and which arguments it refuses."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dfutils.core.errors import InputError
from dfutils.faces import video
from dfutils.serving import commands
from dfutils.serving import verdict as verdicts


def judged(videos: list[str], folder: Path, **wishes: object) -> bool:
    wishes = {"as_json": False, "csv": None, "explain": None, **wishes}
    return commands.predict(videos, str(folder), **wishes)


def test_the_command_writes_a_line_a_video_and_tells_whether_all_were_scored(
    clips_dir, folder, blank, tmp_path, capsys
):
    words = [str(clips_dir / "d18.mp4"), str(blank.parent)]
    assert not judged(words, folder, as_json=True, csv=tmp_path / "t.csv", explain=tmp_path / "reports")
    out, err = capsys.readouterr()
    first, second = (json.loads(line) for line in out.splitlines())
    assert (first["status"], second["status"]) == ("ok", "no_face")
    assert first["model"]["name"] == "small"
    assert "1 of 2 videos could not be judged" in err
    assert "knows nothing of real videos" in err
    table = pd.read_csv(tmp_path / "t.csv")
    assert table["probability_fake"].isna().tolist() == [False, True]
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == ["blank.html", "d18.html"]
    assert all("never measured" in text for text in table["warnings"])
    assert judged([str(clips_dir / "d1[8].mp4")], folder)
    line, *rows, limits = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{clips_dir / 'd18.mp4'}: looks {first['prediction']} to this detector. {first['sure']}")
    assert "real videos look as suspicious" in line and "Its score is 0." in line
    assert "was never measured on any" in limits
    assert rows[0].split()[:3] == ["person", "seen", "face"] and rows[-1].strip() == "2 windows were looked at."


def test_words_that_name_no_video_are_said_before_anything_is_loaded(tmp_path, folder):
    for words in ([str(tmp_path)], [str(tmp_path / "*.mp4")], [str(tmp_path / "x.mp4")]):
        with pytest.raises(InputError, match="is no video"):
            judged(words, folder)
    with pytest.raises(InputError, match="is no detector"):
        judged([__file__], tmp_path)


def test_an_address_is_told_to_be_downloaded(folder):
    with pytest.raises(InputError, match=r"https://example\.org/a\.mp4 is an address: download"):
        judged(["https://example.org/a.mp4"], folder)


def test_a_table_that_cannot_be_written_is_told_before_the_first_video(blank, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(verdicts, "predict_video", lambda *_: pytest.fail("a video was judged"))
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "t.csv"):
        with pytest.raises(InputError, match="cannot be"):
            judged([str(blank)], folder, csv=path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux that is always full")
def test_a_full_disk_is_a_sentence_and_keeps_the_rows_that_were_written(blank, folder, tmp_path, monkeypatch):
    import resource

    with pytest.raises(InputError, match=r"/dev/full cannot be written \(No space left on device\): make room"):
        judged([str(blank)], folder, csv=Path("/dev/full"))
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(blank, tmp_path / name)
    judge, limits, table = verdicts.predict_video, resource.getrlimit(resource.RLIMIT_FSIZE), tmp_path / "t.csv"

    def full(path: Path, *arguments: object) -> object:
        if path.name == "b.mp4":
            resource.setrlimit(resource.RLIMIT_FSIZE, (table.stat().st_size, limits[1]))
        return judge(path, *arguments)

    monkeypatch.setattr(verdicts, "predict_video", full)
    try:
        with pytest.raises(InputError, match=r"t\.csv cannot be written \(File too large\)"):
            judged([str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4")], folder, csv=table)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(pd.read_csv(table)["file"]) == [str(tmp_path / "a.mp4")]


def test_rows_of_the_table_are_written_as_videos_are_judged(blank, folder, tmp_path, monkeypatch):
    shutil.copy(blank, tmp_path / "a.mp4")
    shutil.copy(blank, tmp_path / "b.mp4")
    judge = verdicts.predict_video

    def interrupted(path: Path, *wishes: object) -> object:
        if path.name == "b.mp4":
            raise KeyboardInterrupt
        return judge(path, *wishes)

    monkeypatch.setattr(verdicts, "predict_video", interrupted)
    with pytest.raises(KeyboardInterrupt):
        judged([str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4")], folder, csv=tmp_path / "new" / "t.csv")
    assert list(pd.read_csv(tmp_path / "new" / "t.csv")["file"]) == [str(tmp_path / "a.mp4")]


@pytest.mark.parametrize("as_json", [True, False])
def test_any_name_is_judged_in_any_encoding(blank, folder, tmp_path, as_json):
    """In one process: a name that is not UTF-8, one that looks like an option, and letters that cp1252 lacks."""
    names = [os.fsdecode(b"caf\xe9.mp4"), "-dash.mp4", "\u65e5\u672c \U0001f600.mp4", "no ending", "a.divx"]
    for name in names:
        try:
            shutil.copy(blank, tmp_path / name)
        except OSError as reason:
            pytest.skip(f"this file system has no such names: {reason}")
    words = ["--json"] if as_json else []
    command = [sys.executable, "-m", "dfutils", "predict", "--model", str(folder), *words]
    command += ["--csv", "t.csv", "--explain", "reports", "--", *names]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert done.returncode == 3, done.stderr.decode("cp1252")  # judged, and without a face
    assert b"Traceback" not in done.stderr
    out = done.stdout.decode("cp1252")
    shown = ["caf\\udce9.mp4", *names[1:]]
    if as_json:
        assert [json.loads(line)["file"] for line in out.splitlines()] == shown
    else:
        assert "\\u65e5\\u672c \\U0001f600.mp4" in out
    assert list(pd.read_csv(tmp_path / "t.csv")["file"]) == shown
    assert len(list((tmp_path / "reports").glob("*.html"))) == len(names)


def test_text_table_and_json_state_the_warnings_of_a_video(folder, tmp_path, capsys):
    video.write(tmp_path / "long.mp4", [np.full((96, 128, 3), 90, np.uint8)] * 250, fps=25)
    told = "the video goes on for 4 s more"
    for as_json in (False, True):
        judged([str(tmp_path / "long.mp4")], folder, as_json=as_json, csv=tmp_path / "t.csv", first=150)
        assert told in capsys.readouterr().out
    assert told in pd.read_csv(tmp_path / "t.csv")["warnings"][0]


def test_a_wrong_name_of_a_detector_is_told_before_pytorch_is_loaded(blank, tmp_path):
    code = (
        "import sys; from dfutils.core.errors import InputError; from dfutils.serving import commands\n"
        "try: commands.predict([sys.argv[1]], sys.argv[2], as_json=False, csv=None, explain=None)\n"
        "except InputError as error: print('torch' in sys.modules, error)"
    )
    for name, says in (
        (str(tmp_path / "no"), "There is no detector"),
        (str(tmp_path), "is no detector"),
        ("hf://x", "hf://owner"),
    ):
        command = [sys.executable, "-c", code, str(blank), name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.startswith("False ") and says in done.stdout
