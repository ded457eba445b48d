"""What a detector has seen, and what of a later test is among it."""

import pandas as pd
import pytest

from dfutils.core.files import write_json
from dfutils.splits import provenance


def videos(names: str, dataset: str = "d", split: str = "test") -> pd.DataFrame:
    """Pairs of a real video `r<name>` of person `p<name>` and a fake made from it, by their names."""
    rows = []
    for name in names:
        rows.append((f"r{name}", 0, f"p{name}", "", ""))
        rows.append((f"f{name}", 1, f"p{name}", f"p{name.upper()}", f"r{name}"))
    table = pd.DataFrame(rows, columns=["video_id", "label", "identity", "donor", "source_video"])
    return table.assign(dataset=dataset, split=split)


def pooled(table: pd.DataFrame) -> pd.DataFrame:
    """The same rows with the ids that pooling gives them."""
    prefix = table["dataset"] + "__"
    sources = table["source_video"].where(table["source_video"] == "", prefix + table["source_video"])
    return table.assign(video_id=prefix + table["video_id"], source_video=sources)


def test_overlap_counts_videos_people_and_sources_whatever_pooling_calls_them():
    seen = provenance.seen(videos("abc"))
    assert {len(name) for names in seen.values() for name in names} == {12}
    assert provenance.overlap(seen, videos("xyz")) == {"videos": 0, "people": 0, "sources": 0}
    assert provenance.overlap(seen, videos("bcx")) == {"videos": 4, "people": 4, "sources": 4}
    assert provenance.overlap(provenance.seen(pooled(videos("abc"))), videos("bcx"))["videos"] == 4
    assert provenance.overlap(seen, videos("abc", dataset="other"))["videos"] == 0
    others = videos("x").assign(donor=["", "pa"])  # a person of training lends a face
    assert provenance.overlap(seen, others) == {"videos": 0, "people": 1, "sources": 0}
    fresh = videos("a").assign(video_id=["r1", "f1"], identity="", donor="")
    assert provenance.overlap(seen, fresh) == {"videos": 0, "people": 0, "sources": 1}
    nameless = provenance.seen(videos("a").assign(identity="", donor=""))
    assert nameless["people"] == []


def test_first_weights_bring_along_all_that_they_had_seen(tmp_path):
    for weights in ("imagenet", "packaged", "none"):
        assert provenance.earlier_training(weights, weights) is None
    first = {"seen": provenance.seen(videos("ab"))}
    write_json({"training": first}, tmp_path / "first" / "config.json")
    second = {
        "seen": provenance.seen(videos("cd")),
        "earlier": provenance.earlier_training(tmp_path / "first", "first"),
    }
    write_json({"training": second}, tmp_path / "second" / "config.json")
    earlier = provenance.earlier_training(tmp_path / "second", "runs/second/detector")
    assert earlier["complete"]
    assert earlier["weights"] == "runs/second/detector"
    assert provenance.overlap(earlier["seen"], videos("adx"))["videos"] == 4
    write_json({"training": {"split_fingerprint": "0"}}, tmp_path / "old" / "config.json")  # of an earlier version
    for weights in (tmp_path / "old", tmp_path / "weights.pt"):
        assert provenance.earlier_training(weights, "w") == {
            "weights": "w", "seen": {"videos": [], "people": [], "sources": []}, "complete": False,
        }  # fmt: skip


def test_what_first_weights_have_seen_of_the_test_stands_as_a_caution():
    earlier = {"weights": "runs/a/detector", "seen": provenance.seen(videos("ab")), "complete": True}
    assert provenance.cautions(None, videos("ab")) == []
    assert provenance.cautions(earlier, videos("xy")) == []
    assert provenance.cautions(earlier, videos("ab", split="train")) == []
    (said,) = provenance.cautions(earlier, videos("bx"))
    assert "weights of runs/a/detector" in said
    assert "of the 4 test videos" in said and "2 in training" in said
    (said,) = provenance.cautions(earlier, videos("b", split="eval"))
    assert "of the 2 videos of other datasets" in said
    (said,) = provenance.cautions({**earlier, "complete": False}, videos("x"))
    assert "is not recorded" in said


@pytest.mark.parametrize("rows", [videos(""), videos("a")[:1]])
def test_few_videos_have_few_hashes(rows):
    assert len(provenance.seen(rows)["videos"]) == len(rows)


def test_a_detector_that_is_only_judged_says_which_test_videos_it_has_seen():
    training = {"seen": provenance.seen(videos("ab"))}
    (said,) = provenance.cautions(provenance.everything_seen(training), videos("bc"))
    assert said.startswith("Of the 4 test videos the detector had seen 2 in training, the people of 2")
    assert provenance.cautions(provenance.everything_seen(training), videos("xy")) == []
    (said,) = provenance.cautions(provenance.everything_seen({}), videos("xy"))
    assert said == "What the detector was trained on is not recorded: the test videos may be among it."
