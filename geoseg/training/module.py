"""Network, losses and schedule as Lightning wants them."""

import hashlib
import json
import math
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from geoseg.errors import ConfigError
from geoseg.labels.coding import building_channel
from geoseg.model.network import build_network
from geoseg.training.dataset import WindowDataset
from geoseg.training.losses import total_loss, window_losses
from geoseg.training.recipe import Recipe, Schedule
from geoseg.training.validation import Tally, ValidationWindows, WindowResult, Worst

SCORE = "val_score"
_WORST = 6
_LESSONS = ("start_from", "sites", "schedule", "sampling", "augmentation", "loss")
_LENGTH = ("epochs", "patience", "keep", "validate_every")


class DivergedError(Exception):
    """The loss or the weights are no longer numbers."""


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
        self.training_windows: WindowDataset | None = None
        self.validation_windows: ValidationWindows | None = None
        self.accuracy: dict[str, float] = {}
        self._tally: Tally | None = None
        self._worst_trained = Worst(_WORST)
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

    def on_train_epoch_start(self) -> None:
        """Seed what the network itself draws, as dropout does, so that a resumed epoch is the same."""
        torch.manual_seed((self._recipe.schedule.seed << 24) + (self.current_epoch << 8) + self.global_rank)
        self.accuracy = {}
        self._worst_trained = Worst(_WORST)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """Return the loss of a batch and log its parts.

        Raises:
            DivergedError: If the loss is no number.
        """
        pixels, targets = batch
        logits = self(pixels).float()
        parts = total_loss(logits, targets, self._recipe.model, self._recipe.loss)
        if not torch.isfinite(parts["total"]):
            raise DivergedError(f"the loss of step {self.global_step + 1} is {float(parts['total'].detach())}")
        self.log_dict({f"loss_{k}": v.detach() for k, v in parts.items()}, on_step=False, on_epoch=True, sync_dist=self._is_spread)
        if self.validation_windows is None:
            self._look_for_worst(logits.detach(), pixels, targets[:, 0], index)
        return parts["total"]

    def on_validation_epoch_start(self) -> None:
        """Begin to count."""
        assert self.validation_windows is not None
        self._tally = Tally(self.validation_windows, self._recipe.model, _WORST)

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], _index: int) -> None:
        """Count what is found in a batch."""
        assert self._tally is not None
        pixels, targets, indices = batch
        found = self._classes(self(pixels)).cpu().numpy()
        for i, index in enumerate(indices.tolist()):
            self._tally.add(index, pixels[i].cpu().numpy(), targets[i].cpu().numpy(), found[i])

    def on_validation_epoch_end(self) -> None:
        """Publish the score."""
        assert self._tally is not None
        score, self.accuracy = self._tally.results()
        # every process measures all windows, so there is nothing to reduce
        self.log(SCORE, torch.tensor(score, dtype=torch.float32, device=self.device), sync_dist=self._is_spread)

    @property
    def worst(self) -> list[WindowResult]:
        """The worst windows of the last validation, or without validation of the epoch that was trained last."""
        return self._tally.worst.windows if self._tally is not None else self._worst_trained.windows

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
        """Share of the training that is done, in [0, 1]; alike in all processes."""
        schedule = self._recipe.schedule
        done = self.global_step / (schedule.epochs * schedule.steps_per_epoch)
        if self._deadline_s is not None:
            done = max(done, (self._spent_s + time.monotonic() - self._started_s) / self._deadline_s)
            if self._is_spread:
                done = float(self.trainer.strategy.broadcast(done))
        return min(done, 1.0)

    def on_train_epoch_end(self) -> None:
        """Stop when the clock has run out.

        Raises:
            DivergedError: If a weight is no number, so that no such checkpoint is written.
        """
        if not all(torch.isfinite(p).all() for p in self.parameters()):
            raise DivergedError(f"a weight is no number after epoch {self.current_epoch + 1}")
        if self.progress >= 1.0:
            self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember the time that was spent, and for which network."""
        checkpoint["spent_s"] = self._spent_s + time.monotonic() - self._started_s
        checkpoint["network"] = _fingerprint(self._recipe)
        checkpoint["lessons"] = fingerprint_lessons(self._recipe)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from the time that was spent.

        Raises:
            ConfigError: If the checkpoint is another network's.
        """
        check_network(checkpoint, self._recipe)
        self._spent_s = float(checkpoint.get("spent_s", 0.0))

    @property
    def _is_spread(self) -> bool:
        return self.trainer.world_size > 1

    def _classes(self, logits: Tensor) -> Tensor:
        head = self._recipe.model.heads["semantic"]
        return logits[:, head.start : head.stop].argmax(dim=1).to(torch.uint8)

    def _look_for_worst(self, logits: Tensor, pixels: Tensor, truth: Tensor, index: int) -> None:
        spec, windows = self._recipe.model, self.training_windows
        if windows is None:
            return
        head = spec.heads["semantic"]
        losses = window_losses(logits[:, head.start : head.stop], truth, self._recipe.loss, building_channel(spec)).tolist()
        for i in np.flatnonzero([self._worst_trained.takes(loss) for loss in losses]).tolist():
            number = (index * len(pixels) + i) * self.trainer.world_size + self.global_rank
            self._worst_trained.offer(
                WindowResult(
                    name=f"{windows.name_of(number)}, window {number}",
                    measure=f"cross entropy {losses[i]:.2f}",
                    badness=losses[i],
                    pixels=pixels[i].cpu().numpy(),
                    truth=truth[i].cpu().numpy(),
                    found=self._classes(logits[i : i + 1])[0].cpu().numpy(),
                )
            )


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


