"""A recipe leads to the same weights for the same seed, also after a stop, after running out of memory, and on several processes."""

import pickle
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from geoseg.errors import ConfigError, ModelError, RunError
from geoseg.events import Warned
from geoseg.labels.site import Site
from geoseg.model.execution import Precision
from geoseg.training import module as training_module
from geoseg.training.dataset import share_of
from geoseg.training.history import EpochDone, TrainingEvent, is_stale, read_history
from geoseg.training.loop import BEST, CHECKPOINT, FitOptions, fit, learning_rate
from geoseg.training.recipe import Recipe
from geoseg.training.validation import Tally
from tests.training.drawn import TinyNetwork, land_cover_only, tiny_recipe, weights_of, with_distance, write_site

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning.*", "ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_site(folder, "town", 7)
    write_site(folder, "village", 8)
    return folder


def drawn(name: str) -> tuple[Site, ...]:
    return (Site(name=name, kind="class_raster", rasters=f"{name}/image.png", labels="{parent}/{stem}_classes.png"),)


def quick(epochs: int = 2, **schedule: object) -> Recipe:
    return tiny_recipe(epochs, 2, sites=drawn("town"), validation=drawn("village"), schedule=schedule)


@pytest.fixture
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_module, "build_network", lambda spec: TinyNetwork(spec.channels))


class Killed(Exception):
    pass


def kill_in_epoch(number: int) -> "object":
    def listen(event: TrainingEvent) -> None:
        # the epochs before are on disk when this one reports
        if isinstance(event, EpochDone) and event.epoch == number:
            raise Killed

    return listen


@pytest.mark.usefixtures("_tiny")
def test_weights_of_other_classes_are_refused() -> None:
    recipe, checkpoint = quick(), {}
    training_module.TrainingModule(recipe).on_save_checkpoint(checkpoint)
    training_module.TrainingModule(recipe).on_load_checkpoint(checkpoint)
    turned = recipe.model.model_copy(update={"classes": recipe.model.classes[::-1]})
    with pytest.raises(ConfigError, match="another network"):
        training_module.TrainingModule(recipe.model_copy(update={"model": turned})).on_load_checkpoint(checkpoint)
    larger = recipe.model.model_copy(update={"network": recipe.model.network.model_copy(update={"magnification": 2.0})})
    with pytest.raises(ConfigError, match="another network"):
        training_module.TrainingModule(recipe.model_copy(update={"model": larger})).on_load_checkpoint(checkpoint)


@pytest.mark.usefixtures("_tiny")
def test_the_same_seed_gives_the_same_weights_and_a_stop_changes_nothing(data: Path, tmp_path: Path) -> None:
    whole, again = (weights_of(fit(quick(3), data, tmp_path / name)) for name in ("whole", "again"))
    np.testing.assert_array_equal(again, whole)
    with pytest.raises(Killed):
        fit(quick(3), data, tmp_path / "broken", report=kill_in_epoch(2))
    np.testing.assert_allclose(weights_of(fit(quick(3), data, tmp_path / "broken")), whole, atol=1e-6)
    scores = [[row.score for row in read_history(tmp_path / name)] for name in ("whole", "broken")]
    assert len(scores[0]) == 3
    np.testing.assert_allclose(scores[1], scores[0], atol=0.01)


@pytest.mark.usefixtures("_tiny")
@pytest.mark.parametrize("steps", [1, 2])
def test_the_shortest_training_keeps_what_it_learned(data: Path, tmp_path: Path, steps: int) -> None:
    recipe = quick(1, steps_per_epoch=steps)
    pl.seed_everything(recipe.schedule.seed, verbose=False)
    untrained = weights_of(training_module.TrainingModule(recipe))
    assert (weights_of(fit(recipe, data, tmp_path)) != untrained).mean() > 0.9


