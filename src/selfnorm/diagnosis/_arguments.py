"""Inputs for a model: those a user gives, and one made up from the shape of the first layer."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from selfnorm.errors import DataError

__all__ = ["as_arguments", "guesses"]

_ROWS: Final = 4
_SIDES: Final = (32, 28, 64, 16, 224, 96, 48)
_LENGTHS: Final = (64, 256, 1024)


def as_arguments(model: nn.Module, x: Any, rows: int | None = None) -> tuple[list[Any], Any]:
    """Turn what a user gives as a batch into positional and keyword arguments of the model.

    Tensors and arrays become tensors of the model's device, floating-point ones of its data type;
    a tuple or list is several arguments, a mapping is keyword arguments.
    """
    if isinstance(x, Mapping):
        whole = _rows_of(x.values())
        return [], {str(key): _to_model(model, value, rows, whole) for key, value in x.items()}
    if isinstance(x, tuple | list):
        whole = _rows_of(x)
        return [_to_model(model, value, rows, whole) for value in x], {}
    return [_to_model(model, x, rows, None)], {}


def _rows_of(values: Iterable[Any]) -> int | None:
    """Return the number of rows of a batch: that of its first tensor or array of two dimensions."""
    shapes = [tuple(getattr(value, "shape", ())) for value in values]
    return next((shape[0] for shape in shapes if len(shape) > 1), None)


def _to_model(model: nn.Module, value: Any, rows: int | None, whole: int | None) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype == object or value.dtype.kind in "USO":
            raise DataError(
                "x must be numbers, however: an array of "
                f"dtype={value.dtype} came; encode texts as numbers first"
            )
        value = torch.from_numpy(np.ascontiguousarray(value))
    if not isinstance(value, Tensor):
        return value
    if rows is not None and (value.dim() > 1 or (value.dim() == 1 and len(value) == whole)):
        value = value[:rows]
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    if parameter is None:
        return value
    dtype = parameter.dtype if value.is_floating_point() else value.dtype
    if value.device.type == "meta" and parameter.device.type != "meta":
        return value
    # A copy: a model may write over its input.
    return value.detach().to(device=parameter.device, dtype=dtype, copy=True)


def guesses(model: nn.Module) -> Iterator[list[Tensor]]:
    """Yield inputs that the model may take, judged by its first layer."""
    wanted = _argument_count(model)
    layers = [m for m in model.modules() if _is_entry(m)]
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    if parameter is None or not layers or wanted is None:
        return
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        numbers = torch.randn(shape, generator=generator)
        return numbers.to(device=parameter.device, dtype=parameter.dtype)

    if wanted > 1:
        yield from _several(layers, wanted, draw)
        return
    sizes = [m.in_features for m in layers if isinstance(getattr(m, "in_features", None), int)]
    for layer in layers[:2]:
        for x in _shapes(layer, sizes, draw, parameter.device):
            yield [x]


def _shapes(layer: Any, sizes: Sequence[Any], draw: Any, device: torch.device) -> Iterator[Tensor]:
    """Yield inputs for a first layer; ``sizes`` are those of all linear layers."""
    if isinstance(getattr(layer, "num_embeddings", None), int):
        most, dim = layer.num_embeddings, getattr(layer, "embedding_dim", 0) or 1
        flat = [size // dim for size in sizes if size % dim == 0 and size > dim]
        for length in (16, *flat, 64):
            yield torch.arange(_ROWS * length, device=device).remainder(most).view(_ROWS, length)
    elif isinstance(layer, nn.RNNBase):
        yield draw(_ROWS, 8, layer.input_size)
    elif isinstance(layer, nn.modules.conv._ConvNd):
        channels, spatial = layer.in_channels, len(layer.kernel_size)
        sides = {1: _LENGTHS, 2: _SIDES, 3: (16, 32)}[spatial]
        for side in sides:
            yield draw(_ROWS, channels, *(side,) * spatial)
    elif isinstance(layer, nn.modules.batchnorm._NormBase):
        yield draw(_ROWS, layer.num_features)
    elif isinstance(layer, nn.LayerNorm):
        yield draw(_ROWS, *layer.normalized_shape)
        yield draw(_ROWS, 8, *layer.normalized_shape)
    elif isinstance(layer, nn.TransformerEncoderLayer):
        yield draw(_ROWS, 8, layer.self_attn.embed_dim)
    else:
        features = int(layer.in_features)
        yield draw(_ROWS, features)
        yield draw(_ROWS, 8, features)


def _several(layers: Sequence[nn.Module], wanted: int, draw: Any) -> Iterator[list[Tensor]]:
    """Yield guesses for forward(x, t): the first layer takes x, or x and t side by side."""
    sizes = [int(m.in_features) for m in layers if isinstance(m, nn.Linear)]
    if not sizes or wanted > 3:
        return
    first, rest = sizes[0], wanted - 1
    if first > rest:
        yield [draw(_ROWS, first - rest), *(draw(_ROWS, 1) for _ in range(rest))]
        yield [draw(_ROWS, first - rest), *(draw(_ROWS) for _ in range(rest))]
    yield [draw(_ROWS, first), *(draw(_ROWS, 1) for _ in range(rest))]
    yield [draw(_ROWS, first), *(draw(_ROWS) for _ in range(rest))]
    if len(sizes) > 1:
        yield [draw(_ROWS, size) for size in sizes[:wanted]]
    if first > rest and first % wanted == 0:
        yield [draw(_ROWS, first // wanted) for _ in range(wanted)]


def _is_entry(module: nn.Module) -> bool:
    kinds = (
        nn.Embedding,
        nn.EmbeddingBag,
        nn.RNNBase,
        nn.modules.conv._ConvNd,
        nn.modules.batchnorm._NormBase,
        nn.LayerNorm,
        nn.TransformerEncoderLayer,
    )
    return isinstance(module, kinds) or any(
        isinstance(getattr(module, name, None), int) for name in ("in_features", "num_embeddings")
    )


def _argument_count(model: nn.Module) -> int | None:
    """Count the arguments that forward needs."""
    try:
        signature = inspect.signature(getattr(model, "_orig_mod", model).forward)
    except (TypeError, ValueError):
        return None
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [
        one
        for one in signature.parameters.values()
        if one.kind in plain and one.default is inspect.Parameter.empty
    ]
    variable = any(
        one.kind is inspect.Parameter.VAR_POSITIONAL for one in signature.parameters.values()
    )
    optional = any(one.kind in plain for one in signature.parameters.values())
    return len(needed) or (1 if variable or optional else None)
