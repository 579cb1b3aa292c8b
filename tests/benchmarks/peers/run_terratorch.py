"""terratorch: ``tiled_inference`` of a module over the image in memory."""

import rasterio
import torch
from asked import limit_torch, read_request, write_labels
from network import build, read_card
from terratorch.tasks.tiled_inference import tiled_inference

if __name__ == "__main__":
    asked = read_request()
    limit_torch(asked.threads)
    with rasterio.open(asked.raster) as source:
        image = torch.from_numpy(source.read()).float()[None]
    numbers = asked.given(tile="crop", batch="batch_size")
    if asked.tile is not None and asked.overlap is not None:
        numbers["stride"] = asked.tile - asked.overlap
    network = build(asked.handout, divided_by=1.0)
    with torch.inference_mode():
        logits = tiled_inference(
            lambda chips, **_: network(chips), image, out_channels=len(read_card(asked.handout)["values"]), device="cpu", **numbers
        )
    write_labels(asked, logits[0].argmax(dim=0).numpy())
