"""The training loop: Lightning under it, a package at its end."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader

from geoseg.errors import ConfigError, RunError
from geoseg.events import Warned
from geoseg.model.device import pick_device
from geoseg.model.execution import Precision
from geoseg.model.package import find_package
from geoseg.training.dataset import WindowDataset, share_of
from geoseg.training.history import EpochDone, TrainingEvent, TrainingListener, is_stale, read_history, write_history
from geoseg.training.module import SCORE, DivergedError, TrainingModule, check_network, fingerprint_lessons, learning_rate
from geoseg.training.odds import weigh_odds
from geoseg.training.recipe import Recipe
from geoseg.training.report import write_report
from geoseg.training.start import start_from_packages
from geoseg.training.validation import ValidationWindows

__all__ = ["BEST", "CHECKPOINT", "FitOptions", "TrainingModule", "fit", "is_first_process", "learning_rate"]

CHECKPOINT = "last.ckpt"
BEST = "best.ckpt"
_MIXED: dict[Precision, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "float32": "32-true",
    "bfloat16": "bf16-mixed",
    "float16": "16-mixed",
}
_ONE_VALUE = "Expected more than 1 value per channel when training"
"""What batch norm says where a pooled map of a single window reaches it."""
_CPU_OUT_OF_MEMORY = ("not enough memory", "can't allocate memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """How to train. What is learned depends on the deadline and the precision alone."""

    deadline_s: float | None = None
    """See :class:`TrainingModule`."""
    workers: int = 0
    """Processes that prepare windows; 0 prepares them in line."""
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    devices: int | None = None
    """How many GPUs, or processes on a CPU, share a batch (DDP); None takes all GPUs or one CPU process."""
    precision: Precision | None = None
    """What the network computes in; weights and losses stay float32. None takes 16 bits on a GPU, float32 on a processor."""
    page: Path | None = None
    """Report that is written after every epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Split:
    """How a batch is cut into what a device takes at once."""

    processes: int
    """That share a batch."""
    pieces: int
    """One after another in each process; their gradients are added."""
    batch_size: int
    """Of the optimizer step."""

    @property
    def piece_size(self) -> int:
        return self.batch_size // (self.processes * self.pieces)

    def finer(self) -> "_Split | None":
        """Halve the pieces, or nearly so where their size is odd; None if they are single windows."""
        share = self.batch_size // self.processes
        smaller = [size for size in range(1, self.piece_size // 2 + 1) if share % size == 0]
        return replace(self, pieces=share // max(smaller)) if smaller else None


def fit(
    recipe: Recipe,
    data_dir: Path,
    work_dir: Path,
    options: FitOptions | None = None,
    report: TrainingListener = lambda event: None,
) -> TrainingModule:
    """Train a recipe, going on from the last checkpoint in ``work_dir`` if there is one.

    A batch that does not fit into memory is halved, and gradients of the halves are added, so that the step stays the same.

    Args:
        recipe: What to train.
        data_dir: Folder that the recipe's paths start from.
        work_dir: Checkpoints and the log of epochs.
        options: How to train.
        report: Takes an event after each epoch and for what the user should know.

    Returns:
        The module with the averaged weights that the recipe keeps, in evaluation mode.

    Raises:
        LabelError: If a site cannot be learned from.
        ConfigError: If the batch cannot be shared among the devices, or another network's training lies in ``work_dir``.
        RunError: If the loss is no longer a number, or a single window does not fit into memory.
    """
    options = options or FitOptions()
    processes = _processes(options)
    split = _Split(processes=processes, pieces=1, batch_size=recipe.schedule.batch_size)
    if recipe.schedule.batch_size % processes:
        raise ConfigError(f"{processes} devices cannot share a batch of {recipe.schedule.batch_size} windows evenly. Change batch_size.")
    _warn_of_emulation(options, report)
    windows = WindowDataset(recipe, data_dir)
    for note in windows.notes:
        report(Warned(message=note))
    measured = ValidationWindows(recipe, data_dir) if recipe.validation else None
    while True:
        finer = split.finer()
        try:
            module = _begin(recipe, work_dir, options, windows, measured, report)
            _train(module, recipe, work_dir, options, split, report)
            return _keep(module, recipe, work_dir)
        except DivergedError as exc:
            raise RunError(_diverged(exc, work_dir)) from exc
        except ValueError as exc:
            if _ONE_VALUE not in str(exc):
                raise
            raise ConfigError(
                f"This network normalizes over what it sees at once, and cannot learn from {split.piece_size} window alone. "
                f"Choose a batch_size of at least {2 * processes}, or a smaller window_px if memory ran out."
            ) from exc
        except RuntimeError as exc:
            if not _out_of_memory(exc):
                raise
            if finer is None or processes > 1:
                raise RunError(f"Out of memory with {split.piece_size} windows at once: choose a smaller batch_size or window_px.") from exc
            report(
                Warned(message=f"Out of memory with {split.piece_size} windows at once; going on with {finer.piece_size}, batch as before.")
            )
        # outside of the handler, whose traceback holds tensors
        split = finer
        gc.collect()
        torch.cuda.empty_cache()


def is_first_process() -> bool:
    """Tell whether this is the process, of those that train together, that writes results."""
    return int(getattr(rank_zero_only, "rank", None) or 0) == 0


def _begin(
    recipe: Recipe,
    work_dir: Path,
    options: FitOptions,
    windows: WindowDataset,
    measured: ValidationWindows | None,
    report: TrainingListener,
) -> TrainingModule:
    pl.seed_everything(recipe.schedule.seed, verbose=False)
    module = TrainingModule(recipe, options.deadline_s)
    module.training_windows, module.validation_windows = windows, measured
    if recipe.start_from and not (work_dir / CHECKPOINT).exists():
        notice = start_from_packages(module.network, recipe.model, [find_package(name) for name in recipe.start_from])
        if notice:
            report(Warned(message=notice))
    # odds that cannot be built in are told now, not after the training
    weigh_odds(module.network, recipe.model, recipe.decision.odds)
    return module


def _train(module: TrainingModule, recipe: Recipe, work_dir: Path, options: FitOptions, split: _Split, report: TrainingListener) -> None:
    last = work_dir / CHECKPOINT
    schedule = recipe.schedule
    done = _epochs_done(last)
    rows = read_history(work_dir, done)
    over = done >= schedule.epochs or is_stale(rows, schedule.patience) or _is_over(last, options.deadline_s)
    _compare_lessons(recipe, last, work_dir, report, over=over)
    if over:
        return
    work_dir.mkdir(parents=True, exist_ok=True)
    if not last.exists():
        (work_dir / BEST).unlink(missing_ok=True)
    trainer = pl.Trainer(
        accelerator=options.accelerator,
        devices=split.processes,
        strategy="ddp" if split.processes > 1 else "auto",
        precision=_MIXED[_precision(options)],
        max_epochs=schedule.epochs,
        accumulate_grad_batches=split.pieces,
        default_root_dir=work_dir,
        callbacks=_callbacks(recipe, work_dir, _Epochs(recipe, work_dir, rows, options.page, report)),
        logger=False,
        gradient_clip_val=schedule.gradient_clip or None,
        deterministic="warn" if schedule.deterministic else None,
        reload_dataloaders_every_n_epochs=1,
        check_val_every_n_epoch=schedule.validate_every,
        limit_val_batches=None if recipe.validation else 0,
        num_sanity_val_steps=0,
        # windows are shared by our own rule
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=schedule.steps_per_epoch,
    )
    checkpoint = last if last.exists() else None
    try:
        trainer.fit(module, datamodule=_Windows(module, split.piece_size, options.workers), ckpt_path=checkpoint, weights_only=True)
    except SystemExit as exc:
        # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from exc


def _callbacks(recipe: Recipe, work_dir: Path, epochs: "_Epochs") -> list[pl.Callback]:
    schedule = recipe.schedule
    callbacks: list[pl.Callback] = [
        # steps are counted from 0; what is averaged of an epoch is never nothing
        EMAWeightAveraging(decay=schedule.ema_decay, update_starting_at_step=min(20, schedule.steps_per_epoch - 1)),
        ModelCheckpoint(dirpath=work_dir, filename="last", every_n_epochs=1, enable_version_counter=False, save_on_train_epoch_end=True),
        epochs,
    ]
    if recipe.validation:
        best = _Best(dirpath=work_dir, filename="best", monitor=SCORE, mode="max", enable_version_counter=False)
        callbacks.insert(1, best)
    return callbacks


_PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


class _Best(ModelCheckpoint):
    """The best checkpoint, known again where the folder was moved or lies under another name."""

    @property
    def state_key(self) -> str:
        """Name under which checkpoints keep the state, those of earlier versions as well."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        def here(path: str) -> str:
            return str(Path(str(self.dirpath), Path(path).name)) if path else path

        moved = {**state_dict, "dirpath": self.dirpath}
        moved |= {name: here(moved[name]) for name in _PATHS if name in moved}
        moved["best_k_models"] = {here(path): score for path, score in state_dict.get("best_k_models", {}).items()}
        super().load_state_dict(moved)


class _Windows(pl.LightningDataModule):
    """A fresh, seeded set of windows for each epoch, and always the same ones for validation."""

    def __init__(self, module: TrainingModule, batch_size: int, workers: int) -> None:
        super().__init__()
        self._module = module
        self._batch_size = batch_size
        self._workers = workers

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        assert self.trainer is not None
        windows = self._module.training_windows
        assert windows is not None
        windows.epoch = self.trainer.current_epoch
        share = share_of(self.trainer.global_rank, self.trainer.world_size, len(windows))
        return DataLoader(windows, batch_size=self._batch_size, sampler=share, num_workers=self._workers)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor, int]] | list[Any]:
        windows = self._module.validation_windows
        return [] if windows is None else DataLoader(windows, batch_size=self._batch_size, num_workers=self._workers)


class _Epochs(pl.Callback):
    """Keeps the log of epochs and the report, and stops when the score no longer rises."""

    def __init__(
        self, recipe: Recipe, work_dir: Path, rows: list[EpochDone], page: Path | None, report: Callable[[TrainingEvent], None]
    ) -> None:
        self._recipe, self._work_dir, self._rows, self._page, self._report = recipe, work_dir, rows, page, report
        self._began_s = self._epoch_began_s = self._last_step_s = time.monotonic()
        self._progress_before: float | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        self._epoch_began_s = time.monotonic()
        if self._progress_before is None:
            self._began_s, self._progress_before = self._epoch_began_s, pl_module.progress

    def on_train_batch_end(self, *_: Any) -> None:
        self._last_step_s = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        row = self._row(trainer, pl_module)
        self._rows = [r for r in self._rows if r.epoch < row.epoch] + [row]
        if is_stale(self._rows, self._recipe.schedule.patience):
            trainer.should_stop = True
        if trainer.is_global_zero:
            write_history(self._work_dir, self._rows)
            if self._page is not None:
                write_report(self._page, self._recipe, self._rows, pl_module.worst)
            self._report(row)

    def _row(self, trainer: pl.Trainer, module: TrainingModule) -> EpochDone:
        numbers = {name: float(value) for name, value in trainer.callback_metrics.items()}
        schedule, done = self._recipe.schedule, module.progress
        gained = done - (self._progress_before or 0.0)
        pixels = schedule.steps_per_epoch * schedule.batch_size * schedule.window_px**2
        return EpochDone(
            epoch=trainer.current_epoch + 1,
            epochs=schedule.epochs,
            losses={name.removeprefix("loss_"): value for name, value in numbers.items() if name.startswith("loss_")},
            learning_rate=float(trainer.optimizers[0].param_groups[0]["lr"]),
            mpx_per_s=pixels / 1e6 / max(self._last_step_s - self._epoch_began_s, 1e-9),
            left_s=(time.monotonic() - self._began_s) / max(gained, 1e-9) * (1 - done),
            # the score of an earlier epoch stays among Lightning's metrics
            score=numbers.get(SCORE) if module.accuracy else None,
            accuracy=module.accuracy,
        )


def _processes(options: FitOptions) -> int:
    if options.accelerator == "cuda":
        pick_device("cuda")
    gpus = torch.cuda.device_count() if options.accelerator != "cpu" else 0
    if gpus and (options.devices or 0) > gpus:
        raise ConfigError(f"--devices asks for {options.devices} GPUs; there are {gpus}.")
    if options.devices is not None:
        return options.devices
    return max(gpus, 1)


def _on_gpu(options: FitOptions) -> bool:
    return options.accelerator != "cpu" and torch.cuda.is_available()


def _precision(options: FitOptions) -> Precision:
    if options.precision == "float16" and not _on_gpu(options):
        raise ConfigError("Training in float16 needs a GPU, which scales small gradients up. Take bfloat16, or float32.")
    if options.precision is not None:
        return options.precision
    if not _on_gpu(options):
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


def _warn_of_emulation(options: FitOptions, report: TrainingListener) -> None:
    if _precision(options) != "bfloat16" or _on_gpu(options):
        return
    known: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    if known.get("architecture") == "x86_64" and not (known.get("avx512_bf16") or known.get("amx_bf16")):
        report(
            Warned(message="This processor has no units for bfloat16 and emulates it, which is slow. Without --precision it takes float32.")
        )


def _keep(module: TrainingModule, recipe: Recipe, work_dir: Path) -> TrainingModule:
    """Load the averaged weights of the best or the last checkpoint, which is where they are also after a stop."""
    best = work_dir / BEST
    path = best if recipe.validation and recipe.schedule.keep == "best" and best.exists() else work_dir / CHECKPOINT
    module.load_state_dict(_read(path)["state_dict"])
    return module.eval()


def _epochs_done(checkpoint: Path) -> int:
    return int(_read(checkpoint)["epoch"]) + 1 if checkpoint.exists() else 0


def _compare_lessons(recipe: Recipe, checkpoint: Path, work_dir: Path, report: TrainingListener, *, over: bool) -> None:
    """Warn if a training goes on with other lessons than it began with, and refuse to call it done with them."""
    if not checkpoint.exists():
        return
    state = _read(checkpoint)
    check_network(state, recipe)
    before = state.get("lessons")
    now = fingerprint_lessons(recipe)
    changed = ", ".join(name for name in now if before and before.get(name) != now[name])
    if not changed:
        return
    if over:
        raise ConfigError(
            f"The training in {work_dir} is over, and the recipe has changed since: {changed}. "
            "Choose another output folder, or remove the old training."
        )
    report(Warned(message=f"Since this training began the recipe has changed: {changed}. It goes on with the new one."))


def _is_over(checkpoint: Path, deadline_s: float | None) -> bool:
    """Tell whether a training that follows the clock had all of its time."""
    return deadline_s is not None and checkpoint.exists() and float(_read(checkpoint).get("spent_s", 0.0)) >= deadline_s


def _read(checkpoint: Path) -> dict[str, Any]:
    """Read a checkpoint as Lightning does where it goes on from one: tensors and numbers only."""
    state: dict[str, Any] = TorchCheckpointIO().load_checkpoint(checkpoint, weights_only=True)
    return state


def _out_of_memory(exc: RuntimeError) -> bool:
    return isinstance(exc, torch.OutOfMemoryError) or any(words in str(exc) for words in _CPU_OUT_OF_MEMORY)


def _diverged(exc: DivergedError, work_dir: Path) -> str:
    last = work_dir / CHECKPOINT
    kept = f"The last good checkpoint is {last}" if last.exists() else "There is no checkpoint yet"
    return f"Training diverged: {exc}. {kept}. Choose a lower learning_rate, a longer warm_up or a smaller gradient_clip."
