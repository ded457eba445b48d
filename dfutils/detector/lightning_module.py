"""The LightningModule of a training run and its progress bar.

No result depends on the state of a random number generator: the learning rate, the dropout masks and the clips of a
step are functions of the seed, the epoch and the step.
"""

import os
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from dfutils.core.errors import InputError
from dfutils.core.files import atomic
from dfutils.core.params import TrainingSettings
from dfutils.detector import clips, schedule
from dfutils.detector.clips import Batch, Batches, ClipDataset, dropout_seed
from dfutils.detector.network import Detector
from dfutils.detector.schedule import epoch_score


class Fitting(lightning.LightningModule):
    """A detector in training, with its clips and the history of the epochs done."""

    def __init__(
        self,
        detector: Detector,
        train: ClipDataset,
        val: ClipDataset,
        folder: Path,
        settings: TrainingSettings,
        record: dict[str, Any],
        history: list[dict[str, Any]],
        environment: dict[str, Any],
    ) -> None:
        """Take what `training.fit` has checked; for its arguments see there.

        Args:
            record: everything that must be equal for a later run to resume from the checkpoint.
            history: the epochs done, one mapping per epoch; completed epochs are added to it.
            environment: device, precision and threads of the run, stored in the checkpoint.
        """
        super().__init__()
        self.detector, self.train_clips, self.val_clips, self.folder = detector, train, val, folder
        self.settings, self.record, self.history, self.environment = settings, record, history, environment
        self.workers = 0  # processes that read clips ahead
        self.operations: set[str] = set()  # names of operations without a deterministic implementation, as they occur
        self.last_step: tuple[torch.Tensor, torch.Tensor, int, float] | None = None  # loss, clips, step, learning rate
        weights = clips.class_weights(
            train.labels,
            settings.class_weights,
            blended=train.blended,
            balanced_sampling=settings.balanced_sampling,
        )
        self.register_buffer("class_weights", torch.tensor(weights), persistent=False)
        weights = clips.validation_weights(val.labels, settings.class_weights)
        self.register_buffer("val_weights", torch.tensor(weights), persistent=False)

    # Data and optimiser

    def train_dataloader(self) -> Any:
        return self._loader(self.train_clips, shuffle=True)

    def val_dataloader(self) -> Any:
        return self._loader(self.val_clips, shuffle=False)

    def _loader(self, data: ClipDataset, shuffle: bool) -> Any:
        # Lightning asks for the first epoch's order before it sets the epoch.
        batches = Batches(
            len(data), self.settings.batch_size, shuffle=shuffle, seed=self.settings.seed,
            epoch=len(self.history), share=(self.trainer.global_rank, self.trainer.world_size),
            labels=data.labels if shuffle and self.settings.balanced_sampling else None,
            families=data.families if shuffle and self.settings.family_batches else None,
        )  # fmt: skip
        return clips.loader(data, batches, workers=self.workers, pin_memory=self.device.type == "cuda")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        rate = self.settings.learning_rate
        backbone = list(self.detector.backbone.parameters())
        backbone_ids = {id(parameter) for parameter in backbone}
        head = [parameter for parameter in self.detector.parameters() if id(parameter) not in backbone_ids]
        groups = [
            {"params": head, "peak": rate},
            {"params": backbone, "peak": self.settings.backbone_learning_rate or rate},
        ]
        optimizer = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[self.settings.optimizer]
        # The fused implementation makes one pass over the weights, fifteen times as fast as the default on a CPU.
        return optimizer(groups, lr=rate, weight_decay=self.settings.weight_decay, fused=True)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        # Lightning's own clipping does not support fused optimisers.
        if self.settings.clip_grad:
            torch.nn.utils.clip_grad_norm_(self.detector.parameters(), self.settings.clip_grad)

    # Training

    def on_train_epoch_start(self) -> None:
        self.started = time.perf_counter()
        self.sums = torch.zeros(5, dtype=torch.float64, device=self.device)
        self.halvings = schedule.plateau_halvings([epoch_score(row, self.settings.monitor) for row in self.history])
        self.detector.train()
        self.detector.frozen_backbone = self.current_epoch < self.settings.freeze_epochs
        if self.detector.frozen_backbone:
            self.detector.backbone.eval()
        if self.settings.freeze_batchnorm:
            for module in self.detector.backbone.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()

    def on_train_batch_start(self, batch: Batch, step: int) -> None:
        self._check_last_loss()
        torch.manual_seed(dropout_seed(self.settings.seed, self.current_epoch, step, self.global_rank))
        done = self.current_epoch + (step + 0.5) / self.trainer.num_training_batches
        factor = schedule.rate_factor(
            done, self.settings.schedule, self.settings.epochs, self.settings.warmup_epochs, self.halvings
        )
        for group in self.optimizers(use_pl_optimizer=False).param_groups:
            group["lr"] = group["peak"] * factor
        self.rate = self.settings.learning_rate * factor

    def training_step(self, batch: Batch, step: int) -> torch.Tensor:
        losses, logits = self._losses(batch)
        weights = self.class_weights[batch.labels] * batch.counts
        # Normalised by the weights of all processes, so that the averaged gradients equal those of a single process.
        total = self.trainer.strategy.reduce(weights.sum(), reduce_op="sum")
        loss = (losses * weights).sum() * self.trainer.world_size / total
        self.last_step = loss.detach(), batch.index, step, self.rate
        self.sums += _sums(losses, weights, logits, batch)
        return loss

    def _check_last_loss(self) -> None:
        """Raise `InputError` if the loss of the previous step is not finite.

        The check is made one step later, because reading a loss at once would make a GPU wait.
        """
        if self.last_step is None:
            return
        (loss, index, step, rate), self.last_step = self.last_step, None
        if (self.current_epoch, step) == (0, 0):
            self.environment["first_loss"] = loss.item()
        if not torch.isfinite(loss):
            videos = ", ".join(self.train_clips.video_ids[clip] for clip in index.tolist())
            raise InputError(
                f"The loss is {loss.item()} in step {step + 1} of epoch {self.current_epoch + 1}, at learning rate "
                f"{rate:.3g}, on the videos {videos}: lower learning_rate, set clip_grad, or look at these strips."
            )

    def _losses(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return loss `(B,)` and logits `(B, 2)` of each clip; the loss keeps its gradient."""
        frames = self.detector.normalise(batch.frames)
        logits, by_frame = self.detector.clip_and_frame_logits(frames, batch.mask)
        losses = functional.cross_entropy(logits.float(), batch.labels, reduction="none")
        share = self.settings.frame_loss
        if share:
            labels = batch.labels[:, None].expand(by_frame.shape[:2])
            frame_losses = functional.cross_entropy(by_frame.float().transpose(1, 2), labels, reduction="none")
            mask = torch.ones_like(frame_losses) if batch.mask is None else batch.mask.float()
            losses = (1 - share) * losses + share * (frame_losses * mask).sum(1) / mask.sum(1)
        return losses, logits.detach().float()

    # Validation

    def on_validation_epoch_start(self) -> None:
        self._check_last_loss()
        self.trained = time.perf_counter()
        self.val_rows: list[torch.Tensor] = []
        if not self.settings.freeze_batchnorm and not self.detector.frozen_backbone:
            self._measure_batchnorm()

    def _measure_batchnorm(self, count: int = 64, frames: int = 2) -> None:
        """Measure the means and variances of batch normalisation again, on some training clips.

        The running ones lag behind the weights by some ten steps, which on small data is the better part of an epoch:
        a network that separates its batches perfectly then validates like a coin. After "precise BN" (Wu and Johnson,
        Rethinking "Batch" in BatchNorm, 2021, section 3). Every process measures on the same clips. PyTorch's
        `update_bn` would do it with the whole backbone in training mode, and so measure its dropout and its stochastic
        depth as well.
        """
        layers = [module for module in self.detector.backbone.modules() if isinstance(module, _BatchNorm)]
        momenta = [layer.momentum for layer in layers]
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # the plain mean over what follows
            layer.train()
        few = Batches(
            len(self.train_clips), count // 2, shuffle=True, seed=self.settings.seed, epoch=self.current_epoch
        )
        for batch in islice(clips.loader(self.train_clips, few), 2):
            spread = slice(None, None, max(batch.frames.shape[1] // frames, 1))
            mask = None if batch.mask is None else batch.mask[:, spread].to(self.device)
            self.detector.features(self.detector.normalise(batch.frames[:, spread].to(self.device)), mask)
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()

    def validation_step(self, batch: Batch, step: int) -> None:
        with torch.autocast(self.device.type, enabled=False):  # as a video is scored after training
            losses, logits = self._losses(batch)
        weights = self.val_weights[batch.labels] * batch.counts
        columns = (losses, weights, logits[:, 1] - logits[:, 0], batch.labels, batch.counts)
        self.val_rows.append(torch.stack([column.double() for column in columns], dim=1))

    def on_validation_epoch_end(self) -> None:
        rows = self.all_gather(torch.cat(self.val_rows)).reshape(-1, 5).cpu().numpy()
        losses, weights, logits, labels, _ = rows[rows[:, 4] > 0].T  # without the clips that fill up batches
        self.val_figures = {
            "val_loss": float((losses * weights).sum() / weights.sum()),
            "val_accuracy": float(((logits >= 0) == labels).mean()),
            "val_auc": float("nan"),
        }
        if len(set(labels)) == 2 and np.isfinite(logits).all():
            self.val_figures["val_auc"] = float(roc_auc_score(labels, logits))

    # The end of an epoch

    def on_train_epoch_end(self) -> None:
        sums = self.trainer.strategy.reduce(self.sums, reduce_op="sum").tolist()
        row = {
            "epoch": self.current_epoch + 1,
            "train_loss": sums[0] / sums[1],
            "train_accuracy": sums[2] / sums[3],
            **self.val_figures,
            "learning_rate": self.rate,
            "seconds": time.perf_counter() - self.started,
            "images_per_s": sums[4] / (self.trained - self.started),
        }
        self.history.append(row)
        monitor = self.settings.monitor
        if monitor != "last" and not np.isfinite(row[monitor]):
            raise InputError(
                f"{monitor} is not finite after epoch {row['epoch']}: lower learning_rate or set clip_grad."
            )
        if (
            schedule.best_epoch([epoch_score(row, monitor) for row in self.history]) == len(self.history) - 1
            and self.global_rank == 0
        ):
            with atomic(self.folder / "best.safetensors") as temporary:
                save_file({k: v.cpu().contiguous() for k, v in self.detector.state_dict().items()}, temporary)
        self.trainer.should_stop = schedule.finished(self.history, self.settings)
        # Renamed when complete: if the process is killed before, the run resumes from the previous epoch.
        temporary = self.folder / ".last.part.ckpt"
        self.trainer.save_checkpoint(temporary)
        if self.global_rank == 0:
            os.replace(temporary, self.folder / "last.ckpt")
            with atomic(self.folder / "history.csv") as csv:
                schedule.table(self.history, monitor).to_csv(csv, index=False)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.environment["undetermined"] = sorted({*self.environment["undetermined"], *self.operations})
        checkpoint["history"], checkpoint["record"], checkpoint["facts"] = self.history, self.record, self.environment


def _sums(losses: torch.Tensor, weights: torch.Tensor, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the sums over a batch, float64 `(5,)`: weighted loss, weights, correct clips, clips, frames."""
    correct = ((logits.argmax(1) == batch.labels) * batch.counts).sum()
    frames = (batch.positions >= 0).sum()
    return torch.stack(
        [(losses.detach() * weights).sum(), weights.sum(), correct, batch.counts.sum(), frames.float()]
    ).double()


class Progress(lightning.Callback):
    """Moves a progress bar over the clips of all epochs, and writes a line of figures an epoch on standard error."""

    def __init__(self, progress_bar: tqdm) -> None:
        self.bar = progress_bar

    def on_train_batch_end(
        self, trainer: lightning.Trainer, fitting: Fitting, outputs: Any, batch: Batch, step: int
    ) -> None:
        self.bar.update(int(batch.counts.sum()) * trainer.world_size)

    def on_validation_end(self, trainer: lightning.Trainer, fitting: Fitting) -> None:
        figures, sums = fitting.val_figures, fitting.sums.tolist()
        line = (
            f"epoch {trainer.current_epoch + 1:>3} of {trainer.max_epochs}: training loss {sums[0] / sums[1]:.4f}, "
            f"accuracy {sums[2] / sums[3]:.3f}; validation loss {figures['val_loss']:.4f}, accuracy "
            f"{figures['val_accuracy']:.3f}, AUC {figures['val_auc']:.3f}; "
            f"{sums[4] / (fitting.trained - fitting.started):.1f} images/s"
        )
        self.bar.write(line, file=sys.stderr)
