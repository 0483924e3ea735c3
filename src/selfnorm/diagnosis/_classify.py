"""What kind of operation a torch function is, and the facts that rules ask of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from torch import Tensor

from selfnorm.constants import ALPHA01, LAMBDA01

__all__ = ["Call", "base_name", "classify"]

_ACTIVATIONS: Final = frozenset(
    [
        "celu",
        "elu",
        "erf",
        "gelu",
        "glu",
        "hardshrink",
        "hardsigmoid",
        "hardswish",
        "hardtanh",
        "leaky_relu",
        "logsigmoid",
        "mish",
        "prelu",
        "relu",
        "relu6",
        "rrelu",
        "selu",
        "sigmoid",
        "silu",
        "sin",
        "softplus",
        "softshrink",
        "softsign",
        "tanh",
        "tanhshrink",
        "threshold",
    ]
)
_WEIGHTS: Final = frozenset(
    [
        "linear",
        "bilinear",
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose1d",
        "conv_transpose2d",
        "conv_transpose3d",
        "matmul",
        "mm",
        "bmm",
        "addmm",
        "__matmul__",
        "__rmatmul__",
        "einsum",
    ]
)
_NORMS: Final = frozenset(
    [
        "batch_norm",
        "layer_norm",
        "group_norm",
        "instance_norm",
        "rms_norm",
        "local_response_norm",
        "sync_batch_norm",
        "native_layer_norm",
        "native_group_norm",
        "normalize",
    ]
)
_SHAPES: Final = frozenset(
    [
        "view",
        "reshape",
        "flatten",
        "unflatten",
        "squeeze",
        "unsqueeze",
        "permute",
        "transpose",
        "t",
        "movedim",
        "contiguous",
        "clone",
        "detach",
        "to",
        "float",
        "double",
        "half",
        "bfloat16",
        "expand",
        "expand_as",
        "repeat",
        "chunk",
        "split",
        "unbind",
        "__getitem__",
        "select",
        "narrow",
        "pad",
        "roll",
        "flip",
        "view_as",
        "reshape_as",
        "type",
        "type_as",
        "__get__",
        "requires_grad",
        "moveaxis",
        "swapaxes",
        "swapdims",
        "ravel",
        "identity",
        "nan_to_num",
        "tile",
        "pixel_shuffle",
        "pixel_unshuffle",
        "channel_shuffle",
        "fold",
        "unfold",
        "gather",
        "index_select",
        "masked_select",
        "unsafe_chunk",
        "tensor_split",
        "dropout_off",
        "positive",
        "cpu",
        "cuda",
        "alias",
        "split_with_sizes",
        "upsample",
        "interpolate",
    ]
)
_RECURRENT: Final = frozenset(
    [
        "lstm",
        "gru",
        "rnn_tanh",
        "rnn_relu",
        "lstm_cell",
        "gru_cell",
        "rnn_tanh_cell",
        "rnn_relu_cell",
    ]
)
_ATTENTION: Final = frozenset(
    [
        "multi_head_attention_forward",
        "scaled_dot_product_attention",
        "softmax",
        "log_softmax",
        "_native_multi_head_attention",
        "_transformer_encoder_layer_fwd",
    ]
)
_MIXING: Final = frozenset(
    [
        "scatter",
        "scatter_add",
        "scatter_reduce",
        "index_add",
        "index_reduce",
        "index_put",
        "segment_reduce",
        "spmm",
        "_sparse_mm",
    ]
)
_DROPOUTS: Final = frozenset(["dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout"])
_ALPHA: Final = frozenset(["alpha_dropout", "feature_alpha_dropout"])
_PYTHON: Final = {
    "__add__": "add", "__radd__": "add", "__iadd__": "add", "__sub__": "sub", "__rsub__": "sub",
    "__isub__": "sub", "__mul__": "mul", "__rmul__": "mul", "__imul__": "mul",
    "__truediv__": "div", "__itruediv__": "div", "__div__": "div", "true_divide": "div",
    "multiply": "mul", "divide": "div", "subtract": "sub", "rsub": "sub", "arctan": "atan",
}  # fmt: skip
# Results that tell of a signal without being one.
_ASIDE: Final = frozenset(
    [
        "size",
        "dim",
        "numel",
        "is_floating_point",
        "stride",
        "item",
        "shape",
        "ndim",
        "device",
        "dtype",
        "grad",
        "grad_fn",
        "requires_grad_",
        "retain_grad",
        "tolist",
        "all",
        "any",
        "isnan",
        "isfinite",
        "equal",
        "allclose",
        "__len__",
    ]
)


class Call(NamedTuple):
    """One call of a torch function: what it is, and the facts."""

    kind: str
    name: str
    facts: dict[str, Any]


def base_name(function: Any) -> str:
    """Return a function's name without overload and without the mark of an in-place form."""
    name = str(getattr(function, "__name__", function)).partition(".")[0]
    name = _PYTHON.get(name, name)
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
    if name in _ASIDE:
        return None
    if str(getattr(function, "__module__", "")).startswith("torch._ops"):
        ours = _own_op(name, args, kwargs)
        if ours is not None:
            return ours
    if name in _ACTIVATIONS:
        facts = {"inplace": inplace, **_constants(name, args, kwargs)}
        # aten's elu has a scale: with one it is a SELU of another fixed point.
        scaled = name == "elu" and facts["scale"] != 1.0
        return Call("activation", "selu" if scaled else name, facts)
    if name in _WEIGHTS:
        return _weight(name, args, kwargs, is_signal)
    if name in _DROPOUTS or name in _ALPHA:
        facts = {
            "p": _argument(args, kwargs, 1, "p", 0.5),
            "training": _argument(args, kwargs, 2, "training", name in _DROPOUTS),
        }
        return Call("dropout" if name in _DROPOUTS else "alpha_dropout", name, facts)
    if name in _NORMS:
        return Call("norm", name, _norm(function, name, args, kwargs))
    if "pool" in name:
        return Call("pool", name, _pool(name, args, kwargs))
    if name in ("mean", "amax", "max") and _argument(args, kwargs, 1, "dim", None) is not None:
        return Call("pool", f"{name}_over_dims", {"size": None})
    if name in _RECURRENT:
        return Call("recurrent", name, {})
    if name in _ATTENTION:
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
    if name in _SHAPES:
        return Call("shape", name, {})
    if name in _MIXING:
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
