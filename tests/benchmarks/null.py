"""What everything but the network takes: a whole run of a 1x1 convolution, COG out."""

import statistics

from geoseg.model.package import ModelPackage
from tests.benchmarks.children import ChildError
from tests.benchmarks.models import write_null_network
from tests.benchmarks.place import Place, read_sample
from tests.benchmarks.rasters import draw_town
from tests.benchmarks.rows import Row
from tests.benchmarks.whole import Run, segment

_SECTION = "null"


def measure(place: Place, device: str = "", section: str = _SECTION) -> list[Row]:
    """Measure seconds and peak memory by backend."""
    raster = draw_town(place.folder / f"null_{section}.tif", place.sizes.null_px)
    package = write_null_network(place.folder / f"null_{section}", read_sample(raster))
    if isinstance(package, str):
        return [Row(section=section, what={"model": "null"}, note=f"not measured: {package}")]
    backends = [b for b in place.measured_backends if b != "compile"]
    return [_measure_one(place, Run(raster=raster, package=package, backend=b, device=device or place.device), section) for b in backends]


def _measure_one(place: Place, run: Run, section: str) -> Row:
    assert isinstance(run.package, ModelPackage)
    what = {**run.what, "raster px": place.sizes.null_px}
    try:
        if place.sizes.warm_up:
            segment(place, run)
        children = [segment(place, run)[0] for _ in range(place.sizes.turns)]
    except ChildError as exc:
        return Row(section=section, what=what, note=f"not measured: {exc}")
    seconds = statistics.median(child.seconds for child in children)
    values = {
        "seconds": round(seconds, 2),
        "start s": round(statistics.median(child.first("RunPlanned") or 0.0 for child in children), 2),
        "Mpx/s": round(place.sizes.null_px**2 / seconds / 1e6, 2),
        "peak MB": round(max(child.peak_bytes for child in children) / 1e6),
    }
    return Row(section=section, what=what, values=values)
