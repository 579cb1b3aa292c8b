"""What is wrong with labels, found before training and not after it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.errors import GeosegError
from geoseg.io.ground import pixel_size_m
from geoseg.labels.coding import NOT_BUILDING, UNLABELLED
from geoseg.labels.offset import Offset, estimate_offset
from geoseg.labels.overlap import Shared, Trace, find_shared, trace_raster
from geoseg.labels.site import Site, as_measured
from geoseg.labels.targets import LabelledRaster, Reading, iterate_site, load_raster, raster_paths
from geoseg.model.spec import ModelSpec

Part = Literal["train", "validation", "test"]
Severity = Literal["error", "warning", "note"]
_OFFSET_PX = 2.0
_OFFSET_STRENGTH = 7.0
_HOLE_PX = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a person should look at."""

    severity: Severity
    """Errors make training wrong or impossible; warnings make it worse; notes say what was done."""
    fault: str
    """In one or two words, for example ``offset``."""
    site: str
    """Name of the site."""
    text: str
    """What was found, with the raster and the numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSummary:
    """What a site holds."""

    name: str
    """Name of the site."""
    part: Part
    """Learned from, chosen by, or measured on."""
    rasters: int
    """Rasters that could be read."""
    pixels: int
    """Pixels with imagery."""
    unlabelled: float
    """Share of those pixels that nothing is known of."""
    shares: dict[str, float]
    """Share of each class in the labelled pixels, by name; ``no building`` where no more is known."""
    offsets: tuple[tuple[str, Offset, float | None], ...]
    """Raster, estimated offset, and the size of its pixels in metres where that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelReport:
    """All that was found."""

    sites: tuple[SiteSummary, ...]
    """One for each site, in order."""
    findings: tuple[Finding, ...]
    """Errors first."""

    @property
    def errors(self) -> int:
        """Number of findings that make training wrong or impossible."""
        return sum(f.severity == "error" for f in self.findings)


def check_labels(
    parts: Mapping[Part, Iterable[Site]], spec: ModelSpec, data_dir: Path, watch: Callable[[str], None] = lambda _: None
) -> LabelReport:
    """Look for offsets, empty sites, holes, missing classes, and overlap between what is learned from, chosen by and measured on.

    One raster is in memory at a time.

    Args:
        parts: Sites that are learned from (``train``), that decide which weights are kept (``validation``), and that are
            measured on (``test``).
        spec: Classes, bands and resolution.
        data_dir: Folder that the paths of the sites start from.
        watch: Told the name of each raster that was read.
    """
    summaries: list[SiteSummary] = []
    findings: list[Finding] = []
    traces: dict[Part, list[Trace]] = {part: [] for part in parts}
    for part, group in parts.items():
        for site in group:
            tally = _Tally(site=site, part=part, spec=spec)
            for raster in tally.read(data_dir):
                watch(raster.name)
                traces[part].append(trace_raster(site.name, raster))
            summaries.append(tally.summary())
            # what is wrong with all scenes of a site is said once
            findings += dict.fromkeys(tally.findings)
    findings += _missing_classes(summaries, spec)
    for one, other in combinations(parts, 2):
        findings += [_describe_shared(shared, f"{one} in {other}") for shared in find_shared(traces[one], traces[other])]
    rank: dict[str, int] = {"error": 0, "warning": 1, "note": 2}
    return LabelReport(sites=tuple(summaries), findings=tuple(sorted(findings, key=lambda f: rank[f.severity])))


