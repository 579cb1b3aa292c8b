"""Rasters one after the other in one process, as a user of the library would loop over them: the rival of ``geoseg batch``."""

import json
import sys
import time
from pathlib import Path


def main() -> None:
    """Segment the rasters that the first argument names as JSON, and print the seconds that they took, without the start."""
    import geoseg

    asked = json.loads(sys.argv[1])
    began = time.monotonic()
    for raster in asked["rasters"]:
        geoseg.segment_raster(
            geoseg.make_config({**asked["options"], "raster": raster, "output": Path(asked["output"]) / Path(raster).stem})
        )
    print(json.dumps({"seconds": time.monotonic() - began}))


if __name__ == "__main__":
    main()
