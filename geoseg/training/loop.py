"""The training loop: Lightning under it, a package at its end."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader

from geoseg.model.network import build_network, load_weights
from geoseg.model.package import find_package
from geoseg.training.dataset import WindowDataset
from geoseg.training.losses import total_loss
from geoseg.training.recipe import Recipe, Schedule

CHECKPOINT = "last.ckpt"


class TrainingModule(pl.LightningModule):
    """Network, losses and schedule of a recipe.

    Args:
        recipe: What to train.
        deadline_s: If given, the schedule also follows the clock, so that training ends well by then.
            The weights then depend on the machine's speed.
    """

    def __init__(self, recipe: Recipe, deadline_s: float | None = None) -> None:
        super().__init__()
        self.network = build_network(recipe.model).to(memory_format=torch.channels_last)
        self._recipe = recipe
        self._deadline_s = deadline_s
        self._started_s = time.monotonic()
        self._spent_s = 0.0
        self._mean: Tensor
        self._std: Tensor
        self.register_buffer("_mean", torch.tensor(recipe.model.mean)[:, None, None], persistent=False)
        self.register_buffer("_std", torch.tensor(recipe.model.std)[:, None, None], persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits (N, C, H, W) of raw pixels (N, B, H, W)."""
        normalized = (pixels - self._mean) / self._std
        logits: Tensor = self.network(normalized.contiguous(memory_format=torch.channels_last))
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
        """Return the loss of a batch and log its parts."""
        pixels, targets = batch
        parts = total_loss(self(pixels).float(), targets, self._recipe.model, self._recipe.loss)
        self.log_dict({f"loss_{k}": v.detach() for k, v in parts.items()}, on_step=False, on_epoch=True)
        self.log("progress", self.progress, on_step=False, on_epoch=True, prog_bar=True)
        self.log("loss", parts["total"].detach(), on_step=True, on_epoch=False, prog_bar=True)
        return parts["total"]

    def configure_optimizers(self) -> Any:
        """Use AdamW; norms and biases are not decayed."""
        decayed = [p for p in self.parameters() if p.ndim > 1]
        free = [p for p in self.parameters() if p.ndim <= 1]
        schedule = self._recipe.schedule
        groups = [{"params": decayed, "weight_decay": schedule.weight_decay}, {"params": free, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=schedule.learning_rate)

    def on_train_batch_start(self, _batch: Any, _index: int) -> None:
        """Set the learning rate from the progress."""
        rate = learning_rate(self.progress, self._recipe.schedule)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate

    @property
    def progress(self) -> float:
        """Share of the training that is done, in [0, 1]."""
        schedule = self._recipe.schedule
        done = self.global_step / (schedule.epochs * schedule.steps_per_epoch)
        if self._deadline_s is not None:
            done = max(done, (self._spent_s + time.monotonic() - self._started_s) / self._deadline_s)
        return min(done, 1.0)

    def on_train_epoch_end(self) -> None:
        """Stop when the clock has run out."""
        if self.progress >= 1.0:
            self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember the time that was spent."""
        checkpoint["spent_s"] = self._spent_s + time.monotonic() - self._started_s

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from the time that was spent."""
        self._spent_s = float(checkpoint.get("spent_s", 0.0))


class _Windows(pl.LightningDataModule):
    """A fresh, seeded set of windows for each epoch."""

    def __init__(self, dataset: WindowDataset, batch_size: int, workers: int) -> None:
        super().__init__()
        self._dataset = dataset
        self._batch_size = batch_size
        self._workers = workers

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        assert self.trainer is not None
        self._dataset.epoch = self.trainer.current_epoch
        return DataLoader(self._dataset, batch_size=self._batch_size, num_workers=self._workers)


class _EpochReport(pl.Callback):
    def __init__(self, report: Callable[[int, dict[str, float]], None]) -> None:
        self._report = report

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        numbers = {k: float(v) for k, v in trainer.callback_metrics.items()}
        self._report(trainer.current_epoch + 1, numbers)


def learning_rate(progress: float, schedule: Schedule) -> float:
    """Warm up linearly, then let down by half a cosine (Loshchilov & Hutter 2017).

    Args:
        progress: Share of the training that is done, in [0, 1].
        schedule: Peak and warm-up.
    """
    if progress < schedule.warm_up:
        return schedule.learning_rate * (progress / schedule.warm_up) + 1e-6
    cosine = math.cos(math.pi * (progress - schedule.warm_up) / (1 - schedule.warm_up))
    return schedule.learning_rate * (0.5 + 0.5 * cosine) + 1e-6


def fit(
    recipe: Recipe,
    data_dir: Path,
    work_dir: Path,
    *,
    deadline_s: float | None = None,
    workers: int = 0,
    report: Callable[[int, dict[str, float]], None] = lambda epoch, numbers: None,
) -> TrainingModule:
    """Train a recipe, going on from the last checkpoint in ``work_dir`` if there is one.

    Args:
        recipe: What to train.
        data_dir: Folder that the recipe's paths start from.
        work_dir: Checkpoints and the log of losses.
        deadline_s: See :class:`TrainingModule`.
        workers: Processes that prepare windows; 0 prepares them in line.
        report: Called after each epoch with its number and its mean losses.

    Returns:
        The module with averaged weights, in evaluation mode.
    """
    pl.seed_everything(recipe.schedule.seed, verbose=False)
    module = TrainingModule(recipe, deadline_s)
    dataset = WindowDataset(recipe, data_dir)
    last = work_dir / CHECKPOINT
    if recipe.start_from is not None and not last.exists():
        load_weights(module.network, find_package(recipe.start_from).weights)
    trainer = pl.Trainer(
        accelerator="auto",
        devices=1,
        max_epochs=recipe.schedule.epochs,
        default_root_dir=work_dir,
        callbacks=[
            EMAWeightAveraging(decay=recipe.schedule.ema_decay, update_starting_at_step=min(20, recipe.schedule.steps_per_epoch)),
            ModelCheckpoint(
                dirpath=work_dir, filename="last", every_n_epochs=1, enable_version_counter=False, save_on_train_epoch_end=True
            ),
            _EpochReport(report),
        ],
        logger=CSVLogger(work_dir, name="log", version=0),
        gradient_clip_val=1.0,
        reload_dataloaders_every_n_epochs=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=recipe.schedule.steps_per_epoch,
    )
    trainer.fit(
        module,
        datamodule=_Windows(dataset, recipe.schedule.batch_size, workers),
        ckpt_path=last if last.exists() else None,
        weights_only=True,
    )
    return module.eval()
