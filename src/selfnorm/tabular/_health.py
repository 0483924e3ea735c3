"""Moments of trained networks, layer by layer, beside what theory says of their weights."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from selfnorm import nn, theory

__all__ = ["health"]

# Beyond these factors the next layer sees all but a constant, or its saturation alone.
_FAINT: Final = 1e-2
_LOUD: Final = 1e2


def health(networks: list[nn.SNN], X: NDArray[np.float32]) -> dict[str, Any]:
    """Measure mean and variance of every hidden layer's outputs on rows held out.

    Parameters
    ----------
    networks : list of selfnorm.nn.SNN
        Trained members of one architecture.
    X : ndarray of float32, shape (n, features)
        Preprocessed rows.

    Returns
    -------
    dict
        ``target`` (mean and var of the fixed point), ``layers``: for each, measured mean and var
        over rows and units (mean over members, and lowest and highest member), and what theory
        predicts from the moments of the input and each unit's sum and sum of squares of weights
        (`selfnorm.theory.predict`); ``weights``: the members' mean sum and mean sum of squares of
        a unit's weights, by layer; ``healthy`` and ``verdict``.
    """
    first = networks[0]
    mean, var = first.fixed_point
    every = [_of_one(net, torch.from_numpy(X)) for net in networks]
    found, theirs, weights = (np.array([one[k] for one in every]) for k in range(3))
    layers = [
        {
            "mean": float(found[:, k, 0].mean()),
            "mean_low": float(found[:, k, 0].min()),
            "mean_high": float(found[:, k, 0].max()),
            "var": float(found[:, k, 1].mean()),
            "var_low": float(found[:, k, 1].min()),
            "var_high": float(found[:, k, 1].max()),
            "predicted_mean": _finite(theirs[:, k, 0].mean()),
            "predicted_var": _finite(theirs[:, k, 1].mean()),
            "weight_sum": float(weights[:, k, 0].mean()),
            "weight_sumsq": float(weights[:, k, 1].mean()),
        }
        for k in range(found.shape[1])
    ]
    factors = [(layer["var"] or 0.0) / var for layer in layers]
    healthy = all(_FAINT <= factor <= _LOUD for factor in factors)
    return {
        "rows": len(X),
        "members": len(networks),
        "activation": first.activation,
        "target": {"mean": mean, "var": var},
        "input": {"mean": float(X.mean() * first.input_scale), "var": float(X.var() * var)},
        "layers": layers,
        "healthy": healthy,
        "verdict": _verdict(factors, healthy),
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


@torch.no_grad()
def _of_one(net: nn.SNN, X: torch.Tensor) -> tuple[list[Any], list[Any], list[Any]]:
    """Return measured moments, predicted ones and sums of weights of one network's layers."""
    x = X.to(next(net.parameters()).dtype) * net.input_scale
    start = float(x.mean()), float(x.var(correction=0))
    measured, layers, sums = [], [], []
    for block in net.hidden:
        x = block(x)
        measured.append((float(x.mean()), float(x.var(correction=0))))
        linear: Any = block if isinstance(block, nn.LinearSELU) else next(block.children())
        weight = linear.weight.double().numpy()
        bias = None if linear.bias is None else linear.bias.double().numpy()
        layers.append(theory.Layer.from_weight(weight, bias, _activation(net)))
        sums.append((weight.sum(1).mean(), np.square(weight).sum(1).mean()))
    path = theory.predict(layers, *start)
    return measured, list(zip(path.mean, path.var, strict=True)), sums


def _activation(net: nn.SNN) -> Any:
    if net.activation != "selu":
        return net.activation
    solution = theory.solve(*net.fixed_point)
    return theory.activation("selu", alpha=solution.alpha, scale=solution.scale)


def _verdict(factors: list[float], healthy: bool) -> str:
    if not factors:
        return "The network has no hidden layer."
    low, high = min(factors), max(factors)
    span = f"from {low:.2g} to {high:.2g} times that of the fixed point"
    if healthy:
        return f"No layer has faded or run away: the variance is {span}."
    if low < _FAINT:
        return (
            f"The signal fades in a layer: the variance is {span}. Take fewer layers or a lower "
            "weight decay."
        )
    return (
        f"The signal grows too strong in a layer: the variance is {span}. Take a lower learning "
        "rate or more weight decay."
    )
