"""What training minimizes: per window, then averaged, so that no kind of site crowds out another."""

import torch
from torch import Tensor
from torch.nn import functional

from geoseg.labels.targets import NOT_BUILDING, UNLABELLED, building_channel
from geoseg.model.spec import ModelSpec
from geoseg.training.recipe import LossWeights

_OBJECT_KINDS = {"building", "road"}


def total_loss(logits: Tensor, targets: Tensor, spec: ModelSpec, weights: LossWeights) -> dict[str, Tensor]:
    """Compute the loss of each head and their weighted ``total``.

    Args:
        logits: (N, C, H, W) float32, all heads.
        targets: (N, 3, H, W) uint8 as in :class:`LabelledRaster`.
        spec: Heads and classes.
        weights: What counts how much.

    Returns:
        Scalars ``semantic``, ``dice``, ``interior``, ``boundary`` (as far as the model has the head) and ``total``.
    """
    semantic = spec.heads["semantic"]
    scores = logits[:, semantic.start : semantic.stop]
    parts = {
        "semantic": semantic_loss(scores, targets[:, 0], weights, building_channel(spec)),
        "dice": dice_loss(scores, targets[:, 0], spec),
    }
    total = parts["semantic"] + weights.dice * parts["dice"]
    if weights.lovasz:
        parts["lovasz"] = lovasz_loss(scores, targets[:, 0], building_channel(spec))
        total = total + weights.lovasz * parts["lovasz"]
    for index, (name, weight) in enumerate((("interior", weights.interior), ("boundary", weights.boundary)), start=1):
        head = spec.heads.get(f"building_{name}")
        if head is not None:
            parts[name] = binary_loss(logits[:, head.start], targets[:, index])
            total = total + weight * parts[name]
    return {**parts, "total": total}


def semantic_loss(scores: Tensor, target: Tensor, weights: LossWeights, building: int) -> Tensor:
    """Cross entropy that also learns from pixels of which only "no building" is known.

    There the loss is ``-log(1 - p(building))``, the marginal likelihood of a partial label.

    Args:
        scores: (N, K, H, W) logits.
        target: (N, H, W) uint8: channel, NOT_BUILDING or UNLABELLED.
        weights: Of the classes and of "no building".
        building: Channel of the building class.
    """
    log_p = functional.log_softmax(scores, dim=1)
    labels = target.long()
    known = labels < NOT_BUILDING
    cross_entropy = functional.nll_loss(log_p, torch.where(known, labels, 0), reduction="none")
    weight = torch.tensor(weights.classes).to(scores)[torch.where(known, labels, 0)] * known
    loss = cross_entropy * weight
    if building >= 0:
        others = [k for k in range(scores.shape[1]) if k != building]
        partial = (labels == NOT_BUILDING).to(scores) * weights.not_building
        loss = loss - torch.logsumexp(log_p[:, others], dim=1) * partial
        weight = weight + partial
    return _mean_of_windows(loss, weight)


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
    return torch.stack(losses).mean() if losses else scores.new_zeros(())


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
        known = target != UNLABELLED if channel == building else target < NOT_BUILDING
        truth = (target[known] == channel).to(scores)
        if not truth.any():
            continue
        errors, order = (truth - probability[:, channel][known]).abs().sort(descending=True)
        losses.append(errors @ _jaccard_steps(truth[order]))
    return torch.stack(losses).mean() if losses else scores.sum() * 0


def _jaccard_steps(truth: Tensor) -> Tensor:
    hits = truth.sum() - truth.cumsum(0)
    union = truth.sum() + (1 - truth).cumsum(0)
    jaccard = 1 - hits / union
    return torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])


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


def _mean_of_windows(loss: Tensor, weight: Tensor) -> Tensor:
    per_window = loss.sum(dim=(1, 2)) / weight.sum(dim=(1, 2)).clamp(min=1)
    return per_window.mean()