@pytest.mark.usefixtures("_tiny")
def test_a_recipe_that_changed_is_told_while_training_and_refused_when_it_is_over(data: Path, tmp_path: Path) -> None:
    fit(quick(2), data, tmp_path)
    changed = quick(2).model_copy(update={"loss": quick().loss.model_copy(update={"lovasz": 0.9}), "sites": drawn("village")})
    with pytest.raises(ConfigError, match=r"is over, and the recipe has changed since: sites, loss"):
        fit(changed, data, tmp_path)
    events: list[TrainingEvent] = []
    longer = changed.model_copy(update={"schedule": quick(3).schedule})
    fit(longer, data, tmp_path, report=events.append)
    assert [e.message for e in events if isinstance(e, Warned)] == [
        "Since this training began the recipe has changed: sites, loss. It goes on with the new one."
    ]
    assert [e.epoch for e in events if isinstance(e, EpochDone)] == [3]


@pytest.mark.usefixtures("_tiny")
def test_fewer_epochs_than_are_done_give_the_weights_again(data: Path, tmp_path: Path) -> None:
    first = weights_of(fit(quick(3, keep="last"), data, tmp_path))
    np.testing.assert_array_equal(weights_of(fit(quick(1, keep="last"), data, tmp_path)), first)


def test_a_network_that_needs_two_windows_says_so(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pooled(TinyNetwork):
        def __init__(self, channels: int) -> None:
            super().__init__(channels)
            self.context = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.BatchNorm2d(3))

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return super().forward(pixels + self.context(pixels))

    monkeypatch.setattr(training_module, "build_network", lambda spec: Pooled(spec.channels))
    with pytest.raises(ConfigError, match=r"cannot learn from 1 window alone\. Choose a batch_size of at least 2"):
        fit(quick(1, batch_size=1), data, tmp_path)


@pytest.mark.usefixtures("_tiny")
def test_a_training_that_is_done_gives_its_weights_again(data: Path, tmp_path: Path) -> None:
    first, again = (weights_of(fit(quick(), data, tmp_path)) for _ in range(2))
    np.testing.assert_array_equal(again, first)


@pytest.mark.usefixtures("_tiny")
@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_weights_that_are_asked_for_are_kept(data: Path, tmp_path: Path, keep: str) -> None:
    module = fit(quick(3, keep=keep, learning_rate=0.3), data, tmp_path)
    kept = torch.load(tmp_path / (BEST if keep == "best" else CHECKPOINT), weights_only=True)
    rows = read_history(tmp_path)
    assert kept["epoch"] + 1 == (max(rows, key=lambda row: row.score or 0).epoch if keep == "best" else 3)
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, kept["state_dict"][name])


@pytest.mark.usefixtures("_tiny")
def test_training_stops_early_when_the_score_no_longer_rises_and_stays_stopped(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tally, "results", lambda tally: (0.5, {"village: mean IoU": 0.5}))
    recipe = quick(8, patience=1)
    fit(recipe, data, tmp_path)
    rows = read_history(tmp_path)
    assert len(rows) == 2
    fit(recipe, data, tmp_path)
    assert read_history(tmp_path) == rows


@pytest.mark.usefixtures("_tiny")
def test_the_best_score_is_known_again_in_a_folder_that_was_moved(data: Path, tmp_path: Path) -> None:
    unbroken = fit(quick(3), data, tmp_path / "unbroken")
    with pytest.raises(Killed):
        fit(quick(3), data, tmp_path / "here", report=kill_in_epoch(2))
    kept = torch.load(tmp_path / "here" / CHECKPOINT, weights_only=True)["callbacks"]
    # by this name earlier versions wrote it as well
    assert any(name.startswith("ModelCheckpoint{'monitor': 'val_score'") for name in kept)
    (tmp_path / "here").rename(tmp_path / "there")
    np.testing.assert_array_equal(weights_of(fit(quick(3), data, tmp_path / "there")), weights_of(unbroken))


