"""Trained members as one function: the mean of their outputs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import elu, leaky_relu, relu

from selfnorm import nn
from selfnorm.train._architecture import layers_of

__all__ = ["AveragedNetworks", "Ensemble"]

_PRECISE_ROWS: Final = 1024  # up to here predictions are computed in float64
_FEW: Final = 1 << 14  # numbers
_BLOCK_ELEMENTS: Final = 1 << 20  # of a layer's activations in float32, over all members


class Ensemble:
    """The members' outputs for preprocessed rows, all members in one product a layer.

    Parameters
    ----------
    networks : sequence of selfnorm.nn.SNN
        Members of one architecture.
    device : torch.device
        Where to compute.
    """

    def __init__(self, networks: Sequence[nn.SNN], device: Any = "cpu") -> None:
        first = networks[0]
        self._device = torch.device(device)
        self._activate = _activation(first)
        self._widest = len(networks) * max(first.in_features, *first.widths, first.out_features)
        self._layers: dict[torch.dtype, list[tuple[Tensor, Tensor]]] = {}
        layers = zip(*(layers_of(network) for network in networks), strict=True)
        precise = []
        for index, layer in enumerate(layers):
            weight = torch.stack([w.detach().double() for w, _ in layer]).mT
            bias = torch.stack([b.detach().double() for _, b in layer if b is not None])
            if index == 0:
                weight = weight * first.input_scale
            precise.append((weight.contiguous().to(self._device), bias[:, None].to(self._device)))
        self._layers[torch.float64] = precise
        self._layers[torch.float32] = [(w.float(), b.float()) for w, b in precise]

    @torch.inference_mode()
    def __call__(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return outputs, shape (members, n, outputs), for X of shape (n, features)."""
        count = len(X)
        if count <= _PRECISE_ROWS:
            return self._outputs(torch.from_numpy(X).to(self._device, torch.float64)).cpu().numpy()
        members, _, outputs = self._layers[torch.float32][-1][0].shape
        found = np.empty((members, count, outputs))
        block = max(_PRECISE_ROWS, _BLOCK_ELEMENTS // self._widest)
        for start in range(0, count, block):
            part = torch.from_numpy(X[start : start + block]).to(self._device)
            found[:, start : start + block] = self._outputs(part).cpu().numpy()
        return found

    def _outputs(self, x: Tensor) -> Tensor:
        layers = self._layers[x.dtype]
        h = x.expand(layers[0][0].shape[0], *x.shape)
        for weight, bias in layers[:-1]:
            h = self._activate(torch.baddbmm(bias, h, weight))
        weight, bias = layers[-1]
        return torch.baddbmm(bias, h, weight)


def _activation(network: nn.SNN) -> Callable[[Tensor], Tensor]:
    """Return what replaces pre-activations by activations, in place."""
    if network.activation == "selu":
        selu = nn.SELU(*network.fixed_point, inplace=True)
        alpha, scale = selu.alpha, selu.scale

        def activate(z: Tensor) -> Tensor:
            # On few numbers two of torch's own calls are quicker than a module's one.
            return elu(z, alpha, inplace=True).mul_(scale) if z.numel() < _FEW else selu(z)

        return activate
    kinds: dict[str, Callable[..., Tensor]] = {
        "elu": elu,
        "leaky_relu": leaky_relu,
        "relu": relu,
    }
    return functools.partial(kinds[network.activation], inplace=True)


class AveragedNetworks(torch.nn.Module):
    r"""The members of an estimator as one module: the mean of their outputs, scaled.

    .. math:: s \cdot \frac{1}{K} \sum_k f_k(x) + m

    with s = 1 / temperature and m the offsets for classes, the scale of what the networks learn and
    the mean of the target for regression, where a linear part may come to it. Quantiles of one
    target are then sorted.

    Parameters
    ----------
    networks : sequence of selfnorm.nn.SNN
        The members.
    scale, shift : array-like
        The s and m for each output.
    quantiles : int
        How many outputs belong to one target.
    linear : array-like, optional
        Coefficients (features, outputs) of the linear part.

    Examples
    --------
    >>> import torch
    >>> from selfnorm import nn
    >>> AveragedNetworks([nn.SNN(5, 2), nn.SNN(5, 2)], [1.0, 1.0], [0.0, 0.0])(
    ...     torch.zeros(3, 5)).shape
    torch.Size([3, 2])
    """

    scale: Tensor
    shift: Tensor
    linear: Tensor | None

    def __init__(
        self,
        networks: Sequence[nn.SNN],
        scale: Any,
        shift: Any,
        quantiles: int = 1,
        linear: Any = None,
    ) -> None:
        super().__init__()
        self.quantiles = quantiles
        self.networks = torch.nn.ModuleList(networks)
        for name, value in (("scale", scale), ("shift", shift), ("linear", linear)):
            given = None if value is None else torch.as_tensor(np.asarray(value))
            self.register_buffer(name, None if given is None else given.float())

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs (n, outputs) for preprocessed rows (n, features)."""
        total = torch.stack([network(x) for network in self.networks]).mean(0)
        found = total * self.scale + self.shift
        if self.linear is not None:
            found = found + x @ self.linear
        if self.quantiles > 1:
            targets = found.view(len(found), -1, self.quantiles)
            found = targets.sort(-1).values.flatten(1)
        return found
