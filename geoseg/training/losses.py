"""What training minimizes: per window, then averaged, so that no kind of site crowds out another.

Every loss is finite and without gradient where nothing is labelled.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from geoseg.labels.coding import NOT_BUILDING, UNLABELLED, building_channel
from geoseg.model.spec import ModelSpec
from geoseg.training.dataset import DISTANCE_SCALE
from geoseg.training.recipe import LossWeights

_OBJECT_KINDS = {"building", "road"}


def total_loss(logits: Tensor, targets: Tensor, spec: ModelSpec, weights: LossWeights) -> dict[str, Tensor]:
    """Compute the loss of each head and their weighted ``total``.

    Args:
        logits: (N, C, H, W) float32, all heads.
        targets: (N, T, H, W) uint8 as :class:`geoseg.training.dataset.WindowDataset` gives them.
        spec: Heads and classes.
        weights: What counts how much.

    Returns:
        Scalars: those of ``semantic``, ``focal``, ``dice``, ``lovasz``, ``contour``, ``interior``, ``boundary``, ``distance``
        that have a weight and a head, and ``total``.
    """
    head = spec.heads["semantic"]
    scores, labels, building = logits[:, head.start : head.stop], targets[:, 0], building_channel(spec)
    terms: dict[str, tuple[float, Callable[[], Tensor]]] = {
        "semantic": (weights.semantic, lambda: semantic_loss(scores, labels, weights, building)),
        "focal": (weights.focal, lambda: focal_loss(scores, labels, weights, building)),
        "dice": (weights.dice, lambda: dice_loss(scores, labels, spec)),
        "lovasz": (weights.lovasz, lambda: lovasz_loss(scores, labels, building)),
        "contour": (weights.contour, lambda: contour_loss(scores, labels, building)),
    }
    losses = {
        "interior": (weights.interior, binary_loss),
        "boundary": (weights.boundary, binary_loss),
        "distance": (weights.distance, distance_loss),
    }
    for layer, (name, (weight, loss)) in enumerate(losses.items(), start=1):
        if f"building_{name}" in spec.heads:
            channel = spec.heads[f"building_{name}"].start
            terms[name] = weight, _bound(loss, logits[:, channel], targets[:, layer])
    parts = {name: compute() for name, (weight, compute) in terms.items() if weight}
    total = sum((terms[name][0] * part for name, part in parts.items()), start=logits.sum() * 0)
    return {**parts, "total": total}


def _bound(loss: Callable[[Tensor, Tensor], Tensor], scores: Tensor, target: Tensor) -> Callable[[], Tensor]:
    return lambda: loss(scores, target)


def semantic_loss(scores: Tensor, target: Tensor, weights: LossWeights, building: int) -> Tensor:
    """Cross entropy that also learns from pixels of which only "no building" is known.

    There the loss is ``-log(1 - p(building))``, the marginal likelihood of a partial label.

    Args:
        scores: (N, K, H, W) logits.
        target: (N, H, W) uint8: channel, NOT_BUILDING or UNLABELLED.
        weights: Of the classes and of "no building", and how labels are smoothed at edges.
        building: Channel of the building class, or -1.
    """
    return _mean_of_windows(*_weighed_likelihood(scores, target, weights, building))


def window_losses(scores: Tensor, target: Tensor, weights: LossWeights, building: int) -> Tensor:
    """Return what :func:`semantic_loss` averages, (N,)."""
    loss, weight = _weighed_likelihood(scores, target, weights, building)
    return _per_window(loss, weight)


def focal_loss(scores: Tensor, target: Tensor, weights: LossWeights, building: int) -> Tensor:
    """Cross entropy times ``(1 - p)^gamma``: pixels that are right already count little (Lin et al. 2017, "Focal Loss").

    Where only "no building" is known, p is the probability of that.

    Args:
        scores: (N, K, H, W) logits.
        target: (N, H, W) uint8: channel, NOT_BUILDING or UNLABELLED.
        weights: Of the classes and of "no building", and gamma.
        building: Channel of the building class, or -1.
    """
    log_p, weight = _log_likelihood(scores, target, weights, building)
    # where p is 1, the derivative of 0^gamma is undefined for gamma below 1
    wrong = (1 - log_p.exp()).clamp(min=1e-6)
    return _mean_of_windows(-log_p * wrong**weights.focal_gamma * weight, weight)


def _weighed_likelihood(scores: Tensor, target: Tensor, weights: LossWeights, building: int) -> tuple[Tensor, Tensor]:
    log_p, weight = _log_likelihood(scores, target, weights, building)
    if weights.edge_smoothing == 0:
        return -log_p * weight, weight
    known = target < NOT_BUILDING
    around = labels_around(target, scores.shape[1], weights.edge_px)
    smooth = (around * functional.log_softmax(scores, dim=1)).sum(dim=1)
    mixed = log_p + weights.edge_smoothing * (smooth - log_p)
    return -torch.where(known, mixed, log_p) * weight, weight


def _log_likelihood(scores: Tensor, target: Tensor, weights: LossWeights, building: int) -> tuple[Tensor, Tensor]:
    """Return the logarithm of the likelihood of what is known of a pixel, and its weight, both (N, H, W)."""
    log_p = functional.log_softmax(scores, dim=1)
    labels = target.long()
    known = labels < NOT_BUILDING
    channel = torch.where(known, labels, 0)
    likelihood = log_p.gather(1, channel[:, None])[:, 0] * known
    weight = torch.tensor(weights.classes).to(scores)[channel] * known
    if building >= 0:
        others = [k for k in range(scores.shape[1]) if k != building]
        partial = labels == NOT_BUILDING
        likelihood = torch.where(partial, torch.logsumexp(log_p[:, others], dim=1), likelihood)
        weight = weight + partial.to(scores) * weights.not_building
    return likelihood, weight


def labels_around(target: Tensor, classes: int, reach_px: int) -> Tensor:
    """Return the share of each class among the known labels of the square around a pixel.

    Args:
        target: (N, H, W) uint8: channel; NOT_BUILDING and UNLABELLED are not known.
        classes: K.
        reach_px: Half the side of the square.

    Returns:
        (N, K, H, W) float32 that sums to 1 where anything is known, else to 0.
    """
    known = target < NOT_BUILDING
    one_hot = functional.one_hot(torch.where(known, target, 0).long(), classes).permute(0, 3, 1, 2) * known[:, None]
    side = 2 * reach_px + 1
    rows = functional.avg_pool2d(one_hot.float(), (side, 1), stride=1, padding=(reach_px, 0))
    shares = functional.avg_pool2d(rows, (1, side), stride=1, padding=(0, reach_px))
    return shares / shares.sum(dim=1, keepdim=True).clamp(min=1e-6)


def dice_loss(scores: Tensor, target: Tensor, spec: ModelSpec) -> Tensor:
    """Soft Dice of the object classes over the batch (Milletari et al. 2016, "V-Net")."""
    probability = scores.softmax(dim=1)
    losses = []
    for channel, row in enumerate(spec.classes):
        if row.kind not in _OBJECT_KINDS:
            continue
        known = target < NOT_BUILDING
        if row.kind == "building":
            known = target != UNLABELLED
        truth = (target == channel).to(scores)
        p = probability[:, channel] * known
        overlap = 2 * (p * truth).sum() + 1
        losses.append(1 - overlap / (p.sum() + truth.sum() + 1))
    return torch.stack(losses).mean() if losses else scores.sum() * 0


def lovasz_loss(scores: Tensor, target: Tensor, building: int) -> Tensor:
    """Lovasz-softmax over the classes that a batch shows (Berman et al. 2018), a convex stand-in for 1 - IoU.

    Pixels that are only known to be no building count for the building class alone.

    Args:
        scores: (N, K, H, W) logits.
        target: (N, H, W) uint8: channel, NOT_BUILDING or UNLABELLED.
        building: Channel of the building class, or -1.
    """
    probability = scores.softmax(dim=1)
    losses = []
    for channel in range(scores.shape[1]):
        known = (target != UNLABELLED if channel == building else target < NOT_BUILDING).flatten()
        truth = (target == channel).flatten().to(scores)
        if not truth.any():
            continue
        errors = (truth - probability[:, channel].flatten()).abs() * known
        order = _falling(errors.detach(), known)
        # the gradient goes straight to the errors, not through their order
        weights = torch.empty_like(errors).scatter_(0, order, _jaccard_steps(truth[order]))
        # no product of matrices, which autocast computes in 16 bits
        losses.append((errors * weights).sum())
    return torch.stack(losses).mean() if losses else scores.sum() * 0


def _falling(values: Tensor, known: Tensor) -> Tensor:
    """Return the order of values in [0, 1] from the largest to the smallest, (n,) int64; what is not known comes last."""
    if values.device.type != "cpu":
        return torch.where(known, values, -1.0).argsort(descending=True)
    # sixteen bits are sorted by their digits, twenty times as fast; what they do not tell apart are nearly the same errors
    steps = torch.where(known, (1 - values) * 65534, 65535.0).to(torch.int32)
    return torch.from_numpy(np.argsort(steps.numpy().astype(np.uint16), kind="stable"))


def _jaccard_steps(truth: Tensor) -> Tensor:
    hits = truth.sum() - truth.cumsum(0)
    union = truth.sum() + (1 - truth).cumsum(0)
    jaccard = 1 - hits / union
    return torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])


def contour_loss(scores: Tensor, target: Tensor, building: int) -> Tensor:
    """Boundary loss (Kervadec et al. 2019): each class's probability times the signed distance to its true border.

    The distance is negative inside. It is in units of the window's side, so that the loss lies in about [-1, 1]; classes that a
    window does not show are left out, as in the authors' code. Use it beside another loss, never alone.

    Args:
        scores: (N, K, H, W) logits.
        target: (N, H, W) uint8: channel, NOT_BUILDING or UNLABELLED.
        building: Channel of the building class, or -1; it counts where only "no building" is known.
    """
    probability = scores.softmax(dim=1)
    total, weight = torch.zeros_like(probability[:, 0]), torch.zeros_like(probability[:, 0])
    for channel in range(scores.shape[1]):
        truth = target == channel
        shown = truth.flatten(1).any(dim=1)[:, None, None]
        known = (target != UNLABELLED if channel == building else target < NOT_BUILDING) & shown
        signed = torch.from_numpy(np.stack([_signed_distance(t) for t in truth.cpu().numpy()])).to(scores)
        total = total + probability[:, channel] * signed / max(target.shape[1:]) * known
        weight = weight + known
    return _mean_of_windows(total, weight)


def _signed_distance(truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    if truth.all() or not truth.any():
        return np.zeros(truth.shape)
    # as in the authors' code, the pixels on either side of a border are at 0 inside and 1 outside
    inside = np.asarray(ndimage.distance_transform_edt(truth))
    return np.asarray(ndimage.distance_transform_edt(~truth) - (inside - 1) * truth, np.float64)


def binary_loss(scores: Tensor, target: Tensor) -> Tensor:
    """Binary cross entropy plus soft Dice, UNLABELLED left out.

    Args:
        scores: (N, H, W) logits.
        target: (N, H, W) uint8: 0, 1 or UNLABELLED.
    """
    known = (target != UNLABELLED).to(scores)
    truth = (target == 1).to(scores)
    entropy = functional.binary_cross_entropy_with_logits(scores, truth, reduction="none") * known
    p = scores.sigmoid() * known
    dice = 1 - (2 * (p * truth).sum() + 1) / (p.sum() + truth.sum() + 1)
    return _mean_of_windows(entropy, known) + 0.5 * dice


def distance_loss(scores: Tensor, target: Tensor) -> Tensor:
    """Squared error of the distance to the building's edge, UNLABELLED left out (regression as in Bai & Urtasun 2017, "Deep Watershed").

    Args:
        scores: (N, H, W) logits; their sigmoid is the distance in units of ``distance_px``, at most 1.
        target: (N, H, W) uint8: distance in 1/254, or UNLABELLED.
    """
    known = (target != UNLABELLED).to(scores)
    truth = (target.to(scores) / DISTANCE_SCALE).clamp(max=1)
    return _mean_of_windows((scores.sigmoid() - truth) ** 2 * known, known)


def _mean_of_windows(loss: Tensor, weight: Tensor) -> Tensor:
    return _per_window(loss, weight).mean()


def _per_window(loss: Tensor, weight: Tensor) -> Tensor:
    return loss.sum(dim=(1, 2)) / weight.sum(dim=(1, 2)).clamp(min=1)
