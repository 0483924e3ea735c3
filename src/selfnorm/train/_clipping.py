"""Clipping of each member's gradient to a norm."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from selfnorm.train._layout import Layout

__all__ = ["clip"]

# What torch.nn.utils.clip_grad_norm_ adds to the norm.
_EPS = 1e-6


def clip(layout: Layout, gradients: Tensor, max_norm: float) -> list[Callable[[], object]]:
    """Return what scales each member's gradient by min(1, max_norm / (norm + 1e-6))."""
    limit = gradients.new_tensor(max_norm)
    factor = torch.empty_like(gradients[: layout.members])
    scale: list[Callable[[], object]] = [
        partial(factor.add_, _EPS),
        partial(torch.div, limit, factor, out=factor),
        partial(factor.clamp_, max=1.0),
    ]
    if layout.members == 1:
        norm = partial(torch.linalg.vector_norm, gradients, out=factor[0])
        return [norm, *scale, partial(gradients.mul_, factor[0])]
    segments = layout.segments(gradients)
    norms = gradients.new_empty(len(segments), layout.members)
    return [
        *(
            partial(torch.linalg.vector_norm, part, 2, 1, out=norms[k])
            for k, part in enumerate(segments)
        ),
        partial(torch.linalg.vector_norm, norms, 2, 0, out=factor),
        *scale,
        *(partial(part.mul_, factor.unsqueeze(1)) for part in segments),
    ]
