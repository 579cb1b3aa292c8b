"""raster-vision: a sliding-window dataset through ``SemanticSegmentationLearner.predict_dataset``, smoothed by its label store."""

from asked import Asked, limit_torch, read_request, write_labels
from network import build, read_card
from rastervision.core.data import ClassConfig, SemanticSegmentationLabels
from rastervision.pytorch_learner import (
    SemanticSegmentationGeoDataConfig,
    SemanticSegmentationLearner,
    SemanticSegmentationLearnerConfig,
    SemanticSegmentationSlidingWindowGeoDataset,
    SolverConfig,
)

_TILE, _BATCH = 256, 8


def infer(asked: Asked) -> "object":
    """Return labels (H, W)."""
    tile, overlap = asked.tile or _TILE, asked.overlap if asked.overlap is not None else _TILE // 2
    classes = ClassConfig(names=read_card(asked.handout)["names"])
    dataset = SemanticSegmentationSlidingWindowGeoDataset.from_uris(
        class_config=classes, image_uri=asked.raster, size=tile, stride=tile - overlap, normalize=False
    )
    data = SemanticSegmentationGeoDataConfig(class_config=classes, num_workers=0)
    config = SemanticSegmentationLearnerConfig(data=data, solver=SolverConfig(batch_sz=asked.batch or _BATCH))
    learner = SemanticSegmentationLearner(config, model=build(asked.handout, divided_by=1.0), output_dir=str(asked.work), training=False)
    predictions = learner.predict_dataset(dataset, raw_out=True, numpy_out=True, predict_kw={"out_shape": (tile, tile)}, progress_bar=False)
    labels = SemanticSegmentationLabels.from_predictions(
        dataset.windows, predictions, smooth=True, extent=dataset.scene.extent, num_classes=len(classes), crop_sz=overlap // 4 or None
    )
    return labels.get_label_arr(dataset.scene.extent)


if __name__ == "__main__":
    request = read_request()
    limit_torch(request.threads)
    write_labels(request, infer(request))