@pytest.mark.usefixtures("_tiny")
def test_a_training_whose_time_is_over_gives_its_weights_again(data: Path, tmp_path: Path) -> None:
    timed = FitOptions(deadline_s=0.5)
    first = fit(quick(200), data, tmp_path / "run", timed)
    written = (tmp_path / "run" / CHECKPOINT).read_bytes()
    np.testing.assert_array_equal(weights_of(fit(quick(200), data, tmp_path / "run", timed)), weights_of(first))
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == written


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_gpu_that_is_not_there_is_named_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="finds no CUDA device"):
        fit(quick(), tmp_path / "nowhere", tmp_path / "run", FitOptions(accelerator="cuda"))


@pytest.mark.parametrize("precision", [None, "float32", "bfloat16"])
def test_the_network_computes_in_the_precision_that_is_asked_for(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: Precision | None
) -> None:
    mixed: set[bool] = set()

    def look(_pixels: torch.Tensor) -> None:
        mixed.add(torch.is_autocast_enabled("cpu"))

    monkeypatch.setattr(training_module, "build_network", lambda spec: TinyNetwork(spec.channels, look))
    options = FitOptions(accelerator="cpu", precision=precision)
    weights, again = (weights_of(fit(quick(1), data, tmp_path / name, options)) for name in ("once", "again"))
    assert mixed == {precision == "bfloat16"}
    assert weights.dtype == np.float32
    np.testing.assert_array_equal(again, weights)


def test_float16_is_refused_on_a_processor_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="float16 needs a GPU"):
        fit(quick(), tmp_path / "nowhere", tmp_path / "run", FitOptions(accelerator="cpu", precision="float16"))


