"""What everything but the network takes: a whole run of a 1x1 convolution, COG out."""

import statistics

from geoseg.model.package import ModelPackage
from tests.benchmarks.children import ChildError
from tests.benchmarks.models import write_null_network
from tests.benchmarks.place import Place, read_sample
from tests.benchmarks.rasters import draw_town
from tests.benchmarks.rows import Row
from tests.benchmarks.whole import Run, run_whole

_SECTION = "null"


def measure(place: Place, device: str = "", section: str = _SECTION) -> list[Row]:
    """Measure seconds and peak memory by backend."""
    raster = draw_town(place.folder / f"null_{section}.tif", place.sizes.null_px)
    package = write_null_network(place.folder / f"null_{section}", read_sample(raster))
    if isinstance(package, str):
        return [Row(section=section, what={"model": "null"}, note=f"not measured: {package}")]
    backends = [b for b in place.backends if b != "compile"]
    return [_measure_one(place, Run(raster=raster, package=package, backend=b, device=device or place.device), section) for b in backends]


def _measure_one(place: Place, run: Run, section: str) -> Row:
    assert isinstance(run.package, ModelPackage)
    what = {**run.what, "raster px": place.sizes.null_px}
    try:
        if place.sizes.warm_up:
            run_whole(place, run)
        done = [run_whole(place, run) for _ in range(place.sizes.turns)]
    except ChildError as exc:
        return Row(section=section, what=what, note=f"not measured: {exc}")
    seconds = statistics.median(d.child.seconds for d in done)
    values = {
        "seconds": round(seconds, 2),
        "start s": round(statistics.median(d.start_s for d in done), 2),
        "Mpx/s": round(place.sizes.null_px**2 / seconds / 1e6, 2),
        "peak MB": round(max(d.child.peak_bytes for d in done) / 1e6),
    }
    return Row(section=section, what=what, values=values)
