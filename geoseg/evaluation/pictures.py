"""The worst places as pictures: image, truth and result side by side."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.evaluation.counts import Place
from geoseg.evaluation.found import Found
from geoseg.evaluation.reference import Reference
from geoseg.labels.coding import NOT_BUILDING, UNLABELLED
from geoseg.picture import join_panels, name_place, paint_classes, stretch_rgb
from geoseg.pixels.classes import NODATA_CLASS

_UNKNOWN_RGB = (255, 255, 255)
_NOT_BUILDING_RGB = (205, 208, 212)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One place."""

    wrong_px: int
    """Pixels whose class is wrong."""
    caption: str
    """Where it is, and how wrong."""
    panels: NDArray[np.uint8]
    """(H, W, 3): image if there is one, truth, result."""


def draw_place(found: Found, reference: Reference, place: Place, name: str) -> Picture:
    """Draw a place that :func:`geoseg.evaluation.counts.count_pixels` named."""
    assert reference.read is not None
    values = np.array([*found.scheme.values], np.uint8)
    truth = reference.read(place.window)
    classes = np.full(truth.shape, NODATA_CLASS, np.uint8)
    channels = truth < len(values)
    classes[channels] = values[truth[channels]]
    true_rgb = paint_classes(classes, found.scheme)
    true_rgb[truth == NOT_BUILDING] = _NOT_BUILDING_RGB
    true_rgb[truth == UNLABELLED] = _UNKNOWN_RGB
    panels = [true_rgb, paint_classes(found.classes(place.window), found.scheme)]
    if found.image is not None:
        panels.insert(0, stretch_rgb(*found.image.read(place.window)))
    share = place.wrong_px / place.known_px
    caption = (
        f"{name + ': ' if name else ''}{name_place(found.geobox, place.window)}; {share:.0%} of {place.known_px} labelled pixels wrong"
    )
    return Picture(wrong_px=place.wrong_px, caption=caption, panels=join_panels(panels))
