"""What notebooks 01 and 02 show: a dataset, the faces found in it, its splits, and what leaks between them."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dfutils.core.params import Indexed, Place
from dfutils.data.indexing import check
from dfutils.faces import review, video
from dfutils.faces.batch import Preprocessed
from dfutils.faces.strips import load_strip
from dfutils.reporting import data_plots, image_plots
from dfutils.reporting.figure import Picture, Pictures
from dfutils.reporting.table import Table, or_none
from dfutils.reporting.wording import Text
from dfutils.splits import alternatives
from dfutils.splits.division import POLICIES
from dfutils.splits.leakage import Audit
from dfutils.splits.policies import SPLITS, scored_part


def _classes(table: pd.DataFrame) -> pd.Series:
    """Return each row's class in words."""
    return table["label"].map({0: "real", 1: "fake"}).rename("class")


def _pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Return pairs across splits for the reader: both splits, and both numbers of videos, in one column each."""
    joined = {
        name: table[name].astype(str) + " and " + table[f"other_{name}"].astype(str)
        for name in ("split", "videos")
        if name in table
    }
    others = [f"other_{name}" for name in joined]
    words = {"split": "splits", "video_id": "video", "other_video_id": "other video"}
    return table.assign(**joined).drop(columns=others).rename(columns=words)


class DatasetReport:
    """Tables and figures of the indexed videos of one or several datasets."""

    def __init__(self, videos: pd.DataFrame, places: Sequence[Place]) -> None:
        """Report on a videos table.

        Args:
            videos: as `data.pool` returns it.
            places: where each of its datasets lies.
        """
        self.videos, self.places = videos, places

    def published_counts(self) -> Table | Text:
        """Return how many videos each part of a published dataset should have, and has."""
        checked = pd.concat(
            check(place.layout, self.videos[self.videos["dataset"] == place.name]).assign(dataset=place.name)
            for place in self.places
        )
        table = checked.set_index("dataset").astype({"expected": "Int64"})
        return or_none(table, "Videos, as published and as found here", "No counts are published for these.")

    def methods(self) -> Table:
        """Return the number of videos by class and method."""
        counts = self.videos.groupby([_classes(self.videos), "method"]).size()
        return Table(counts.to_frame("videos"), "Videos by class and method")

    def class_counts(self) -> Picture:
        """Draw how many videos there are of each class, method and dataset."""
        return data_plots.class_counts(self.videos)

    def container_facts(self) -> Picture:
        """Draw length, size, frame rate and bitrate of real and fake videos over each other."""
        return data_plots.facts(self.videos)

    def medians(self) -> Table:
        """Return the median of each container fact for both classes."""
        names = {"width": "width, pixels", "height": "height, pixels", "fps": "frames per second", "n_frames": "frames"}
        names |= {"duration_s": "length, seconds", "bitrate": "kbit a second"}
        kbits = self.videos.assign(bitrate=self.videos["bitrate"] / 1000)
        medians = kbits.groupby(_classes(self.videos))[list(names)].median().rename(columns=names).T
        medians = medians.dropna(how="all")  # pictures have no rate, length or bitrate
        return Table(medians.round(1).map("{:,.1f}".format), "Medians of the container facts")

    def first_frames(self) -> Picture:
        """Draw the first frame of a fake of each method beside that of the real video it was made from.

        Where that video is not known or not there, any real video of the dataset stands in; without fakes, four real
        videos are drawn.
        """
        readable = self.videos[self.videos["reason"] == ""].sort_values("video_id")
        reals, fakes = (readable[readable["label"] == label] for label in (0, 1))
        chosen = []
        for fake in fakes.groupby(["dataset", "method"]).head(1).sort_values(["dataset", "method"]).itertuples():
            source, other = reals[reals["video_id"] == fake.source_video], reals[reals["dataset"] == fake.dataset]
            chosen += [*pd.concat([source, other]).head(1).itertuples(), fake]
        chosen = chosen or list(reals.head(4).itertuples())
        roots = {place.name: place.root for place in self.places}
        images = [video.first_frame(roots[row.dataset] / row.path) for row in chosen]
        captions = [
            f"{row.method or ('fake' if row.label else 'real')}\n{row.identity or row.video_id}" for row in chosen
        ]
        return image_plots.frame_grid(images, captions, title="Real, and what was made of it: first frames")

    def people(self) -> Text:
        """Return in how many videos a person appears, as target or as donor."""
        named = self.videos[["video_id", "identity", "donor"]].melt("video_id", value_name="person")
        times = named[named["person"] != ""].drop_duplicates(["video_id", "person"]).groupby("person").size()
        if not len(times):
            return Text("Nobody is named: each real video, with the fakes made of it, counts as a person of its own.")
        return Text(
            f"{len(times)} people are named, each in {times.min()} to {times.max()} videos (median {times.median():g})."
        )

    def unreadable(self) -> Table | Text:
        """Return the videos that cannot be read, and why."""
        rows = self.videos.loc[self.videos["reason"] != "", ["video_id", "reason"]]
        return or_none(rows, "Videos that cannot be read", "All of them can be read.")


class FacesReport:
    """Tables and figures of what was found in the videos: their faces, and the videos that were lost."""

    def __init__(
        self,
        videos: pd.DataFrame,
        frames: pd.DataFrame,
        datasets: Sequence[Indexed],
        made: Mapping[str, Preprocessed],
    ) -> None:
        """Report on preprocessed videos.

        Args:
            videos: videos table with `status`, of all datasets.
            frames: frames table, of all datasets.
            datasets: as they were indexed.
            made: what preprocessing made of each, by name.
        """
        self.videos, self.frames, self.made = videos, frames, made
        self.roots = {dataset.name: dataset.root for dataset in datasets}

    @property
    def lost(self) -> pd.DataFrame:
        """The videos without a strip."""
        return self.videos[self.videos["status"] != "ok"]

    def statuses(self) -> Table:
        """Return the number of videos by class and status."""
        return Table(pd.crosstab(_classes(self.videos), self.videos["status"]), "Videos by class and status")

    def lost_videos(self) -> Table | Text:
        """Return the videos without a strip, and why."""
        rows = self.lost[["video_id", "label", "status", "reason"]]
        return or_none(rows, "Videos without a strip", "Every video has its faces.")

    def review_files(self) -> Text:
        """Return where each dataset's review.csv lies."""
        paths = {name: result.folder / review.NAME for name, result in self.made.items()}
        return Text("\n".join(f"{n}: {path if path.exists() else 'nothing to review'}" for n, path in paths.items()))

    def reviewed(self) -> Table | Text:
        """Return what came of each action in review.csv."""
        return or_none(self.actions, "Actions in review.csv", "No action is written there.")

    @property
    def actions(self) -> pd.DataFrame:
        """The actions in every review.csv, with their results."""
        parts = [result.reviewed.assign(dataset=name) for name, result in self.made.items()]
        return pd.concat(parts, ignore_index=True)

    def rejected_faces(self, max_frames: int, most: int = 24) -> Pictures | Text:
        """Draw frames of the first lost videos, with boxes around what was taken for a face, and why it was rejected.

        Args:
            max_frames: that the videos were preprocessed with.
            most: videos drawn; unreadable ones have no frame to show.
        """
        drawn = Pictures()
        for row in self.lost[self.lost["status"].isin(["no_face", "few_faces"])].head(most).itertuples():
            own_id = row.video_id.removeprefix(f"{row.dataset}__") if len(self.made) > 1 else row.video_id
            path = self.roots[row.dataset] / row.path
            images, boxes = review.review_frames(path, self.made[row.dataset].folder, own_id, max_frames)
            drawn.append(image_plots.review(images, boxes, title=f"{row.video_id}: {row.reason}"))
        return drawn or Text("There are none.")

    def counts(self) -> Picture:
        """Draw how many valid faces and how many people were found per video, real and fake over each other."""
        return data_plots.faces_found(self.videos, self.frames)

    def appearance(self) -> Picture:
        """Draw size, sharpness, brightness and turn of the faces kept, real and fake over each other."""
        labels = self.videos[["video_id", "label"]]
        return data_plots.face_facts(self.frames.merge(labels, on="video_id"))


