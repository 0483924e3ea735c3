"""Measure a net layer by layer: moments of the activations, norms of the gradients."""

from __future__ import annotations

import copy
from typing import Final

import torch
from torch import nn

from selfnorm.experiments._training import Rows

__all__ = ["PROBE_ROWS", "measure_layers"]

PROBE_ROWS: Final = 1000


def measure_layers(model: nn.Sequential, rows: Rows) -> list[dict[str, float]]:
    """Measure each hidden layer on one batch, leaving the model as it was.

    Parameters
    ----------
    model : torch.nn.Sequential
        Blocks, each an ``nn.Sequential`` that begins with a linear layer, and a linear layer as
        the head.
    rows : tuple of torch.Tensor
        Inputs and class numbers; the first 1,000 rows are used.

    Returns
    -------
    list of dict
        One entry per hidden layer: ``mean`` and ``var`` of its output, pooled over rows and
        units; ``signal_var``, the variance over rows of one unit, averaged over units (the part
        of ``var`` by which inputs differ); and ``grad_norm``, the Euclidean norm of the gradient
        of the mean cross-entropy with respect to the layer's weight matrix. Batch normalisation
        is measured as in training.
    """
    model = copy.deepcopy(model)  # batch normalisation updates its statistics
    model.train()
    X, y = rows[0][:PROBE_ROWS], rows[1][:PROBE_ROWS]
    *blocks, head = model.children()
    layers = []
    for block in blocks:
        X = block(X)
        wide = X.detach().double()
        layers.append(
            {
                "mean": wide.mean().item(),
                "var": wide.var(correction=0).item(),
                "signal_var": wide.var(dim=0, correction=0).mean().item(),
            }
        )
    loss = nn.functional.cross_entropy(head(X), y)
    gradients = torch.autograd.grad(loss, [next(block.parameters()) for block in blocks])
    for layer, gradient in zip(layers, gradients, strict=True):
        layer["grad_norm"] = gradient.double().square().sum().sqrt().item()
    return layers
