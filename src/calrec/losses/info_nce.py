"""The contrastive loss of both alignments: L_TT and L_UT differ only in what is compared."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(anchors: Tensor, candidates: Tensor, temperature: float, mask: Tensor | None = None) -> Tensor:
    """Mean over rows i of −log softmax over j of cos(anchors_i, candidates_j) / temperature, at j = i.

    Args:
        anchors: (N, D).
        candidates: (N, D); candidate i is the positive of anchor i, the others are its negatives.
        temperature: above 0; the paper's τ is 0.5 [B].
        mask: (N, N) bool; where ``mask[i, j]`` is True, j is no negative of i. The diagonal is always kept.

    Returns:
        A scalar; log N where all similarities are equal.

    Raises:
        ValueError: shapes that do not fit, or a temperature that is not positive.
    """
    if anchors.ndim != 2 or anchors.shape != candidates.shape:
        raise ValueError(f"anchors {tuple(anchors.shape)} and candidates {tuple(candidates.shape)} must both be (N, D)")
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, not {temperature}")
    similarities = F.normalize(anchors, dim=-1) @ F.normalize(candidates, dim=-1).T / temperature  # (N, N)
    if mask is not None:
        off_diagonal = ~torch.eye(len(anchors), dtype=torch.bool, device=anchors.device)
        similarities = similarities.masked_fill(mask & off_diagonal, float("-inf"))
    return F.cross_entropy(similarities, torch.arange(len(anchors), device=anchors.device))