@pytest.mark.usefixtures("_tiny")
@pytest.mark.parametrize("units", [True, False])
def test_a_processor_that_emulates_bfloat16_is_warned_of(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, units: bool) -> None:
    known = {"architecture": "x86_64", "avx512_bf16": units, "amx_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    events: list[TrainingEvent] = []
    fit(quick(1), data, tmp_path, FitOptions(accelerator="cpu", precision="bfloat16"), events.append)
    assert any(isinstance(e, Warned) and "emulates" in e.message for e in events) == (not units)


def test_scores_are_stale_when_the_last_ones_bring_nothing_better() -> None:
    def rows(*scores: float | None) -> list[EpochDone]:
        same = {"epochs": 9, "losses": {}, "learning_rate": 0.0, "mpx_per_s": 0.0, "left_s": 0.0}
        return [EpochDone(epoch=i, score=s, **same) for i, s in enumerate(scores, 1)]

    assert is_stale(rows(0.5, None, 0.5, 0.4), patience=2)
    assert not is_stale(rows(0.5, 0.4, 0.6), patience=2)
    assert not is_stale(rows(0.5, 0.4), patience=2)
    assert not is_stale(rows(0.5, 0.4, 0.3), patience=0)


def test_a_loss_that_is_no_number_stops_and_names_the_last_good_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def spoil(pixels: torch.Tensor) -> None:
        seen.append(len(pixels))
        if len(seen) == 4:
            pixels.fill_(float("nan"))

    monkeypatch.setattr(training_module, "build_network", lambda spec: TinyNetwork(spec.channels, spoil))
    recipe = quick(3).model_copy(update={"validation": ()})
    with pytest.raises(RunError, match=rf"loss of step 4 is nan.*{CHECKPOINT}"):
        fit(recipe, data, tmp_path)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert state["epoch"] == 0
    assert all(torch.isfinite(v).all() for v in state["state_dict"].values())


def test_out_of_memory_halves_the_batch_and_keeps_the_step(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def choke(pixels: torch.Tensor) -> None:
        sizes.append(len(pixels))
        if len(pixels) > 1 and len(sizes) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(training_module, "build_network", lambda spec: TinyNetwork(spec.channels, choke))
    events: list[TrainingEvent] = []
    recipe = quick(3).model_copy(update={"validation": ()})
    fit(recipe, data, tmp_path, report=events.append)
    assert [e.message for e in events if isinstance(e, Warned)] == [
        "Out of memory with 4 windows at once; going on with 2, batch as before.",
        "Out of memory with 2 windows at once; going on with 1, batch as before.",
    ]
    # one epoch of whole batches stands; the two that are left have 2 steps of 4 single windows
    assert sizes == [4, 4, 4, 4, 2, *[1] * 16]
    assert [e.epoch for e in events if isinstance(e, EpochDone)] == [1, 2, 3]
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["global_step"] == 6


def test_a_single_window_that_does_not_fit_is_an_error(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def choke(pixels: torch.Tensor) -> None:
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes")

    monkeypatch.setattr(training_module, "build_network", lambda spec: TinyNetwork(spec.channels, choke))
    with pytest.raises(RunError, match="1 windows at once"):
        fit(quick(1), data, tmp_path)


@pytest.mark.usefixtures("_tiny")
def test_a_folder_of_another_network_is_refused(data: Path, tmp_path: Path) -> None:
    fit(quick(1), data, tmp_path)
    with pytest.raises(ConfigError, match=r"asks for .*building_distance 7:8"):
        fit(with_distance(quick(2)), data, tmp_path)
    # also where nothing would be left to train
    with pytest.raises(ConfigError, match=r"asks for .*building_distance 7:8"):
        fit(with_distance(quick(1)), data, tmp_path)


@pytest.mark.usefixtures("_tiny")
@pytest.mark.parametrize("change", [land_cover_only, with_distance])
def test_models_with_other_heads_train(data: Path, tmp_path: Path, change: "object") -> None:
    rows: list[TrainingEvent] = []
    fit(change(quick(1)), data, tmp_path, report=rows.append)
    assert np.isfinite(list(rows[0].losses.values())).all()
    assert ("distance" in rows[0].losses) == (change is with_distance)
    assert ("interior" in rows[0].losses) == (change is with_distance)


@pytest.mark.usefixtures("_tiny")
def test_worker_processes_change_nothing(data: Path, tmp_path: Path) -> None:
    inline, spread = (weights_of(fit(quick(1), data, tmp_path / str(n), FitOptions(workers=n))) for n in (0, 1))
    np.testing.assert_array_equal(spread, inline)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_share_the_windows_each_once(world: int) -> None:
    shares = [share_of(rank, world, 12) for rank in range(world)]
    assert sorted(i for share in shares for i in share) == list(range(12))
    # step s of all processes together holds the windows that step s of one process holds
    size = 6 // world
    assert {i for share in shares for i in share[:size]} == set(range(6))


def test_devices_that_cannot_share_a_batch_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="3 devices cannot share a batch of 4"):
        fit(quick(), data, tmp_path, FitOptions(accelerator="cpu", devices=3))


def test_the_schedule_warms_up_and_lets_down() -> None:
    schedule = tiny_recipe().schedule
    rates = [learning_rate(p, schedule) for p in np.linspace(0, 1, 101)]
    peak = int(np.argmax(rates))
    assert peak == pytest.approx(100 * schedule.warm_up, abs=1)
    assert all(a >= b for a, b in zip(rates[peak:], rates[peak + 1 :], strict=False))
    assert rates[-1] < schedule.learning_rate / 100


class Planted:
    """What a pickle would run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("planted"),))


@pytest.mark.usefixtures("_tiny")
def test_a_checkpoint_with_code_in_it_is_not_run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"epoch": 0, "state_dict": Planted()}, tmp_path / CHECKPOINT)
    with pytest.raises(pickle.UnpicklingError, match=r"weights_only|Weights only"):
        fit(quick(), data, tmp_path)
    assert not (tmp_path / "planted").exists()


def test_the_package_itself_loads_nothing_with_torch_load() -> None:
    found = [path.name for path in sorted((Path(__file__).parents[2] / "geoseg").rglob("*.py")) if "torch.load(" in path.read_text()]
    assert found == []
