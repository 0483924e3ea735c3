"""Conversion, part by part: activations, dropout, normalisation, weights, padding, input."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvNd

from selfnorm import init
from selfnorm.diagnosis._convert_work import Work
from selfnorm.diagnosis._exchange import (
    ACTIVATIONS,
    DROPOUTS,
    NORMS,
    Known,
    dropout_for,
    equivalent_rate,
    name_of_activation,
)
from selfnorm.diagnosis._fold import producer
from selfnorm.diagnosis._module_graph import Region, in_code
from selfnorm.diagnosis._rewrite import kind_of
from selfnorm.nn import SELU, StandardizedInput

__all__ = [
    "before_dropout",
    "draw",
    "exchange_activations",
    "exchange_dropouts",
    "pad_by_border",
    "rate_for",
    "remove_norms",
    "standardize_input",
]

# Inputs whose features have means and variances within these, and the errors of so many rows, are
# taken as standardised.
_MEAN_OFF: Final = 0.25
_VAR_OFF: Final = 1.5


def before_dropout(work: Work) -> dict[object, Known]:
    """Return the activation that feeds each dropout: by the module's id, or by its code."""
    found: dict[object, Known] = {}
    for part in work.regions:
        for node in part.graph.nodes if part.graph is not None else ():
            module = part.called(node)
            known = _activation_before(part, node)
            if known is not None and isinstance(module, DROPOUTS):
                found[id(module)] = known
            elif known is not None and kind_of(node)[0] == "dropout":
                found[part.owner(node), in_code(node)] = known
    return found


def _activation_before(part: Region, node: fx.Node) -> Known | None:
    at = node.args[0] if node.args else None
    while isinstance(at, fx.Node):
        module = part.called(at)
        kind, name = kind_of(at)
        known = Known(name) if kind == "activation" else None
        if module is not None:
            known = name_of_activation(module)
        if known is not None:
            return known
        passed = (nn.Flatten, nn.Identity, *NORMS, *DROPOUTS)
        if at.op == "placeholder" or (module is not None and not isinstance(module, passed)):
            return None
        at = at.args[0] if at.args else None
    return None


def exchange_activations(work: Work) -> None:
    for path, module in work.modules():
        if not isinstance(module, ACTIVATIONS):
            continue
        what = f"{type(module).__name__}({module.extra_repr()})"
        if id(module) in work.outputs:
            work.refuse(
                path,
                what,
                "it gives the model's answer",
                "leave it; if it is used inside as well, give the inside its own module",
            )
            continue
        work.replace(module, SELU())
        work.change(
            path,
            "activation",
            what,
            "SELU()",
            "SELU draws mean and variance to 0 and 1",
        )


def exchange_dropouts(work: Work, names: dict[object, Known], rate: float | None) -> None:
    for path, module in work.modules():
        if not isinstance(module, DROPOUTS):
            continue
        p = rate_for(module.p, rate, names.get(id(module)))
        new = dropout_for(module, p)
        work.replace(module, new)
        work.change(
            path,
            "dropout",
            f"{type(module).__name__}(p={module.p:g})",
            f"AlphaDropout({new.extra_repr()})",
            "dropping to 0 changes mean and variance; "
            + ("the rate was asked for" if rate is not None else "this rate keeps as much signal"),
        )


def rate_for(p: float, asked: float | None, after: Known | None) -> float:
    if asked is not None:
        return asked
    name, parameters = (None, ()) if after is None else after
    return float(f"{equivalent_rate(p, name, *parameters):.3g}")


def remove_norms(work: Work, has_data: bool) -> None:
    layers: dict[int, tuple[str, nn.Module]] = {}
    at_input: set[int] = set()
    for part, node, norm in work.nodes():
        if not isinstance(norm, NORMS):
            continue
        source = producer(part, node)
        if source is not None:
            layer = part.called(source)
            assert layer is not None
            layers[id(norm)] = part.full(source.target), layer
        before = node.args[0] if node.args else None
        if not part.path and isinstance(before, fx.Node) and before.op == "placeholder":
            at_input.add(id(norm))
    for path, norm in work.modules():
        if not isinstance(norm, NORMS):
            continue
        what = f"{type(norm).__name__}({norm.extra_repr()})"
        if id(norm) in at_input and not has_data:
            work.refuse(
                path,
                what,
                "it standardises the model's input",
                "pass data: an input layer with fixed numbers takes its place",
            )
            continue
        work.replace(norm, nn.Identity())
        work.change(
            path,
            "normalisation",
            what,
            "Identity()",
            "beside SELU it hides what the weights do, and its noise adds to every batch",
        )
        where, layer = layers.get(id(norm), ("", None))
        if isinstance(layer, nn.Linear | _ConvNd) and layer.bias is None:
            weight = layer.weight
            units = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
            layer.register_parameter("bias", nn.Parameter(weight.new_zeros(units)))
            work.change(
                where,
                "bias",
                "no bias",
                "a bias of zeros",
                "the normalisation that had one is gone",
                comment="bias added",
            )


