"""What is made of stitched rasters: instances, panoptic map, polygons, roads; it needs no model and no imagery."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from geoseg.checkrules import CheckRule
from geoseg.config import Output
from geoseg.events import Listener, StageDone
from geoseg.products.stitched import Stitched
from geoseg.settings import ObjectSettings


@dataclass(slots=True)
class StageLog:
    """What the stages of a run leave behind for its summary."""

    listener: Listener
    """Takes an event per stage."""
    timing_s: dict[str, float] = field(default_factory=dict)
    """Seconds by stage."""
    counts: dict[str, int] = field(default_factory=dict)
    """Numbers of things."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage and report it."""
        began = time.monotonic()
        yield
        self.report(name, time.monotonic() - began)

    def report(self, name: str, elapsed_s: float) -> None:
        """Report a stage that took some seconds."""
        self.timing_s[name] = round(elapsed_s, 3)
        self.listener(StageDone(stage=name, elapsed_s=self.timing_s[name]))


def make_objects(
    stitched: Stitched,
    settings: ObjectSettings,
    outputs: tuple[Output, ...],
    target: Path,
    log: StageLog,
    rules: tuple[CheckRule, ...] = (),
) -> None:
    """Make ``instances.tif``, ``panoptic.tif``, ``features.gpkg`` and ``roads.graphml``, as far as they are wanted and the evidence allows.

    Args:
        stitched: What was found in the imagery.
        settings: How to make objects of it.
        outputs: What is wanted.
        target: Empty folder that takes them, and scratch.
        log: Takes times and counts.
        rules: Single out features.

    Raises:
        RunError: If something could not be read or written.
    """
    wants_things = not {"buildings", "panoptic"}.isdisjoint(outputs) and stitched.knows_buildings
    wanted = {"landcover": "landcover" in outputs, "buildings": wants_things, "roads": "roads" in outputs and stitched.has("road")}
    if not any(wanted.values()):
        return
    # compiled code, geopandas and networkx take a second and memory that a run has better use for until its last tile is done
    from geoseg.io.vector import open_layers
    from geoseg.products.formats.styles import LAYER_KINDS, style_table
    from geoseg.products.things import ThingMaker, make_together

    with open_layers(target / "features.gpkg") as add:
        # land cover is written as it is drawn; the other tables wait, so that layers always come in the same order
        waiting: dict[str, list[tuple[str, Any]]] = {name: [] for name, is_wanted in wanted.items() if is_wanted}
        stopped = Event()
        makers = {
            name: ThingMaker(
                stitched=stitched,
                settings=settings,
                outputs=outputs,
                target=target,
                stopped=stopped,
                add=add if name == "landcover" else partial(_keep, tables),
            )
            for name, tables in waiting.items()
        }
        elapsed_s = make_together(makers)
        styled = ["landcover"] if "landcover" in waiting else []
        for name, tables in waiting.items():
            for layer, table in tables:
                add(layer, _mark(stitched, layer, table, rules, log))
                styled += [layer] if layer in LAYER_KINDS else []
            log.counts |= makers[name].counts
            log.report(name, elapsed_s[name])
        if styled:
            add("layer_styles", style_table(stitched.scheme, styled))


def _mark(stitched: Stitched, layer: str, table: Any, rules: tuple[CheckRule, ...], log: StageLog) -> Any:
    """Let rules single out features of a layer; how many each found is a count."""
    about = [rule for rule in rules if rule.layer == layer]
    if not about:
        return table
    from geoseg.products.checks import mark_features

    with stitched.open("class") as read:
        marked, found = mark_features(table, about, read, stitched.scheme, stitched.geobox)
    log.counts |= {f"check: {name}": number for name, number in found.items()}
    return marked


def _keep(tables: list[tuple[str, Any]], layer: str, table: Any) -> None:
    tables.append((layer, table))
