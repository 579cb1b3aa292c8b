"""geo-inference: ``GeoInference`` with a TorchScript network; tiles overlap by half, one at a time."""

import shutil

from asked import limit_torch, read_request
from geo_inference.geo_inference import GeoInference
from network import SCRIPT, read_card

if __name__ == "__main__":
    asked = read_request()
    limit_torch(asked.threads)
    infer = GeoInference(
        model=str(asked.handout / SCRIPT), work_dir=str(asked.work), device="cpu", num_classes=len(read_card(asked.handout)["values"])
    )
    name = infer(asked.raster, bands_requested=["1", "2", "3"], **asked.given(tile="patch_size", threads="workers"))
    shutil.move(asked.work / name, asked.output)
