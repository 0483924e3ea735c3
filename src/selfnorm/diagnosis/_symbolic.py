"""Find the operations of a model that cannot be run: symbolically, or by its list of modules."""

from __future__ import annotations

from typing import Any

from torch import fx, nn

from selfnorm.diagnosis._classify import Call, classify
from selfnorm.diagnosis._graph import ROOT, Graph, Op
from selfnorm.diagnosis._trace import path_of_module

__all__ = ["by_registration", "symbolically"]


class _Tracer(fx.Tracer):
    """Take modules that a rule can name as one operation, and go into all others."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        """Tell whether a module is one operation."""
        return _call_of(module) is not None or super().is_leaf_module(module, name)


def symbolically(model: nn.Module) -> Graph:
    """Trace a model with symbols instead of numbers.

    Raises
    ------
    Exception
        Whatever the model's own code raises when it meets a symbol.
    """
    found = _Tracer().trace(model)
    modules = dict(model.named_modules())
    index: dict[fx.Node, int] = {}
    ops: list[Op] = []
    for node in found.nodes:
        if node.op == "placeholder":
            index[node] = ROOT
            continue
        feeding = [index[one] for one in node.all_input_nodes if one in index]
        if not feeding or node.op == "output":
            continue
        by_module = node.op == "call_module"
        place = path_of_module(str(node.target)) if by_module else _caller(node)
        calls = (
            _calls_of(modules[str(node.target)])
            if by_module
            else [classify(_named(node), node.args, node.kwargs, lambda one: one in index)]
        )
        if calls == [None]:
            continue
        for call in calls or [Call("other", type(modules.get(place)).__name__, {})]:
            assert call is not None
            op = Op(len(ops), call.kind, call.name, place, tuple(feeding), call.facts, by_module)
            ops.append(op)
            feeding = [op.index]
        index[node] = ops[-1].index
    return Graph(ops, "symbolic")


def by_registration(model: nn.Module) -> Graph:
    """Take the leaf modules as a chain, in the order in which they were registered."""
    ops: list[Op] = []
    inside: tuple[str, ...] = ()
    for name, module in model.named_modules():
        calls = [] if inside and name.startswith(inside) else _calls_of(module)
        if calls:
            inside = (*inside, f"{name}.") if name else inside
        elif any(True for _ in module.children()):
            continue
        else:
            calls = [] if inside and name.startswith(inside) else [Call("shape", "unknown", {})]
        for call in calls:
            feeding = (len(ops) - 1,) if ops else (ROOT,)
            path = path_of_module(name)
            ops.append(Op(len(ops), call.kind, call.name, path, feeding, dict(call.facts), True))
    return Graph(ops, "registration")


def _named(node: fx.Node) -> Any:
    if node.op != "call_method":
        return node.target

    class Method:
        __name__ = str(node.target)

    return Method()


def _caller(node: fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    return path_of_module(str(next(reversed(stack.values()))[0])) if stack else ""


def _call_of(module: nn.Module) -> Call | None:
    return next(iter(_calls_of(module)), None)


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


def _calls_of(module: nn.Module) -> list[Call]:
    """Return what a leaf module does; nothing for one that is not known."""
    kind = type(module)
    facts: dict[str, Any] = {}
    if kind in _ACTIVATIONS:
        facts = {"inplace": bool(getattr(module, "inplace", False))}
        name = _ACTIVATIONS[kind]
        if name in ("elu", "selu"):
            facts |= classify(getattr(nn.functional, name), [None], {}, bool).facts  # type: ignore
            facts |= {"inplace": bool(getattr(module, "inplace", False))}
            facts["alpha"] = float(getattr(module, "alpha", facts["alpha"]))
        return [Call("activation", name, facts)]
    if isinstance(module, nn.modules.dropout._DropoutNd):
        alpha = isinstance(module, nn.AlphaDropout | nn.FeatureAlphaDropout)
        facts = {"p": module.p, "training": True}
        return [Call("alpha_dropout" if alpha else "dropout", kind.__name__.lower(), facts)]
    if isinstance(module, nn.Linear | nn.Bilinear):
        return [Call("weight", "linear", _weights(module))]
    if isinstance(module, (*_CONVOLUTIONS, *_TRANSPOSED)):
        name = kind.__name__.lower()
        padding = module.padding if module.padding_mode == "zeros" else 0
        facts = {
            "transposed": isinstance(module, _TRANSPOSED),
            "stride": module.stride,
            "padding": padding,
            "groups": module.groups,
            "kernel": tuple(module.kernel_size),
        }
        return [Call("weight", name, {**_weights(module), **facts})]
    if isinstance(module, _NORMS):
        name = "batch_norm" if "BatchNorm" in kind.__name__ else "layer_norm"
        return [Call("norm", name, {"training": True})]
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        return [Call("recurrent", kind.__name__.lower(), {})]
    if isinstance(module, nn.MultiheadAttention | nn.Softmax | nn.LogSoftmax):
        return [Call("attention", kind.__name__.lower(), {})]
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return [Call("embedding", "embedding", {})]
    if kind.__module__.startswith("torch.nn.modules.pooling"):
        size = getattr(module, "output_size", getattr(module, "kernel_size", None))
        words = kind.__name__.lower()
        return [
            Call(
                "pool",
                f"max_pool:{words}" if "max" in words else f"avg_pool:{words}",
                {"size": size},
            )
        ]
    if isinstance(module, nn.Flatten | nn.Unflatten | nn.Identity):
        return [Call("shape", kind.__name__.lower(), {})]
    return _own_modules(module)


def _weights(module: nn.Module) -> dict[str, Any]:
    return {"weight": module.weight, "bias": module.bias}


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
