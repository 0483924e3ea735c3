"""A weight decay that keeps the sum of a unit's squared weights where SELU needs it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle

from selfnorm.errors import DomainError

__all__ = ["RowNorms", "keep_row_norms", "rows_of"]

_SCRIPTED: Final = ("Linear", "Conv1d", "Conv2d", "Conv3d")  # names that TorchScript keeps


@dataclasses.dataclass(frozen=True)
class RowNorms:
    """What `keep_row_norms` returns: the layers that are held, and the way to end it.

    Attributes
    ----------
    layers : dict of str to torch.nn.Module
        The layers, by module path.
    handle : torch.utils.hooks.RemovableHandle
        The optimiser's hook.
    """

    layers: dict[str, nn.Module]
    handle: RemovableHandle

    def remove(self) -> None:
        """Stop: the optimiser's further steps leave the rows alone."""
        self.handle.remove()


def keep_row_norms(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    decay: float | None = None,
    target: float = 1.0,
    layers: Iterable[str] | None = None,
) -> RowNorms:
    r"""Hold the sum τ of each unit's squared weights near a target while an optimiser trains.

    Plain weight decay pulls τ to 0; below .477 SELU cannot hold the variance of independent
    weights any more (:func:`selfnorm.theory.weight_scale_range`). After each optimiser step this
    does instead, unit by unit,

    .. math:: w \leftarrow w \, \sqrt{t / \tau} \quad\text{(decay None)} \qquad\text{or}\qquad
              w \leftarrow w \left( 1 - \eta d \, (\tau / t - 1) \right)

    with target t, the optimiser's learning rate η and decay d: the second form is a decoupled
    step along the gradient of the penalty d t (τ/t - 1)² / 4.

    Parameters
    ----------
    model : torch.nn.Module
        The model in training.
    optimizer : torch.optim.Optimizer
        Its optimiser. Give the layers that are held no weight decay of its own.
    decay : float, optional
        Strength of the pull, above 0; by default rows are set to the target exactly.
    target : float
        The sum of squares to keep, above 0. SELU needs 1.
    layers : iterable of str, optional
        Paths of the layers to hold. By default all linear and convolution layers but the last
        one, whose scale is the model's answer.

    Returns
    -------
    RowNorms
        The layers held; call ``remove()`` to stop.

    Raises
    ------
    DomainError
        If an argument lies outside its domain, a path is not that of such a layer, or the optimiser
        does not train one of them.

    Notes
    -----
    Rows that are all 0 stay. Nothing is drawn at random, and gradients and the optimiser's state
    are not touched. A row's own length no longer carries information then: after SELU that is a
    loss of capacity that the measured runs do not show (docs, "Weight decay").

    References
    ----------
    Salimans, Kingma, "Weight Normalization", NeurIPS 2016, arXiv:1602.07868, for rows of fixed
    length; Loshchilov, Hutter, "Decoupled Weight Decay Regularization", ICLR 2019,
    arXiv:1711.05101, for decoupling.

    Examples
    --------
    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.SELU(), torch.nn.Linear(4, 2))
    >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    >>> held = keep_row_norms(net, optimizer)
    >>> net(torch.ones(5, 3)).sum().backward()
    >>> optimizer.step()
    >>> list(held.layers), net[0].weight.square().sum(1).detach().round(decimals=4).tolist()
    (['0'], [1.0, 1.0, 1.0, 1.0])
    """
    if not isinstance(model, nn.Module):
        raise DomainError(
            f"model must be a torch.nn.Module, however: model={model!r}; pass the instance in "
            "training"
        )
    if not hasattr(optimizer, "register_step_post_hook"):
        raise DomainError(
            f"optimizer must be a torch.optim.Optimizer, however: optimizer={optimizer!r}; pass "
            "the one that trains the model"
        )
    if isinstance(layers, str):
        raise DomainError(
            f"layers must be paths, however: layers={layers!r} is one text; write [{layers!r}]"
        )
    for name, value in (("decay", decay), ("target", target)):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and 0.0 < value < math.inf):
            raise DomainError(
                f"{name} must be a finite number above 0, however: {name}={value!r}; "
                + ("SELU needs target=1" if name == "target" else "leave it out to set rows to t")
            )
    found = {path: module for path, module in model.named_modules() if rows_of(module) is not None}
    if layers is None:
        held = dict(list(found.items())[:-1])
    else:
        held = {}
        for path in layers:
            if path not in found:
                raise DomainError(
                    "layers must be paths of linear or convolution layers with a weight of their "
                    f"own, however: {path!r}; known: {', '.join(map(repr, found)) or 'none'}"
                )
            held[path] = found[path]
    groups: list[tuple[dict[str, Any], list[nn.Module]]] = []
    rest = dict(held)
    for group in optimizer.param_groups:
        own = {id(parameter) for parameter in group["params"]}
        mine = {path: layer for path, layer in rest.items() if id(layer.weight) in own}
        groups.append((group, list(mine.values())))
        rest = {path: layer for path, layer in rest.items() if path not in mine}
    if rest:
        raise DomainError(
            f"the optimiser must train every layer that is held, however: {next(iter(rest))!r} "
            "is not among its parameters; name the layers with layers=[…]"
        )

    def after(*_: Any) -> None:
        for group, members in groups:
            for layer in members:
                _pull(layer, target, None if decay is None else float(group["lr"]) * decay)

    return RowNorms(held, optimizer.register_step_post_hook(after))


@torch.no_grad()
def _pull(layer: nn.Module, target: float, strength: float | None) -> None:
    rows = rows_of(layer)
    assert rows is not None
    tau = rows.square().sum(1, keepdim=True) / target
    if strength is None:
        factor = torch.where(tau > 0, tau.rsqrt(), 1.0)
    else:
        # A step may not turn a row round, however long the row is.
        factor = (1.0 - strength * (tau - 1.0)).clamp_(min=0.5)
    weight = layer.weight
    assert isinstance(weight, Tensor)
    weight.mul_(factor.view(-1, *[1] * (weight.dim() - 1)))


def rows_of(layer: nn.Module) -> Tensor | None:
    """Return a layer's weights with a row for each unit, to be read; None if there are none.

    Transposed convolutions, whose units lie across, count as none; so do parametrised weights.
    """
    # Scripted modules have no plain dictionary of parameters; parametrised ones no such parameter.
    weight = dict(layer.named_parameters(recurse=False)).get("weight")
    scripted = isinstance(layer, torch.jit.ScriptModule) and layer.original_name in _SCRIPTED
    if not (scripted or isinstance(layer, nn.Linear | _ConvNd)):
        sized = (getattr(layer, "out_features", None), getattr(layer, "in_features", None))
        if None in sized or weight is None or tuple(weight.shape) != sized:
            return None
    if isinstance(layer, _ConvTransposeNd) or parametrize.is_parametrized(layer):
        return None
    if weight is None or isinstance(weight, nn.UninitializedParameter) or weight.numel() == 0:
        return None
    return weight.detach().flatten(1)