class SplitReport:
    """Tables and figures of the splits, and of what an audit found in them."""

    def __init__(self, table: pd.DataFrame, strips: Mapping[str, Path], face_size: int) -> None:
        """Report on a split table.

        Args:
            table: videos table with `split`.
            strips: where each video's strip lies, by video id.
            face_size: side of a crop.
        """
        self.table, self.strips, self.face_size = table, strips, face_size
        self.order = [*SPLITS, *table["split"][table["split"] == "eval"].unique()]

    @property
    def usable(self) -> pd.DataFrame:
        """The videos of a split that have a strip."""
        table = self.table
        return table[(table["status"] == "ok") & (table["split"] != "")].sort_values("video_id")

    def policy(self, name: str) -> Text:
        """Return what the policy does, how many videos it left out, and how many fakes it knows nothing of."""
        table = self.table
        scored = table[table["split"] == "eval"]
        own = ~table["dataset"].isin(scored["dataset"])
        dropped = int((own & (table["split"] == "") & (table["status"] != "excluded")).sum())
        lines = [f"{name}: {POLICIES[name]}. {dropped} videos are in no split."]
        judged = table[table["split"].isin(["eval", "test"] if name == "test" else ["eval"])]
        for dataset, rows in judged.groupby("dataset"):
            whole = table[table["dataset"] == dataset]
            listed = (whole["official_split"] == "test").any()
            which = scored_part(rows) if listed else "all videos, as there is no official test list"
            lines.append(f"{dataset}: {len(rows)} of {len(whole)} videos are scored ({which}).")
        nameless = int(((table["label"] == 1) & (table["identity"] == "") & (table["source_video"] == "")).sum())
        if nameless:
            lines.append(
                f"{nameless} fakes name neither a person nor their source video: only the audit below can tell of whom."
            )
        return Text("\n".join(lines))

    def counts(self) -> Table:
        """Return the number of videos by split and class."""
        counts = pd.crosstab(self.table["split"], _classes(self.table)).reindex(self.order)
        return Table(counts, "Videos by split and class")

    def candidates(
        self, video_ids: Collection[str], seed: int, val_fraction: float, test_fraction: float
    ) -> dict[tuple[str, int], pd.DataFrame]:
        """Return the splits that each policy makes of some of the videos, as `alternatives.candidates` does."""
        own = self.table[(self.table["split"] != "eval") & self.table["video_id"].isin(video_ids)]
        return alternatives.candidates(own, seed, val_fraction, test_fraction)

    def leaks(self, candidates: Mapping[tuple[str, int], pd.DataFrame]) -> Table:
        """Return what the splits of each policy share, one row per policy."""
        return Table(alternatives.leaks(candidates, self.strips), "What the splits of each policy share")

    def methods(self) -> Table:
        """Return the number of videos that have a strip, by split and method."""
        kinds = self.usable["method"].where(self.usable["label"] == 1, "(real)").replace("", "fake")
        counts = pd.crosstab(self.usable["split"], kinds).reindex(self.order, fill_value=0)
        return Table(counts, "Videos that have a strip, by split and method")

    def samples(self, seed: int, count: int = 3) -> Pictures:
        """Draw strips of each class in each split: `count` drawn at random."""
        drawn = Pictures()
        for split in [name for name in self.order if (self.usable["split"] == name).any()]:
            whole = self.usable[self.usable["split"] == split]
            rows = pd.concat(
                [part.sample(min(count, len(part)), random_state=seed) for _, part in whole.groupby("label")]
            )
            strips = [load_strip(self.strips[name], self.face_size) for name in rows["video_id"]]
            kinds = rows["method"].where(rows["label"] == 1, "real").replace("", "fake")
            captions = (kinds + " · " + rows["video_id"]).tolist()
            drawn.append(image_plots.sheet(strips, captions, title=f"{split}: {len(rows)} of {len(whole)}"))
        return drawn

    def alarms(self, audit: Audit) -> Text:
        """Return an audit's alarms, one per line."""
        return Text("\n".join(f"• {alarm}" for alarm in audit.alarms or ["Nothing was found."]))

    def shared_people(self, audit: Audit) -> Table | Text:
        """Return the first people and source videos that two splits share by name."""
        return or_none(audit.people.head(20), "People and sources in two splits, by name")

    def shared_content(self, audit: Audit) -> Table | Text:
        """Return the ten closest pairs of videos across splits with nearly the same content."""
        rows = _pairs(audit.content.drop(columns=["label", "other_label"]).head(10).round(3))
        return or_none(rows, "The closest pairs of videos in two splits, by content")

    def shared_faces(self, audit: Audit) -> Table | Text:
        """Return the people that two splits share by face."""
        return or_none(_pairs(audit.faces.round(2)).set_index("person"), "People in two splits, by face")

    def face_pairs(self, audit: Audit, most: int = 6) -> Pictures:
        """Draw the closest pair of faces of each person that two splits share."""
        drawn = Pictures()
        for pair in audit.faces.head(most).itertuples():
            names = (pair.video_id, pair.other_video_id)
            faces = [load_strip(self.strips[name], self.face_size)[0] for name in names]
            captions = [f"{pair.split}: {pair.video_id}", f"{pair.other_split}: {pair.other_video_id}"]
            title = f"One person in {pair.split} and {pair.other_split}? Distance {pair.distance:.2f}"
            drawn.append(image_plots.frame_grid(faces, captions, title=title))
        return drawn

    def related_methods(self, audit: Audit) -> Table | Text:
        """Return what methods left out of training share with the fakes of training."""
        if audit.methods.empty:
            return Text("Nothing is trained here, or training has every method that the test names.")
        names = ("test videos", "shared with training", "videos that share it", "methods of training that share it")
        rows = audit.methods.set_index("method").replace("", "–").set_axis(names, axis=1)
        return Table(rows, "Methods left out, and what they share with fakes of training")

    def shortcut(self, audit: Audit) -> Text:
        """Return how well container facts alone predict the label."""
        told = audit.shortcuts
        if told.note:
            return Text(f"No figure: {told.note}.")
        return Text(f"All facts together: AUC {told.auc:.2f}, 95% from {told.low:.2f} to {told.high:.2f}.")

    def shortcut_facts(self, audit: Audit) -> Table:
        """Return how well each fact alone tells the label, and its usual value for both classes."""

        def written(value: Any) -> str:
            return value if isinstance(value, str) else f"{value:,.1f}"

        facts = audit.shortcuts.facts
        texts = facts.assign(**facts[["real", "fake"]].map(written)).set_index("fact").round(2)
        return Table(texts, "How well each fact alone tells the label, and its usual values")
