"""OmniCloudMask: ``predict_from_array`` with a custom network; it standardizes every patch by the patch's own mean and deviation."""

import rasterio
from asked import limit_torch, read_request, write_labels
from network import build, read_card
from omnicloudmask import predict_from_array

if __name__ == "__main__":
    asked = read_request()
    limit_torch(asked.threads)
    with rasterio.open(asked.raster) as source:
        pixels = source.read()
    labels = predict_from_array(
        pixels,
        custom_models=build(asked.handout, divided_by=None),
        pred_classes=len(read_card(asked.handout)["values"]),
        inference_device="cpu",
        apply_no_data_mask=False,
        **asked.given(tile="patch_size", overlap="patch_overlap", batch="batch_size"),
    )
    write_labels(asked, labels[0])
