"""The linter: which known faults a network has."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import torch
from torch import nn

from selfnorm.diagnosis import (
    _rules_conv,
    _rules_dropout,
    _rules_order,
    _rules_size,
    _rules_weights,
)
from selfnorm.diagnosis._arguments import as_arguments, guesses
from selfnorm.diagnosis._batches import first_batch
from selfnorm.diagnosis._context import Context, join_places
from selfnorm.diagnosis._graph import Graph
from selfnorm.diagnosis._listed import is_scripted
from selfnorm.diagnosis._outline import outline
from selfnorm.diagnosis._records import Diagnosis, Finding, finding, sorted_findings
from selfnorm.diagnosis._state import unchanged
from selfnorm.diagnosis._symbolic import by_registration, symbolically
from selfnorm.diagnosis._trace import tensors_in, trace
from selfnorm.errors import DataError, DomainError

__all__ = ["check", "check_model", "checked", "context_of"]

_Rule = Callable[[Context], Iterator[Finding]]
_RULES: Final[tuple[_Rule, ...]] = (
    _rules_weights.initialisation,
    _rules_weights.activation_constants,
    _rules_dropout.plain_dropout,
    _rules_dropout.alpha_dropout,
    _rules_order.normalisation,
    _rules_order.residual,
    _rules_order.low_precision,
    _rules_conv.padding,
    _rules_conv.pooling,
    _rules_size.input_moments,
    _rules_size.depth,
    _rules_size.width,
    _rules_size.optimizer,
)
_ROWS: Final = 256  # of a user's batch, for moments of the input
_IMAGES: Final = 8
_LARGE: Final = 1 << 20  # numbers, beyond which a few images are enough


def check(model: nn.Module, x: Any = None, *, optimizer: Any = None) -> list[Finding]:
    """Find the faults that keep a network from normalising itself.

    The operations are found by running the model once (on ``x``, or on a made-up input of the first
    layer's shape), so that functional calls and sums are seen; where it cannot be run, by tracing
    it symbolically, or by its list of modules. Then each rule of :data:`RULES` looks at them and
    at the weights. Networks without SELU have no findings but for alpha dropout.

    Parameters
    ----------
    model : torch.nn.Module
        Any network, with or without self-normalizing parts; on any device, "meta" too.
    x : torch.Tensor, array, tuple, dict or DataLoader, optional
        One batch, as the model takes it: a tuple is several arguments, a dict keyword arguments;
        what ``forward`` does not need is left out. Of a loader or another iterator the first
        batch is taken. With it the input's mean and variance are checked as well.
    optimizer : torch.optim.Optimizer, optional
        Its weight decay is checked too.

    Returns
    -------
    list of Finding
        The most decisive first; empty for a healthy network.

    Raises
    ------
    DomainError
        If ``model`` is not a module, or ``optimizer`` has no ``param_groups``.
    DataError
        If the model raises an exception on ``x``.

    Notes
    -----
    The model is left exactly as it was: modes, buffers, gradients, hooks and the state of random
    numbers; only what a ``forward`` counts in plain attributes moves on. Weights that were trained
    are not taken for a bad initialisation: they are told of only where theory predicts variances
    below 0.01 or above 100 for them.

    References
    ----------
    Klambauer, Unterthiner, Mayr, Hochreiter, "Self-Normalizing Neural Networks", NeurIPS 2017,
    arXiv:1706.02515.

    Examples
    --------
    >>> import torch
    >>> from selfnorm.diagnosis import check
    >>> layers = [torch.nn.Linear(20, 64), torch.nn.SELU(), torch.nn.Dropout(0.2)]
    >>> net = torch.nn.Sequential(*layers, torch.nn.Linear(64, 64), torch.nn.SELU())
    >>> for found in check(net):
    ...     print(found.code, "|", found.place)
    ...     print(found.fix)
    default-init | 0, 3
    selfnorm.init.initialize_(model)
    plain-dropout | 2
    model.set_submodule('2', selfnorm.nn.AlphaDropout(0.0576).train(model.training))
    """
    if not isinstance(model, nn.Module):
        raise DomainError(
            f"model must be a torch.nn.Module, however: a {type(model).__name__} came; pass the "
            "network itself, not its class and not its output"
        )
    if optimizer is not None and not isinstance(getattr(optimizer, "param_groups", None), list):
        raise DomainError(
            "optimizer must be an optimizer of torch, with param_groups, however: "
            f"optimizer={optimizer!r}; pass what steps the weights, or leave it out"
        )
    return check_model(context_of(model, x, optimizer))


def checked(model: nn.Module, data: Any = None) -> Diagnosis:
    """Check on the first batch of data in any form, and return the outline with the findings."""
    context = context_of(model, data)
    return Diagnosis(
        model=type(getattr(model, "_orig_mod", model)).__name__,
        findings=tuple(check_model(context)),
        layers=(),
        rows=0,
        input_mean=math.nan,
        input_var=math.nan,
        tolerance=math.nan,
        structure=outline(context, {}),
    )


def check_model(context: Context) -> list[Finding]:
    """Apply all rules."""
    found = [one for rule in _RULES for one in rule(context)]
    if context.graph.source == "registration" and context.selus:
        found.append(
            finding(
                "could-not-run",
                "",
                "No input could be made up for the model and it cannot be traced symbolically: "
                "only its modules were looked at, in the order in which they were registered.",
                "selfnorm.check(model, x)",
            )
        )
    unseen = dict.fromkeys(
        op.facts["scripted"] for op in context.graph.ops if "scripted" in op.facts
    )
    if unseen and _may_have_selu(context):
        found.append(
            finding(
                "could-not-run",
                join_places(unseen),
                "What runs as TorchScript cannot be watched: of its inside only the modules were "
                "looked at, in the order in which they were registered, and nothing was measured.",
                "selfnorm.check of the module as it was before torch.jit.script or torch.jit.trace",
            )
        )
    return sorted_findings(found)


def _may_have_selu(context: Context) -> bool:
    """Tell a SELU, one that a scripted forward calls as a function included."""
    scripted = (one for one in context.model.modules() if is_scripted(one))
    return bool(context.selus) or any("aten::selu" in str(one.inlined_graph) for one in scripted)


def context_of(model: nn.Module, x: Any = None, optimizer: Any = None) -> Context:
    """Find a model's operations, on a batch if there is one."""
    with unchanged(model):
        if x is None:
            return Context(model, _found_without(model), (), optimizer)
        batch = first_batch(model, x, _ROWS)
        if any(t.dim() > 2 and t.numel() > _LARGE for t in tensors_in((batch.args, batch.kwargs))):
            args, kwargs = as_arguments(model, batch.kwargs or tuple(batch.args), _IMAGES)
        else:
            args, kwargs = batch.args, batch.kwargs
        inputs = [t.clone() for t in tensors_in((args, kwargs))]
        return Context(model, _ran(model, args, kwargs, user=True), inputs, optimizer)


def _ran(model: nn.Module, args: Any, kwargs: Any, *, user: bool) -> Graph:
    """Run in training mode, where dropout is on; in evaluation mode if that fails."""
    model.train()
    saved = [torch.clone(t) for t in tensors_in((args, kwargs))]
    try:
        return trace(model, args, kwargs)
    except Exception:  # noqa: BLE001 - the model is anybody's code
        # A batch norm of one row, a detector that wants targets in training.
        for tensor, value in zip(tensors_in((args, kwargs)), saved, strict=True):
            tensor.copy_(value)
    model.eval()
    try:
        return trace(model, args, kwargs)
    except Exception as error:
        if not user:
            raise
        shapes = [tuple(t.shape) for t in saved]
        raise DataError(
            f"the model must run on x, however: {type(error).__name__}: {error} (shapes {shapes}); "
            "give x as the model takes it: a tuple is several arguments, a dict keyword arguments"
        ) from error


def _found_without(model: nn.Module) -> Graph:
    if not _may_concern(model):
        return Graph([], "run")
    by_running = (functools.partial(_ran, model, args, {}, user=False) for args in guesses(model))
    by_symbols = [functools.partial(symbolically, model)]
    # On the meta device there is nothing to measure, and torch takes seconds to get ready for it.
    meta = any(p.is_meta for p in model.parameters())
    ways: Iterable[Callable[[], Graph]] = (
        itertools.chain(by_symbols, by_running) if meta else itertools.chain(by_running, by_symbols)
    )
    for way in ways:
        try:
            return way()
        except Exception:  # noqa: BLE001, S112 - a wrong guess, or code that symbols do not fit
            continue
    return by_registration(model)


def _may_concern(model: nn.Module) -> bool:
    """Tell whether there is anything to run; a model of no layers has no faults."""
    return any(True for _ in model.children()) or any(True for _ in model.parameters())
