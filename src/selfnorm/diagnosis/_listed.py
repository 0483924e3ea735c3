"""What modules do, judged by their class, where no run can show it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from selfnorm.diagnosis._classify import Call, classify

__all__ = ["calls_of_module", "is_scripted", "listed"]

_ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.SELU: "selu", nn.ReLU: "relu", nn.ReLU6: "relu6", nn.ELU: "elu", nn.CELU: "celu",
    nn.LeakyReLU: "leaky_relu", nn.PReLU: "prelu", nn.RReLU: "rrelu", nn.GELU: "gelu",
    nn.SiLU: "silu", nn.Mish: "mish", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid",
    nn.Softplus: "softplus", nn.Softsign: "softsign", nn.Hardtanh: "hardtanh",
    nn.Hardswish: "hardswish", nn.Hardsigmoid: "hardsigmoid", nn.GLU: "glu",
    nn.LogSigmoid: "logsigmoid", nn.Tanhshrink: "tanhshrink", nn.Threshold: "threshold",
}  # fmt: skip
_NORMS = (
    nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm
)  # fmt: skip
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def is_scripted(module: nn.Module) -> bool:
    """Tell TorchScript, scripted or traced: it takes no hooks, and runs out of Python's sight."""
    return isinstance(module, torch.jit.ScriptModule)


def listed(model: nn.Module, path: str = "") -> Iterator[tuple[str, Call]]:
    """Yield what the leaf modules do, in the order in which they were registered.

    A leaf that is not known counts as passing its input on.
    """
    inside: tuple[str, ...] = ()
    for name, module in model.named_modules(prefix=path):
        if inside and name.startswith(inside):
            continue
        calls = calls_of_module(module)
        if calls:
            inside = (*inside, f"{name}.") if name else inside
        elif any(True for _ in module.children()):
            continue
        for call in calls or [Call("shape", "unknown", {})]:
            yield name, call


def calls_of_module(module: nn.Module) -> list[Call]:
    """Return what a leaf module does; nothing for one that is not known."""
    kind = _class_of(module)
    facts: dict[str, Any] = {}
    if kind in _ACTIVATIONS:
        name = _ACTIVATIONS[kind]
        if name in ("elu", "selu"):
            facts |= classify(getattr(nn.functional, name), [None], {}, bool).facts  # type: ignore
            facts["alpha"] = float(getattr(module, "alpha", facts["alpha"]))
        facts |= {"inplace": bool(getattr(module, "inplace", False))}
        return [Call("activation", name, facts)]
    if issubclass(kind, nn.modules.dropout._DropoutNd):
        alpha = issubclass(kind, nn.AlphaDropout | nn.FeatureAlphaDropout)
        # A traced module knows its rate no more, and drops what was dropped when it was traced.
        facts = {"p": getattr(module, "p", 0.0), "training": True}
        return [Call("alpha_dropout" if alpha else "dropout", kind.__name__.lower(), facts)]
    if issubclass(kind, nn.Linear | nn.Bilinear):
        return [Call("weight", "linear", _weights(module))]
    if issubclass(kind, (*_CONVOLUTIONS, *_TRANSPOSED)):
        weight: Any = module.weight
        padded = getattr(module, "padding_mode", "zeros") == "zeros"
        facts = {
            "transposed": issubclass(kind, _TRANSPOSED),
            "stride": getattr(module, "stride", 1),
            "padding": getattr(module, "padding", 0) if padded else 0,
            "groups": getattr(module, "groups", 1),
            "kernel": tuple(weight.shape[2:]),
        }
        return [Call("weight", kind.__name__.lower(), {**_weights(module), **facts})]
    if issubclass(kind, _NORMS):
        name = "batch_norm" if "BatchNorm" in kind.__name__ else "layer_norm"
        return [Call("norm", name, {"training": True})]
    if issubclass(kind, nn.RNNBase | nn.RNNCellBase):
        return [Call("recurrent", kind.__name__.lower(), {})]
    if issubclass(kind, nn.MultiheadAttention | nn.Softmax | nn.LogSoftmax):
        return [Call("attention", kind.__name__.lower(), {})]
    if issubclass(kind, nn.Embedding | nn.EmbeddingBag):
        return [Call("embedding", "embedding", {})]
    if kind.__module__.startswith("torch.nn.modules.pooling"):
        size = getattr(module, "output_size", getattr(module, "kernel_size", None))
        words = kind.__name__.lower()
        name = f"max_pool:{words}" if "max" in words else f"avg_pool:{words}"
        return [Call("pool", name, {"size": size})]
    if issubclass(kind, nn.Flatten | nn.Unflatten | nn.Identity):
        return [Call("shape", kind.__name__.lower(), {})]
    return _own_modules(module)


def _class_of(module: nn.Module) -> type:
    """Return a module's class; of a scripted one that of torch.nn which it was made of, if any."""
    if not is_scripted(module):
        return type(module)
    found = getattr(nn, str(getattr(module, "original_name", "")), None)
    return found if isinstance(found, type) else type(module)


def _weights(module: Any) -> dict[str, Any]:
    return {"weight": module.weight, "bias": getattr(module, "bias", None)}


def _own_modules(module: nn.Module) -> list[Call]:
    """Return what selfnorm's own modules do."""
    from selfnorm import nn as ours

    selu = {"alpha": getattr(module, "alpha", 0.0), "scale": getattr(module, "scale", 0.0)}
    if type(module) is ours.SELU:
        return [Call("activation", "selu", {"inplace": False, **selu})]
    if type(module) is ours.ELU:
        return [Call("activation", "elu", {"alpha": selu["alpha"], "scale": 1.0})]
    if type(module) is ours.AlphaDropout:
        facts = {"p": module.p, "training": True, "target": (module.mean, module.var)}
        return [Call("alpha_dropout", "alpha_dropout", facts)]
    if type(module) is ours.LinearSELU:
        from selfnorm import theory

        constants = theory.solve(module.mean, module.var)
        facts = {"alpha": float(constants.alpha), "scale": float(constants.scale), "p": 0.0}
        calls = [
            Call("weight", "linear", _weights(module)),
            Call("activation", "selu", {"inplace": False, **facts}),
        ]
        if module.dropout:
            target = (module.mean, module.var)
            facts = {"p": module.dropout, "training": True, "target": target}
            calls.append(Call("alpha_dropout", "alpha_dropout", facts))
        return calls
    return []