class _Tally:
    """Looks at the rasters of a site one after the other."""

    def __init__(self, *, site: Site, part: Part, spec: ModelSpec) -> None:
        self._site, self._part, self._spec = site, part, spec
        self.findings: list[Finding] = []
        self._counts = np.zeros(256, np.int64)
        self._rasters = self._pixels = 0
        self._offsets: list[tuple[str, Offset, float | None]] = []

    def read(self, data_dir: Path) -> Iterator[LabelledRaster]:
        """Yield the rasters that can be read; those that cannot become errors."""
        for load in self._loaders(data_dir):
            try:
                raster = load()
            except GeosegError as exc:
                self._find("error", "labels", str(exc))
                continue
            self._look_at(raster)
            yield raster
        if self._rasters and not self._labelled:
            self._find("error", "empty site", f"no pixel of its {self._rasters} rasters is labelled")

    def summary(self) -> SiteSummary:
        """Sum up."""
        names = {**{i: c.name for i, c in enumerate(self._spec.classes)}, NOT_BUILDING: "no building"}
        shares = {name: float(self._counts[i] / max(self._labelled, 1)) for i, name in names.items()}
        shown = {name: share for name, share in shares.items() if share or name != "no building"}
        return SiteSummary(
            name=self._site.name,
            part=self._part,
            rasters=self._rasters,
            pixels=self._pixels,
            unlabelled=1 - self._labelled / max(self._pixels, 1),
            shares=shown,
            offsets=tuple(self._offsets),
        )

    @property
    def _labelled(self) -> int:
        return int(self._counts[:UNLABELLED].sum())

    def _loaders(self, data_dir: Path) -> Iterator[Callable[[], LabelledRaster]]:
        try:
            site = as_measured(self._site) if self._part == "test" else self._site
        except GeosegError as exc:
            self._find("error", "labels", str(exc))
            return
        if site.kind == "drawn_scenes":
            yield from (partial(self._draw, seed, data_dir) for seed in self._site.seeds)
            return
        try:
            paths = raster_paths(site, data_dir)
        except GeosegError as exc:
            self._find("error", "no raster", str(exc))
            return
        for path in paths:
            yield partial(load_raster, path, site, Reading.of(self._spec), data_dir)

    def _draw(self, seed: int, data_dir: Path) -> LabelledRaster:
        return next(iterate_site(self._site.model_copy(update={"seeds": (seed,)}), self._spec, data_dir))

    def _look_at(self, raster: LabelledRaster) -> None:
        semantic = raster.targets[0]
        valid = np.ones(semantic.shape, bool) if raster.valid is None else raster.valid
        labelled = semantic != UNLABELLED
        self._rasters += 1
        self._pixels += int(valid.sum())
        self._counts += np.bincount(semantic[valid], minlength=256)
        for note in raster.notes:
            self._find("note", "geometry" if "geometr" in note else "labels", f"{raster.name}: {note}")
        if raster.source is None or self._site.kind == "run":
            # what geoseg drew itself fits to the pixel, and a run is unsure in many places
            return
        if self._site.blocks is None:
            self._look_for_holes(raster.name, labelled, valid)
        self._look_for_offset(raster, semantic, labelled & valid)

    def _look_for_holes(self, name: str, labelled: NDArray[np.bool_], valid: NDArray[np.bool_]) -> None:
        holes, _ = ndimage.label(~labelled)
        # what reaches the edge is outside the labelled area, not a hole in it
        outside = np.unique(np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]]))
        imagery = np.bincount(holes[valid], minlength=int(holes.max()) + 1)
        large = [
            place
            for number, place in enumerate(ndimage.find_objects(holes), start=1)
            if number not in outside and imagery[number] >= _HOLE_PX and min(s.stop - s.start for s in place) >= _HOLE_PX
        ]
        if large:
            rows, cols = max(large, key=lambda place: (place[0].stop - place[0].start) * (place[1].stop - place[1].start))
            self._find(
                "warning",
                "unlabelled hole",
                f"{name}: {len(large)} unlabelled holes of {_HOLE_PX} px or more inside the labelled area; "
                f"the largest is {rows.stop - rows.start} x {cols.stop - cols.start} px at row {rows.start}, column {cols.start}",
            )

    def _look_for_offset(self, raster: LabelledRaster, semantic: NDArray[np.uint8], known: NDArray[np.bool_]) -> None:
        offset = estimate_offset(raster.pixels, semantic, known)
        if offset is None or raster.source is None:
            return
        pixel_m = None if raster.source.geobox.crs is None else pixel_size_m(raster.source.geobox)
        self._offsets.append((raster.name, offset, pixel_m))
        if offset.distance_px > _OFFSET_PX and offset.strength > _OFFSET_STRENGTH:
            ground = "" if pixel_m is None else f" ({offset.distance_px * pixel_m:.1f} m)"
            self._find(
                "warning",
                "offset",
                f"{raster.name}: labels fit better {offset.distance_px:.1f} px{ground} away, moved {offset.rows_px:+.1f} rows and "
                f"{offset.cols_px:+.1f} columns (strength {offset.strength:.1f}); shadows and leaning roofs can look like that, too",
            )

    def _find(self, severity: Severity, fault: str, text: str) -> None:
        self.findings.append(Finding(severity=severity, fault=fault, site=self._site.name, text=text))


def _missing_classes(summaries: list[SiteSummary], spec: ModelSpec) -> list[Finding]:
    found = []
    for part in ("train", "test"):
        here = [s for s in summaries if s.part == part and s.rasters]
        missing = [c.name for c in spec.classes if not any(s.shares[c.name] for s in here)]
        if here and missing:
            text = f"no {part} site labels {', '.join(missing)}"
            found.append(Finding(severity="warning", fault="missing class", site=f"all {part}", text=text))
    return found


def _describe_shared(shared: Shared, fault: str) -> Finding:
    one, other = shared.one, shared.other
    if shared.labelled_share is None:
        text = f"{other.name} looks like {one.name} of '{one.site}': perhaps the same picture, saved twice"
        return Finding(severity="warning", fault=fault, site=other.site, text=text)
    text = f"{shared.labelled_share:.1%} of the labelled pixels of {other.name} are labelled in {one.name} of '{one.site}', too"
    return Finding(severity="error", fault=fault, site=other.site, text=text)
