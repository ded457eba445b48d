"""What `dfutils predict` writes, and which arguments it refuses."""

import json
from pathlib import Path

import pandas as pd
import pytest

from dfutils.core.errors import InputError
from dfutils.serving import commands


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
    line, limits = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{clips_dir / 'd18.mp4'}: looks {first['prediction']} to this detector. {first['sure']}")
    assert "real videos look as suspicious" in line and "Its score is 0." in line
    assert "was never measured on any" in limits


def test_words_that_name_no_video_are_said_before_anything_is_loaded(tmp_path, folder):
    for words in ([str(tmp_path)], [str(tmp_path / "*.mp4")], [str(tmp_path / "x.mp4")]):
        with pytest.raises(InputError, match="is no video"):
            judged(words, folder)
    with pytest.raises(InputError, match="is no detector"):
        judged([__file__], tmp_path)
