"""Data in the forms in which people have it, as batches for a model."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from selfnorm.diagnosis._arguments import as_arguments
from selfnorm.diagnosis._trace import tensors_in
from selfnorm.errors import DataError

__all__ = ["Batch", "batches_of", "first_batch"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Arguments of one call of a model, and the target if there is one."""

    args: list[Any]
    kwargs: dict[str, Any]
    target: Any
    rows: int


def batches_of(
    model: nn.Module, data: Any, *, batch_size: int, max_rows: int | None
) -> Iterator[Batch]:
    """Yield batches until ``max_rows`` rows have gone.

    Parameters
    ----------
    model : torch.nn.Module
        The model; the arguments of its ``forward`` tell inputs from targets.
    data : tensor, array, tuple, mapping or iterable
        One tensor or array; a tuple (X, y) or (x, t, …) or a mapping of such of one length, of
        which a key at least is an argument; or a list, DataLoader or other iterable of batches of
        these forms.
    batch_size : int
        Rows at a time, for data that do not come in batches.
    max_rows : int or None
        After how many rows to stop.

    Yields
    ------
    Batch
        With at least one row.

    Raises
    ------
    DataError
        If there is no row, or the data are of another form, or sparse.
    """
    if isinstance(data, Tensor | tuple | Mapping):
        _check_dense(data)
    gone = 0
    for part in _parts(data, batch_size):
        batch = _batch(model, part)
        if batch.rows:
            yield batch
            gone += batch.rows
        if max_rows is not None and gone >= max_rows:
            return
    if not gone:
        raise DataError(
            "data must have at least one row, however: it has none; an iterator that was used "
            "up before has none either"
        )


def _parts(data: Any, batch_size: int) -> Iterator[Any]:
    piece: list[Any]
    if isinstance(data, Tensor | np.ndarray):
        for start in range(0, len(data) if data.ndim else 0, batch_size):
            yield data[start : start + batch_size]
    elif isinstance(data, tuple) or (
        isinstance(data, Mapping) and all(isinstance(v, Tensor | np.ndarray) for v in data.values())
    ):
        values = list(data.values()) if isinstance(data, Mapping) else list(data)
        length = _one_length(values)
        for start in range(0, length, batch_size):
            piece = [value[start : start + batch_size] for value in values]
            named = isinstance(data, Mapping)
            yield dict(zip(data, piece, strict=True)) if named else tuple(piece)
    elif isinstance(data, Iterable) and not isinstance(data, str | bytes):
        yield from data
    else:
        raise DataError(
            "data must be a tensor, an array, a tuple (X, y), a mapping or an iterable of batches, "
            f"however: a {type(data).__name__} came; wrap a dataset in a torch DataLoader"
        )


def _one_length(values: list[Any]) -> int:
    lengths = {len(v) for v in values if isinstance(v, Tensor | np.ndarray) and v.ndim}
    if len(lengths) != 1 or not all(isinstance(v, Tensor | np.ndarray) for v in values):
        raise DataError(
            "a tuple or mapping of data must hold tensors or arrays of one length, however: "
            f"the lengths are {sorted(lengths)}; give batches of other forms as a list"
        )
    return int(lengths.pop())


def first_batch(model: nn.Module, data: Any, rows: int) -> Batch:
    """Return one batch, at most so many rows: the data themselves, or the first of a loader."""
    one = (Tensor, np.ndarray, tuple, list, Mapping)
    batch = None
    if isinstance(data, Iterable) and not isinstance(data, (*one, str, bytes)):
        data = next(iter(data), None)
    if data is not None:
        batch = _batch(model, data, rows)
    if batch is None or not batch.rows:
        raise DataError(
            "data must have at least one row, however: it has none; an iterator that was used "
            "up before has none either"
        )
    return batch


def _check_dense(data: Any) -> None:
    for tensor in tensors_in(data):
        if "sparse" in str(tensor.layout):
            raise DataError(
                f"data must be dense tensors, however: one of layout={tensor.layout} and "
                f"shape={tuple(tensor.shape)} came; pass it as .to_dense(), some rows of it if it "
                "is large"
            )


def _batch(model: nn.Module, part: Any, rows: int | None = None) -> Batch:
    _check_dense(part)
    parameters = _parameters(model)
    target: Any = None
    if isinstance(part, Mapping):
        known: Any = {k: v for k, v in part.items() if parameters is None or k in parameters}
        if not known and any(isinstance(v, Tensor | np.ndarray) for v in part.values()):
            raise DataError(
                f"a batch must have keys that the model's forward takes ({_listed(parameters)}), "
                f"however: keys={list(part)}; rename them, or pass the tensors as a tuple (X, y)"
            )
        rest = [v for k, v in part.items() if not isinstance(known, Mapping) or k not in known]
        target = next((v for v in rest if isinstance(v, Tensor | np.ndarray)), None)
        part = known
    elif isinstance(part, tuple | list):
        needed = _needed(model)
        if len(part) > needed:
            part, target = tuple(part[:needed]), part[needed]
        if len(part) == 1:
            part = part[0]
    args, kwargs = as_arguments(model, part, rows)
    if isinstance(target, np.ndarray):
        target = torch.from_numpy(target)
    tensors = list(tensors_in((args, kwargs)))
    if not tensors:
        raise DataError(
            f"a batch must contain a tensor or an array, however: a {type(part).__name__} came; "
            "convert it first"
        )
    count = int(tensors[0].shape[0]) if tensors[0].dim() else 1
    return Batch(args, kwargs, target, count)


def _listed(names: Iterable[str] | None) -> str:
    return ", ".join(map(str, names or ())) or "none"


def _parameters(model: nn.Module) -> list[str] | None:
    """Names that ``forward`` takes as keywords; None if it takes any."""
    try:
        signature = inspect.signature(getattr(model, "_orig_mod", model).forward)
    except (TypeError, ValueError):
        return None
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values()):
        return None
    apart = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY)
    return [name for name, one in signature.parameters.items() if one.kind not in apart]


def _needed(model: nn.Module) -> int:
    """Count the arguments that ``forward`` needs; at least one."""
    try:
        signature = inspect.signature(getattr(model, "_orig_mod", model).forward)
    except (TypeError, ValueError):
        return 1
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return max(
        1,
        sum(
            one.kind in plain and one.default is inspect.Parameter.empty
            for one in signature.parameters.values()
        ),
    )