def draw(work: Work, generator: torch.Generator | None) -> None:
    done: set[int] = set()
    tied = {
        id(module.weight)
        for module in work.model.modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag)
    }
    for path, module in work.modules():
        sized = hasattr(module, "in_features") and hasattr(module, "out_features")
        weight = module._parameters.get("weight")
        if not (isinstance(module, nn.Linear | _ConvNd | nn.Bilinear) or sized) or weight is None:
            continue
        if id(weight) in done:
            continue
        if id(weight) in tied:
            work.refuse(
                path,
                f"{type(module).__name__} with the weight of an embedding",
                "one weight cannot have the scale of both",
                "untie them, or leave it",
            )
            continue
        done.add(id(weight))
        init.initialize_(module, generator=generator)
        work.change(
            path,
            "weights",
            "as they were",
            "LeCun normal, bias 0",
            "a unit's weights have sum 0 and sum of squares 1 on average, which SELU needs",
            comment="LeCun normal",
        )


def pad_by_border(work: Work) -> None:
    for path, module in work.modules():
        if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            continue
        padded = module.padding not in ("valid",) and module.padding not in (0, (0,), (0, 0))
        padded = padded and any(module._reversed_padding_repeated_twice)
        if padded and module.padding_mode == "zeros":
            module.padding_mode = "replicate"
            work.change(
                path,
                "padding",
                "zeros",
                "replicate",
                "zeros lower the variance at the border, layer after layer",
            )


def _is_standardized(x: Tensor, total: float) -> bool:
    r"""Tell whether inputs may be standardised, as far as so many rows say.

    The bounds are widened by the errors of n independent standard normal rows: 1/√n of a mean and
    √(2/n) of a variance, for the largest of d features times 3 + √(2 ln d), which one of d standard
    normal numbers exceeds in size with probability .0027 at most (union bound).
    Pixels of one row count as dependent.
    """
    rows = x.double().movedim(1, -1).flatten(0, -2)
    mean, var = rows.mean(0), rows.var(0, correction=0)
    many = (3.0 + math.sqrt(2.0 * math.log(len(mean)))) / math.sqrt(len(x))
    spread = _VAR_OFF * math.exp(3.0 * math.sqrt(2.0 / (len(x) - 1)))
    return (
        float(mean.abs().max()) <= _MEAN_OFF + many
        and 1.0 / spread <= total <= spread
        and bool((var <= _VAR_OFF**2 + math.sqrt(2.0) * many).all())
    )


def standardize_input(work: Work, x: Tensor) -> tuple[str, ...]:
    """Put an input layer before the model; return its line of the outline."""
    if len(x) < 2:
        work.refuse(
            "",
            "the model's input",
            "one row does not tell whether it is standardised",
            "pass more rows of the training data",
        )
        return ()
    total = float(x.double().var(correction=0))
    if _is_standardized(x, total):
        return ()
    layer = StandardizedInput.from_data(x, log="never", axis=1)
    first = next(iter(work.model.parameters()), None)
    if first is not None:
        layer = layer.to(device=first.device, dtype=first.dtype)
    wrapped = nn.Sequential()
    wrapped.add_module("standardize", layer)
    wrapped.add_module("model", work.model)
    wrapped.train(work.model.training)
    work.model = wrapped
    work.change(
        "standardize",
        "input",
        f"inputs of mean {float(x.double().mean()):.3g} and variance {total:.3g}",
        f"StandardizedInput({layer.extra_repr()}) before the model, which is now at 'model'",
        "the first layer gets mean 0 and variance 1, feature by feature",
    )
    return (f"standardize: StandardizedInput({layer.extra_repr()})  # before the model",)
