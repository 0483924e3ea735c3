"""What kind of operation a torch function is, and the facts that rules ask of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from selfnorm.constants import ALPHA01, LAMBDA01
from selfnorm.diagnosis._function_names import (
    ACTIVATIONS,
    ALPHA,
    ASIDE,
    ATTENTION,
    DROPOUTS,
    MIXING,
    NORMS,
    PYTHON,
    RECURRENT,
    SHAPES,
    WEIGHTS,
)

__all__ = ["Call", "base_name", "classify"]


class Call(NamedTuple):
    """One call of a torch function: what it is, and the facts."""

    kind: str
    name: str
    facts: dict[str, Any]


def base_name(function: Any) -> str:
    """Return a function's name without overload and without the mark of an in-place form."""
    name = str(getattr(function, "__name__", function)).partition(".")[0]
    name = PYTHON.get(name, name)
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


def classify(
    function: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    is_signal: Any,
) -> Call | None:
    """Say what a call does; None if it passes no signal on.

    ``is_signal`` tells whether a value is data that came through the network, as against a
    parameter, a buffer or a constant.
    """
    name = base_name(function)
    raw = str(getattr(function, "__name__", function))
    inplace = bool(kwargs.get("inplace")) or (raw.endswith("_") and not raw.endswith("__"))
    inplace = inplace or (raw.startswith("__i") and raw != "__invert__")
    if name in ASIDE:
        return None
    if str(getattr(function, "__module__", "")).startswith("torch._ops"):
        ours = _own_op(name, args, kwargs)
        if ours is not None:
            return ours
    if name in ACTIVATIONS:
        facts = {"inplace": inplace, **_constants(name, args, kwargs)}
        # aten's elu has a scale: with one it is a SELU of another fixed point.
        scaled = name == "elu" and facts["scale"] != 1.0
        return Call("activation", "selu" if scaled else name, facts)
    if name in WEIGHTS:
        return _weight(name, args, kwargs, is_signal)
    if name in DROPOUTS or name in ALPHA:
        facts = {
            "p": _argument(args, kwargs, 1, "p", 0.5),
            "training": _argument(args, kwargs, 2, "training", name in DROPOUTS),
        }
        return Call("dropout" if name in DROPOUTS else "alpha_dropout", name, facts)
    if name in NORMS:
        return Call("norm", name, _norm(function, name, args, kwargs))
    if "pool" in name:
        return Call("pool", name, _pool(name, args, kwargs))
    if name in ("mean", "amax", "max") and _argument(args, kwargs, 1, "dim", None) is not None:
        return Call("pool", f"{name}_over_dims", {"size": None})
    if name in RECURRENT:
        return Call("recurrent", name, {})
    if name in ATTENTION:
        return Call("attention", name, {})
    if name in ("embedding", "embedding_bag"):
        return Call("embedding", name, {})
    if name in ("add", "sub"):
        return _sum(name, args, kwargs, is_signal)
    if name in ("mul", "div"):
        both = sum(map(is_signal, args[:2]))
        if both == 2:
            return Call("mul", name, {})
        factor = next((one for one in args[:2] if not is_signal(one)), None)
        facts = {"factor": _number(factor), "division": name == "div"}
        if isinstance(factor, Tensor):
            facts["factor_shape"] = tuple(factor.shape)
        return Call("scale", name, facts)
    if name in ("cat", "concat", "concatenate", "stack", "hstack", "column_stack"):
        return Call("cat", name, {})
    if name in SHAPES:
        return Call("shape", name, {})
    if name in MIXING:
        return Call("mix", name, {})
    if name == "neg":
        return Call("scale", name, {"factor": -1.0, "division": False})
    return Call("other", name, {})


def _argument(
    args: Sequence[Any], kwargs: Mapping[str, Any], position: int, name: str, default: Any
) -> Any:
    if name in kwargs:
        return kwargs[name]
    return args[position] if len(args) > position else default


