"""geoai-py: ``semantic_inference_on_geotiff`` with a module.

``semantic_segmentation`` would read the state dict itself, but builds networks with the library's default depth only.
"""

from asked import limit_torch, read_request
from geoai.train import semantic_inference_on_geotiff
from network import build, read_card

if __name__ == "__main__":
    asked = read_request()
    limit_torch(asked.threads)
    semantic_inference_on_geotiff(
        build(asked.handout, divided_by=255.0),
        asked.raster,
        str(asked.output),
        num_classes=len(read_card(asked.handout)["values"]),
        quiet=True,
        **asked.given(tile="window_size", overlap="overlap", batch="batch_size"),
    )
