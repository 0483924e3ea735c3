"""Other people's nets made self-normalizing, with a record of every change."""

from __future__ import annotations

import copy
import math
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from selfnorm.diagnosis._batches import batches_of
from selfnorm.diagnosis._conversion import Conversion, outline
from selfnorm.diagnosis._convert_calls import rewrite_calls
from selfnorm.diagnosis._convert_keep import equalise_rows, fold_norms
from selfnorm.diagnosis._convert_parts import (
    before_dropout,
    draw,
    exchange_activations,
    exchange_dropouts,
    pad_by_border,
    remove_norms,
    standardize_input,
)
from selfnorm.diagnosis._convert_pools import tell_pools
from selfnorm.diagnosis._convert_work import Work
from selfnorm.diagnosis._diagnose import diagnose
from selfnorm.diagnosis._fold import plain_layer
from selfnorm.errors import DataError, DomainError
from selfnorm.nn import AlphaDropout

__all__ = ["convert"]

_ROWS: Final = 10_000

Weights = Literal["new", "keep"]


def convert(
    model: nn.Module,
    data: Any = None,
    *,
    weights: Weights | None = None,
    keep_function: bool = False,
    dropout: float | None = None,
    rewrite: bool = True,
    standardize: bool = True,
    inplace: bool = False,
    dry_run: bool = False,
    generator: torch.Generator | None = None,
) -> Conversion:
    r"""Make a net of ReLU, GELU, … with normalisation layers and dropout self-normalizing.

    Activations become SELU, dropout becomes alpha dropout, normalisation layers go, residual sums
    are scaled by 1/√2, zero padding repeats the border instead, weights are drawn anew (LeCun) or,
    if they were trained, kept: batch norms are folded into the layers before them, and rows are
    scaled to length 1 with the columns after them scaled back.

    Parameters
    ----------
    model : torch.nn.Module
        The net. It is not changed unless ``inplace``.
    data : tensor, array, (inputs, targets) or batches of these, optional
        Training inputs. An input layer standardises them if they are not standardised, and the
        result carries a diagnosis before and after.
    weights : {"new", "keep"}, optional
        Draw weights anew, or keep what was learnt. By default they are kept if the net shows signs
        of training: a batch norm that has counted batches, a gradient, or a weight outside of the
        range of torch's default initialisation.
    keep_function : bool
        Do only what keeps the function in evaluation mode: fold batch norms and scale rows between
        layers that only ReLU, leaky ReLU, pooling and dropout part. Implies ``weights="keep"``.
    dropout : float, optional
        Rate of every alpha dropout that takes the place of a dropout. By default each keeps as
        much of the signal as the dropout before, see the notes.
    rewrite : bool
        Whether activations, dropout and residual sums that a forward calls by itself may be
        replaced. That module becomes a `torch.fx.GraphModule` with the same state.
    standardize : bool
        Whether an input layer may be added.
    inplace : bool
        Change ``model`` itself. A rewritten forward or an input layer of the whole model is a new
        module all the same: use the result's ``model``.
    dry_run : bool
        Change nothing, and tell what would be changed.
    generator : torch.Generator, optional
        Source of new weights. By default torch's own.

    Returns
    -------
    Conversion
        The model, every change with its reason, what was left and why, and a diff.

    Raises
    ------
    DomainError
        If an argument lies outside its domain, or the model cannot be copied.
    DataError
        If there are no rows in ``data``, the model raises an exception on them, or has no weights
        to run with (on the meta device).

    Notes
    -----
    Dropout of rate p after an activation f leaves the share s = Var f / (E f² / (1-p) - (E f)²) of
    its output's variance to the signal, alpha dropout of rate p' the share
    (1 - p') / (1 + 3.09 p'). Equal shares give p': after ReLU .26 for .5, .08 for .2 (derived, for
    standard normal pre-activations).

    SELU instead of another activation changes the function: a converted net with kept weights is a
    start for further training, not a replacement. Attention, recurrent layers, an activation that
    gives the model's answer and whatever cannot be traced are left, each with a reason.

    References
    ----------
    Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017, arXiv:1706.02515.

    Examples
    --------
    >>> from torch import nn
    >>> net = nn.Sequential(nn.Linear(20, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 3))
    >>> result = convert(net, dry_run=True)
    >>> [(change.place, change.kind) for change in result.changes]
    [('1', 'normalisation'), ('2', 'activation'), ('0', 'weights'), ('3', 'weights')]
    """
    _check(model, weights, keep_function, dropout)
    x, several = (None, False) if data is None else _inputs(model, data)
    chosen, reason = _choose(model, weights, keep_function)
    work = Work(model if inplace and not dry_run else _copied(model))
    before = outline(model)
    previous = diagnose(model, data) if data is not None else None
    if chosen == "keep":
        fold_norms(work, keep_function)
        equalise_rows(work, keep_function)
    if not keep_function:
        names = before_dropout(work)
        if chosen == "new":
            remove_norms(work, has_data=x is not None and standardize)
        exchange_activations(work)
        exchange_dropouts(work, names, dropout)
        if chosen == "new":
            # A dry run must not take numbers from torch's generator.
            draw(work, torch.Generator() if dry_run else generator)
            pad_by_border(work)
        tell_pools(work, rewrite)
        rewrite_calls(work, names, dropout, rewrite, inplace, chosen == "new")
    after = outline(work.model, work.comments)
    if several and standardize and not keep_function:
        work.refuse(
            "",
            "the model's inputs",
            "there are several, and which of them to standardise is not known",
            "put selfnorm.nn.StandardizedInput.from_data(x) before each that is not standardised",
        )
    # What is compiled is left alone, and so is what comes into it.
    if x is not None and standardize and not keep_function and not hasattr(model, "_orig_mod"):
        after = (*standardize_input(work, x), *after)
    result = work.model
    return Conversion(
        model if dry_run else result,
        tuple(work.changes),
        tuple(work.refused),
        chosen,
        reason,
        previous,
        diagnose(result, data) if data is not None else None,
        (before, after),
    )