def _number(value: Any) -> float | None:
    """Return a constant as a number; None for a tensor that is learned or has many entries."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_meta:
        return float(value.detach())
    return None


def _constants(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    if name == "selu":
        return {"alpha": ALPHA01, "scale": LAMBDA01}
    if name in ("elu", "celu"):
        alpha = _number(_argument(args, kwargs, 1, "alpha", 1.0))
        scale = _number(_argument(args, kwargs, 2, "scale", 1.0))
        return {"alpha": 1.0 if alpha is None else alpha, "scale": 1.0 if scale is None else scale}
    if name == "leaky_relu":
        return {"negative_slope": _number(_argument(args, kwargs, 1, "negative_slope", 0.01))}
    return {}


def _own_op(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call | None:
    """Operators of selfnorm itself; see selfnorm.ops for their arguments."""
    if name == "selu":
        names = ("x", "bias", "rng", "p", "alpha", "scale", "a", "b")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        facts = {
            "inplace": False,  # ours keeps the slope where it can
            "alpha": float(given["alpha"]),
            "scale": float(given["scale"]),
            "p": float(given["p"]) if given.get("rng") is not None else 0.0,
            "affine": (float(given["a"]), float(given["b"])),
            "added_bias": given.get("bias"),
        }
        return Call("activation", "elu" if facts["scale"] == 1.0 else "selu", facts)
    if name == "alpha_dropout":
        p, a, b, saturation = (float(value) for value in args[2:6])
        return Call(
            "alpha_dropout",
            name,
            {"p": p, "training": True, "saturation": saturation, "affine": (a, b)},
        )
    return None


def _weight(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], is_signal: Any) -> Call:
    if name == "einsum":
        operands = list(args[1:])
        if len(operands) == 1 and isinstance(operands[0], list | tuple):
            operands = list(operands[0])
        if sum(map(is_signal, operands)) > 1:
            return Call("mul", name, {})
        return Call("weight", name, {})  # the roles of its dimensions are not looked at
    if name in ("matmul", "mm", "bmm", "__matmul__", "__rmatmul__"):
        if is_signal(args[0]) and is_signal(args[1]):
            return Call("mul", name, {})
        left = is_signal(args[0])
        matrix = args[1] if left else args[0]
        two = isinstance(matrix, Tensor) and matrix.dim() == 2
        weight = (matrix.t() if left else matrix) if two else None
        return Call("weight", name, {"weight": weight, "bias": None})
    if name == "addmm":
        weight = args[2]
        if is_signal(args[0]) or is_signal(weight):
            return Call("mul" if is_signal(weight) else "mix", name, {})
        return Call("weight", name, {"weight": weight.t(), "bias": args[0]})
    weight = _argument(args, kwargs, 1 if name != "bilinear" else 2, "weight", None)
    bias = _argument(args, kwargs, 2 if name != "bilinear" else 3, "bias", None)
    facts: dict[str, Any] = {"weight": weight, "bias": bias}
    if name.startswith("conv"):
        transposed = "transpose" in name
        facts |= {
            "transposed": transposed,
            "stride": _argument(args, kwargs, 3, "stride", 1),
            "padding": _argument(args, kwargs, 4, "padding", 0),
            "groups": _argument(args, kwargs, 6, "groups", 1),
        }
        if isinstance(weight, Tensor):
            facts["kernel"] = tuple(weight.shape[2:])
    return Call("weight", name, facts)


def _norm(
    function: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    running = name in ("batch_norm", "instance_norm")
    if running and getattr(function, "__module__", "") != "torch.nn.functional":
        return {"training": bool(kwargs.get("training", True))}  # another order of arguments
    at = 3 if running else 2
    return {
        "training": not running or bool(_argument(args, kwargs, 5, "training", True)),
        "gain": _argument(args, kwargs, at, "weight", None),
        "bias": _argument(args, kwargs, at + 1, "bias", None),
    }


def _pool(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    size = _argument(args, kwargs, 1, "output_size" if "adaptive" in name else "kernel_size", None)
    return {"size": size}


def _sum(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], is_signal: Any) -> Call:
    if sum(map(is_signal, args[:2])) == 2:
        alpha = _number(kwargs.get("alpha", 1))
        return Call("add", name, {"alpha": 1.0 if alpha is None else alpha})
    other = next((one for one in args[:2] if isinstance(one, Tensor) and not is_signal(one)), None)
    if other is not None and sum(size > 1 for size in other.shape) > 1:
        return Call("mix", name, {})  # more than a bias: positions, a first state
    return Call("shape", name, {"shift": True, "by": _shift(name, args, is_signal)})


def _shift(name: str, args: Sequence[Any], is_signal: Any) -> float | None:
    """Return the number that is added, None for a vector and for what is subtracted from one."""
    number = _number(args[1]) if len(args) > 1 and is_signal(args[0]) else None
    return number if name == "add" else None


def approximately(value: float | None, wanted: float, tolerance: float = 2e-3) -> bool:
    """Tell whether a constant in somebody's code is meant to be a certain number."""
    return value is not None and math.isclose(value, wanted, rel_tol=tolerance)
