"""Python values as JSON and arrays, and back: a closed list of types, nothing that runs code."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from selfnorm import nn
from selfnorm.errors import DataError, SelfNormError
from selfnorm.train import Architecture

__all__ = ["Arrays", "decode", "encode"]

Arrays = dict[str, NDArray[Any]]

# What a safetensors file can hold and NumPy knows.
_KINDS: Final = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")
_DTYPES: Final = {"float32": torch.float32, "float64": torch.float64}
_SEPARATOR: Final = "/"


def encode(value: Any, name: str, arrays: Arrays) -> Any:
    """Write a value as JSON; what is an array goes to ``arrays`` under its name.

    None, bool, int, finite float and str stand for themselves, a list for a list. Everything else
    is a dict with one key that names the type, so that no type is lost on the way: floats that JSON
    has not, tuples, dicts, NumPy scalars and arrays, tensors, networks, preprocessors.

    Parameters
    ----------
    value : object
        What to write.
    name : str
        Where it belongs; names the arrays, and the value in a refusal.
    arrays : dict of str to ndarray
        Receives the arrays.

    Returns
    -------
    object
        Made of dict, list, str, int, float, bool and None.

    Raises
    ------
    DataError
        If the value or a part of it is of a type that is not on the list.
    """
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if type(value) is list:
        return _encode_all(value, name, arrays)
    if type(value) is tuple:
        return {"tuple": _encode_all(value, name, arrays)}
    if type(value) is dict:
        keys = _encode_all(value.keys(), f"{name} (keys)", arrays)
        return {"dict": [keys, _encode_all(value.values(), name, arrays)]}
    if isinstance(value, np.ndarray | np.generic):
        return _encode_array(value, name, arrays)
    if isinstance(value, torch.Tensor):
        return {"tensor": _put(value.detach().cpu().numpy(), name, arrays)}
    if type(value) is nn.SNN:
        return {"snn": _encode_network(value, name, arrays)}
    if callable(state := getattr(value, "to_state", None)):
        return {"preprocessor": state()}
    remedy = "set it to a number, text, list or array"
    if isinstance(value, np.random.RandomState | np.random.Generator):
        remedy = "a generator's state is no part of a model: set it to an int or None"
    raise DataError(
        f"a saved model must be made of plain values, however: {name}={_short(value)}; {remedy}"
    )


def _short(value: object) -> str:
    text = repr(value)
    return f"{text if len(text) < 80 else text[:77] + '...'} ({type(value).__name__})"


def _encode_all(values: Any, name: str, arrays: Arrays) -> list[Any]:
    return [encode(one, f"{name}{_SEPARATOR}{k}", arrays) for k, one in enumerate(values)]


def _put(array: NDArray[Any], name: str, arrays: Arrays) -> str:
    # An array's own byte order is that of the machine; the file's is little-endian.
    arrays[name] = np.array(array, dtype=array.dtype.newbyteorder("<"), order="C", copy=True)
    return name


def _encode_array(value: Any, name: str, arrays: Arrays) -> Any:
    shape, dtype = list(np.shape(value)), value.dtype
    tag = "array" if isinstance(value, np.ndarray) else "scalar"
    if dtype.str[1:] in _KINDS:
        return {tag: _put(np.asarray(value), name, arrays)}
    if dtype.kind == "U":
        return {tag: {"dtype": dtype.str[1:], "shape": shape, "items": np.ravel(value).tolist()}}
    if dtype.kind == "O" and tag == "array":
        items = _encode_all(value.ravel().tolist(), name, arrays)
        return {tag: {"dtype": "O", "shape": shape, "items": items}}
    raise DataError(
        "a saved model must have arrays of numbers, booleans, text or objects of these, however: "
        f"{name} has dtype={dtype}; convert it before fit"
    )


def _encode_network(net: nn.SNN, name: str, arrays: Arrays) -> dict[str, Any]:
    form = Architecture.of(net)
    for key, tensor in net.state_dict().items():
        _put(tensor.detach().cpu().numpy(), f"{name}{_SEPARATOR}{key}", arrays)
    return {
        "name": name,
        "sizes": list(form.sizes),
        "activation": form.activation,
        "fixed_point": list(form.moments),
        "dropout": form.dropout,
        "weight_init": form.weight_init,
        "bias": form.bias,
        "dtype": str(form.dtype).removeprefix("torch."),
    }


# ---- and back -------------------------------------------------------------------------------


def decode(record: Any, arrays: Arrays) -> Any:
    """Read what `encode` has written.

    Raises
    ------
    DataError
        If a record is of no known form, or an array is missing or of another shape.
    """
    if record is None or isinstance(record, bool | int | float | str):
        return record
    if isinstance(record, list):
        return [decode(one, arrays) for one in record]
    if not isinstance(record, dict) or len(record) != 1:
        raise _damaged(f"{_short(record)} is no value")
    ((tag, content),) = record.items()
    if tag not in _READERS:
        raise _damaged(f"{tag!r} is no type that this version knows")
    try:
        return _READERS[tag](content, arrays)
    except SelfNormError:
        raise
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise _damaged(f"a {tag} cannot be read ({error})") from error


def _damaged(what: str) -> DataError:
    return DataError(
        f"a saved model must hold what save() writes, however: {what}; save it again, or load it "
        "with the version of selfnorm that wrote it"
    )


def _decode_float(content: Any, arrays: Arrays) -> float:
    if content not in ("nan", "inf", "-inf"):
        raise _damaged(f"float {content!r}")
    return float(content)


def _decode_dict(content: Any, arrays: Arrays) -> dict[Any, Any]:
    keys, values = (decode(part, arrays) for part in content)
    return dict(zip(keys, values, strict=True))


def _decode_array(content: Any, arrays: Arrays) -> NDArray[Any]:
    if isinstance(content, str):
        array = arrays[content]
        return np.array(array, dtype=array.dtype.newbyteorder("="))  # writable, and our own
    dtype, shape, items = content["dtype"], tuple(content["shape"]), content["items"]
    if not isinstance(dtype, str) or not (dtype == "O" or dtype[:1] == "U"):
        raise _damaged(f"an array of type {dtype!r}")
    if dtype == "O":
        flat = np.empty(len(items), dtype=object)
        flat[:] = [decode(one, arrays) for one in items]
        return flat.reshape(shape)
    if not all(isinstance(one, str) for one in items):
        raise _damaged("an array of text with other things in it")
    longest = max((len(one) for one in items), default=0)
    # The width is free memory: it comes from the file, so it may not be larger than it needs.
    width = int(dtype[1:] or 0)
    if width > max(longest, 1) and width * len(items) > 1 << 26:
        raise _damaged(f"texts of width {width}")
    return np.array(items, dtype=f"U{width}").reshape(shape)


def _decode_scalar(content: Any, arrays: Arrays) -> Any:
    return _decode_array(content, arrays)[()]


def _decode_tensor(content: Any, arrays: Arrays) -> torch.Tensor:
    return torch.from_numpy(_decode_array(content, arrays))


def _decode_network(content: Any, arrays: Arrays) -> nn.SNN:
    form = Architecture(
        tuple(content["sizes"]),
        activation=content["activation"],
        fixed_point=tuple(content["fixed_point"]),
        dropout=content["dropout"],
        weight_init=content["weight_init"],
        bias=content["bias"],
        dtype=_DTYPES[content["dtype"]],
    )
    weights = _network_weights(content["name"], form, arrays)  # checked before memory is taken
    net = form.build()
    with torch.no_grad():
        for key, tensor in net.state_dict().items():
            tensor.copy_(torch.from_numpy(weights[key]))
    return net.eval()


def _network_weights(name: str, form: Architecture, arrays: Arrays) -> Arrays:
    """Return the network's arrays; refuse missing ones and other shapes."""
    inner = "" if form.activation == "selu" else "0."
    parts = [f"hidden.{k}.{inner}" for k in range(len(form.hidden))] + ["head."]
    kind = str(form.dtype).removeprefix("torch.")
    found: Arrays = {}
    for part, (fan_in, fan_out) in zip(parts, itertools.pairwise(form.sizes), strict=True):
        shapes = {"weight": (fan_out, fan_in), "bias": (fan_out,)}
        for key in ("weight", "bias") if form.bias else ("weight",):
            full = f"{name}{_SEPARATOR}{part}{key}"
            if full not in arrays:
                raise _damaged(f"the array {full!r} is missing")
            array = arrays[full]
            if array.shape != shapes[key] or array.dtype.name != kind:
                raise _damaged(f"{full!r} is {array.dtype.name} of shape {array.shape}")
            found[part + key] = _decode_array(full, arrays)
    return found


def _decode_preprocessor(content: Any, arrays: Arrays) -> Any:
    from selfnorm.tabular._preprocessing import Preprocessor

    return Preprocessor.from_state(content)


_READERS: Final[dict[str, Callable[[Any, Arrays], Any]]] = {
    "float": _decode_float,
    "tuple": lambda content, arrays: tuple(decode(content, arrays)),
    "dict": _decode_dict,
    "array": _decode_array,
    "scalar": _decode_scalar,
    "tensor": _decode_tensor,
    "snn": _decode_network,
    "preprocessor": _decode_preprocessor,
}