def _check(model: Any, weights: Any, keep_function: bool, dropout: Any) -> None:
    if not isinstance(model, nn.Module):
        raise DomainError(
            f"model must be a torch.nn.Module, however: a {type(model).__name__}; pass an instance"
        )
    if weights not in (None, "new", "keep"):
        raise DomainError(
            f"weights must be 'new', 'keep' or None, however: weights={weights!r}; None looks for "
            "signs of training"
        )
    if keep_function and weights == "new":
        raise DomainError(
            "keep_function=True keeps the weights, however: weights='new'; leave one of them out"
        )
    if dropout is not None:
        AlphaDropout(dropout)  # refuses a bad rate


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise DomainError(
            "model must be one that copy.deepcopy can copy, however: "
            f"{type(error).__name__}: {error}; use inplace=True on a model you can make again"
        ) from error


def _inputs(model: nn.Module, data: Any) -> tuple[Tensor | None, bool]:
    """Return rows of the model's input, None if it cannot be scaled, and whether it has several."""
    if any(parameter.is_meta for parameter in model.parameters()):
        raise DataError(
            "model must have real weights if data are given, however: it lies on the meta device; "
            "leave the data out, or give it weights: model.to_empty(device='cpu'), then "
            "selfnorm.init.initialize_(model)"
        )
    if hasattr(data, "__next__"):
        raise DataError(
            "data must be something that can be read several times, however: an iterator came; "
            "pass the tensor, the list or the DataLoader itself"
        )
    # A DataLoader draws a seed from torch's generator.
    with torch.random.fork_rng(devices=[]):
        batches = list(batches_of(model, data, batch_size=1024, max_rows=_ROWS))
    if any(len(batch.args) + len(batch.kwargs) != 1 for batch in batches):
        return None, True
    found = [value for batch in batches for value in (*batch.args, *batch.kwargs.values())]
    rows = [value for value in found if isinstance(value, Tensor) and value.is_floating_point()]
    return torch.cat(rows) if rows and rows[0].dim() > 1 else None, False


def _choose(model: nn.Module, weights: Weights | None, keep: bool) -> tuple[Weights, str]:
    if keep or weights == "keep":
        return "keep", "asked for"
    if weights == "new":
        return "new", "asked for"
    sign = _sign_of_training(model)
    return ("keep", sign) if sign else ("new", "no sign of training")


def _sign_of_training(model: nn.Module) -> str:
    for path, module in model.named_modules():
        counted = getattr(module, "num_batches_tracked", None)
        if isinstance(counted, Tensor) and not counted.is_meta and int(counted) > 0:
            return f"{path} has counted {int(counted)} batches"
        if plain_layer(module) and not module.weight.is_meta:
            weight = module.weight
            assert isinstance(weight, Tensor)
            if weight.grad is not None:
                return f"{path}.weight has a gradient"
            # torch's default draws uniformly within ±1/sqrt(fan_in).
            bound = 1.0 / math.sqrt(math.prod(weight.shape[1:]))
            if weight.numel() and float(weight.detach().abs().max()) > 1.001 * bound:
                return f"{path}.weight lies outside of the range of torch's default initialisation"
    return ""
