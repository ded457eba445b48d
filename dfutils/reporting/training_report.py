"""What notebook 03 shows: the clips, the network, and how training went."""

from collections.abc import Mapping

import pandas as pd
import torch

from dfutils.core.params import HardwareSettings, TrainingSettings
from dfutils.detector import hardware, layer_table, schedule
from dfutils.detector.clips import Batch, Batches, class_weights, dropout_seed, loader
from dfutils.detector.experiment import Clips
from dfutils.detector.network import Detector
from dfutils.reporting import data_plots, image_plots
from dfutils.reporting.figure import Picture, Pictures
from dfutils.reporting.table import Table, or_none
from dfutils.reporting.tables import rounded
from dfutils.reporting.wording import Text


class TrainingReport:
    """Tables and figures of a detector's training."""

    def __init__(self, detector: Detector, clips: Clips) -> None:
        """Report on a detector and the clips that it is fitted to."""
        self.detector, self.clips = detector, clips

    def splits(self, videos: pd.DataFrame) -> Table:
        """Return the number of videos with enough faces, by split and class, from the split table."""
        usable = videos[videos["status"] == "ok"]
        classes = usable["label"].map({0: "real", 1: "fake"}).rename("class")
        counts = pd.crosstab(usable["split"], classes).reindex(["train", "val", "test"])
        return Table(counts, "Videos with enough faces, by split and class")

    def class_weights(self, weights: str, balanced_sampling: bool, swap: float) -> Text:
        """Return what a mistake on a clip of each class costs, and how many clips are turned into fakes on the fly.

        The arguments are the parameters `class_weights`, `balanced_sampling` and `swap`.
        """
        train = self.clips.train
        sampled = {"blended": train.blended, "balanced_sampling": balanced_sampling}
        real, fake = class_weights(train.labels, weights, **sampled)
        lines = [f"A real clip weighs {real:.2f}, a fake one {fake:.2f}."]
        if train.blended:
            lines += [
                f"In each epoch {train.blended:.0%} of the real clips, drawn again, become fakes: {1 - swap:.0%} of",
                "them blended with their own face, slightly changed, the others with another clip's "
                "(`dfutils.forgery.self_blending`).",
            ]
        return Text("\n".join(lines))

    def layers(self, train_frames: int) -> Table:
        """Return the network stage by stage, with the shapes that a clip of `train_frames` frames (0: all) takes."""
        train = self.clips.train
        stages = layer_table.table(self.detector, train.face_size, train_frames or train.frames_per_video)
        return Table(stages.set_index("layer"), "The network, with the shapes of one clip")

    def size(self, train_frames: int) -> Text:
        """Return how many weights the network has, in all and for each training clip, and what scoring a clip of
        `train_frames` frames (0: all) takes: multiply-adds, and clips a second as measured here."""
        train, total = self.clips.train, sum(weight.numel() for weight in self.detector.parameters())
        found = layer_table.cost(self.detector, train.face_size, train_frames or train.frames_per_video)
        device, side = next(self.detector.parameters()).device.type, self.detector.config["input_size"]
        lines = [
            f"{total:,} parameters, {total / len(train):,.0f} for each training clip.",
            f"{found.multiply_adds / 1e9:.2f} billion multiply-adds to score a clip; {found.clips_per_s:.3g} clips a "
            f"second one by one, measured here ({device}).",
        ]
        if side and side != train.face_size:
            lines.append(f"Crops of {train.face_size} pixels are scaled to the {side} that the backbone takes.")
        return Text("\n".join(lines))

    def first_step(self, settings: TrainingSettings) -> tuple[Batch, torch.Tensor, int]:
        """Return the first batch of the first epoch as `training.fit` takes it, after augmentation; the weights of the
        classes, float32 `(2,)`; and the seed of the step's dropout."""
        train = self.clips.train
        batches = Batches(
            len(train), settings.batch_size, shuffle=True, seed=settings.seed,
            labels=train.labels if settings.balanced_sampling else None,
            families=train.families if settings.family_batches else None,
        )  # fmt: skip
        sampled = {"blended": train.blended, "balanced_sampling": settings.balanced_sampling}
        weights = torch.tensor(class_weights(train.labels, settings.class_weights, **sampled))
        return next(iter(loader(train, batches))), weights, dropout_seed(settings.seed, epoch=0, step=0)

    def is_bf16(self, settings: HardwareSettings) -> bool:
        """Return whether training computes in bf16 on this machine."""
        return hardware.precision(settings.precision, torch.cuda.is_available()) == "bf16"

    def first_batch(self, batch: Batch, most: int = 6) -> Pictures:
        """Draw the first clips of a batch as the network sees them."""
        train = self.clips.train
        seen = self.detector.denormalise(self.detector.normalise(batch.frames))
        drawn = Pictures()
        for index, label, frames in list(zip(batch.index.tolist(), batch.labels.tolist(), seen, strict=True))[:most]:
            blended = ", made on the fly" if label != train.labels[index] else ""
            title = f"{('real', 'fake')[label]}{blended} · {train.video_ids[index]}"
            drawn.append(image_plots.strip(frames.permute(0, 2, 3, 1).numpy(), title=title))
        return drawn

    def epochs(self, history: pd.DataFrame) -> Table:
        """Return loss, accuracy, AUC and seconds of each epoch for the reader, with the epoch that is kept marked."""
        shown = history.drop(columns=["learning_rate", "images_per_s", "best"])
        shown = shown.assign(kept=history["best"].map({True: "kept", False: ""}))
        return Table(rounded(shown).rename_axis("epoch"), "Epochs")

    def curves(self, history: pd.DataFrame) -> Picture:
        """Draw loss, accuracy and validation AUC by epoch, and mark the epoch that is kept."""
        return data_plots.curves(history)

    def gap(self, history: pd.DataFrame) -> Text:
        """Return in words how far training and validation are apart."""
        return Text(schedule.gap(history))

    def learning_rate(self, history: pd.DataFrame, settings: TrainingSettings) -> Picture:
        """Draw the learning rate all along a run with these settings."""
        return data_plots.learning_rate(schedule.rates(history, settings))

    def kept_epoch(self, history: pd.DataFrame) -> Text:
        """Return the figures of the epoch that is kept, and how long training took."""
        best = history[history["best"]].iloc[0]
        seconds, speed = history["seconds"].sum(), history["images_per_s"].median()
        lines = [
            f"Training accuracy: {best['train_accuracy']:.2%}, training average loss: {best['train_loss']:.4f}",
            f"Validation accuracy: {best['val_accuracy']:.2%}, average loss: {best['val_loss']:.4f}",
            f"Validation AUC: {best['val_auc']:.3f}",
            f"Epochs: {len(history)}, {seconds:.0f} s in all, {speed:.0f} images per second.",
        ]
        return Text("\n".join(lines))

    def ablation(self, histories: Mapping[str, pd.DataFrame]) -> Table | Text:
        """Return the kept epoch of each history, by `temporal`, where there is more than one."""
        return _kept(histories, "temporal", "Skipped: `ablation` is false.")

    def views(self, histories: Mapping[str, pd.DataFrame]) -> Table | Text:
        """Return the kept epoch of each view's history, where there is more than one."""
        return _kept(histories, "view", "Skipped: `views` is face alone.")


def _kept(histories: Mapping[str, pd.DataFrame], by: str, skipped: str) -> Table | Text:
    kept = {name: history[history["best"]].drop(columns="best") for name, history in histories.items()}
    rows = pd.concat(kept).droplevel(1).rename_axis(by)
    return or_none(rows if len(rows) > 1 else rows.head(0), f"The kept epoch by `{by}`", skipped)