def check_network(checkpoint: dict[str, Any], recipe: Recipe) -> None:
    """See to it that weights mean what a recipe says.

    Raises:
        ConfigError: If the checkpoint is another network's.
    """
    made, asked = checkpoint.get("network"), _fingerprint(recipe)
    if made is not None and made != asked:
        raise ConfigError(
            f"A training had begun here with another network: {made}. The recipe asks for {asked}. "
            "Choose another output folder, or remove the old training."
        )


def fingerprint_lessons(recipe: Recipe) -> dict[str, str]:
    """Say in short what is learned and how, table by table, so that a change is noticed; how long does not count."""
    # what later versions add is left at its default
    tables = _without_folders(recipe.model_dump(mode="json", include=set(_LESSONS), exclude_defaults=True))
    for name in _LENGTH:
        tables["schedule"].pop(name, None)
    return {name: hashlib.sha256(json.dumps(tables.get(name), sort_keys=True).encode()).hexdigest()[:16] for name in _LESSONS}


def _without_folders(value: Any) -> Any:
    """Cut absolute paths down to their ends, so that recipe and data may be moved."""
    if isinstance(value, dict):
        return {key: _without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_folders(inner) for inner in value]
    return "/".join(Path(value).parts[-3:]) if isinstance(value, str) and Path(value).is_absolute() else value


def _fingerprint(recipe: Recipe) -> str:
    """Say what weights mean: the network, its input, and what each channel stands for."""
    network, model = recipe.model.network, recipe.model
    classes = ", ".join(f"{c.value} {c.name} ({c.kind})" for c in model.classes)
    heads = ", ".join(f"{name} {head.start}:{head.stop} {head.activation}" for name, head in sorted(model.heads.items()))
    scaling = ", ".join(f"{b} ({m:g}, {s:g})" for b, m, s in zip(model.bands, model.mean, model.std, strict=True))
    # checkpoints of earlier versions say nothing of it
    larger = f", {network.magnification:g} times larger" if network.magnification != 1 else ""
    return f"{network.architecture} with {network.encoder} {network.options}{larger}; bands {scaling}; classes {classes}; heads {heads}"
