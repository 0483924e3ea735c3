"""The preprocessing as part of an ONNX graph."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfnorm.errors import DataError
from selfnorm.tabular._bins import Bins
from selfnorm.tabular._onnx_graph import Graph
from selfnorm.tabular._preprocessing import CategoryColumn, NumberColumn, Preprocessor
from selfnorm.tabular._preprocessing._numbers import BOUND, NumberArrays

__all__ = ["add_preprocessing", "takes_a_matrix"]


def takes_a_matrix(preprocessor: Preprocessor) -> bool:
    """Tell whether one input of numbers serves; texts and dates need an input for each column."""
    return all(
        column.kind == "number" if isinstance(column, NumberColumn) else column.numeric
        for column in preprocessor.columns
    )


def add_preprocessing(graph: Graph, preprocessor: Preprocessor) -> str:
    """Add inputs and the nodes that transform them; return the float32 matrix.

    Numbers are scaled in float64 as the preprocessing does it, whatever type they come in.
    """
    columns = preprocessor.columns
    numbers = [c for c in columns if isinstance(c, NumberColumn)]
    categories = [c for c in columns if isinstance(c, CategoryColumn)]
    arrays = NumberArrays.of(numbers)
    if takes_a_matrix(preprocessor):
        X = graph.input("X", np.float32, len(columns))
        rows = X
        used = _columns(graph, graph.cast(X, np.float64), arrays.used)
        parts = [_numbers(graph, used, arrays)] if arrays.width else []
        parts += [
            _numeric_category(graph, _columns(graph, X, np.array([c.index])), c, np.float32)
            for c in categories
            if c.width
        ]
    else:
        inputs = {}
        for column in columns:
            is_text = isinstance(column, CategoryColumn) and not column.numeric
            inputs[column.index] = graph.input(column.name, str if is_text else np.float64, 1)
        rows = inputs[0]
        parts = []
        if arrays.width:
            used = graph("Concat", *(inputs[k] for k in arrays.used.tolist()), axis=1)
            parts.append(_numbers(graph, used, arrays))
        parts += [
            _numeric_category(graph, inputs[c.index], c, np.float64)
            if c.numeric
            else _text_category(graph, inputs[c.index], c)
            for c in categories
            if c.width
        ]
    if not parts:  # no column tells anything: the column of zeros
        count = graph("Shape", rows, start=0, end=1)
        shape = graph("Concat", count, graph.constant([1], np.int64), axis=0)
        return graph("Expand", graph.constant([0.0], np.float32), shape)
    found = parts[0] if len(parts) == 1 else graph("Concat", *parts, axis=1)
    bins = preprocessor.bins
    return found if bins is None else graph("Concat", found, _bins(graph, found, bins), axis=1)


def _bins(graph: Graph, rows: str, bins: Bins) -> str:
    """Add the piecewise linear features, in the order of operations that `Bins` has."""
    state = bins._fitted()
    t = _columns(graph, rows, state["column"])
    for operator, name in (("Sub", "start"), ("Mul", "slope")):
        t = graph(operator, t, graph.constant(state[name], np.float32))
    low, high = (graph.constant(np.array(bound, dtype=np.float32)) for bound in (0.0, 1.0))
    t = graph("Clip", t, low, high)
    for operator, name in (("Mul", "factor"), ("Add", "summand")):
        t = graph(operator, t, graph.constant(state[name], np.float32))
    return t


def _columns(graph: Graph, source: str, places: NDArray[np.intp]) -> str:
    return graph("Gather", source, graph.constant(places, np.int64), axis=1)


def _numbers(graph: Graph, used: str, arrays: NumberArrays) -> str:
    """Scale, clip, standardise; then the indicators of what is missing."""
    parts = []
    missing = graph("IsNaN", used)
    if len(arrays.valued):
        values, gaps = used, missing
        if len(arrays.valued) < len(arrays.used):
            values = _columns(graph, used, arrays.valued)
            gaps = _columns(graph, missing, arrays.valued)
        center = graph.constant(arrays.center)
        z = graph("Sub", graph("Where", gaps, center, values), center)
        z = graph("Div", z, graph.constant(arrays.scale))
        # The preprocessing's own limits: infinity is as good as a hundred million deviations.
        limits = (graph.constant(np.array(-1e8)), graph.constant(np.array(1e8)))
        z = graph("Clip", z, *limits)
        root = graph("Mul", z, graph.constant(np.array(1 / BOUND)))
        root = graph("Add", graph("Mul", root, root), graph.constant(np.array(1.0)))
        z = graph("Div", z, graph("Sqrt", root))
        z = graph("Sub", z, graph.constant(arrays.mean))
        parts.append(graph.cast(graph("Mul", z, graph.constant(arrays.gain)), np.float32))
    if len(arrays.flagged):
        told = graph.cast(_columns(graph, missing, arrays.flagged), np.float64)
        told = graph("Sub", told, graph.constant(arrays.rate))
        parts.append(graph.cast(graph("Mul", told, graph.constant(arrays.flag_gain)), np.float32))
    return parts[0] if len(parts) == 1 else graph("Concat", *parts, axis=1)


def _numeric_category(graph: Graph, source: str, column: CategoryColumn, kind: type) -> str:
    """Compare with each level: a value that equals none has all coordinates 0, as it should."""
    levels = [float(level) for level in column.levels if level is not None]
    keys: NDArray[Any] = np.array(levels).astype(kind)
    if len(np.unique(keys)) < len(keys):
        raise DataError(
            "the categories of an ONNX file with one matrix must differ as float32, however: "
            f"column {column.name!r} has levels that coincide; fit on text in place of numbers"
        )
    found = graph("Equal", source, graph.constant(keys))
    if None in column.levels:
        found = graph("Concat", found, graph("IsNaN", source), axis=1)
    codes = graph.constant(column.codes, np.float32)
    return graph("MatMul", graph.cast(found, np.float32), codes)


def _text_category(graph: Graph, source: str, column: CategoryColumn) -> str:
    """Look the text up; the empty text is the missing value unless it is a level."""
    count = len(column.levels)
    place = {level: k for k, level in enumerate(column.levels) if level is not None}
    if None in column.levels:
        place.setdefault("", count - 1)
    places = graph(
        "LabelEncoder",
        source,
        domain="ai.onnx.ml",
        keys_strings=list(place),
        values_int64s=list(place.values()),
        default_int64=count,
    )
    codes = np.zeros((count + 1, column.width), dtype=np.float32)
    codes[:-1] = column.codes
    found = graph("Gather", graph.constant(codes), places, axis=0)
    return graph("Reshape", found, graph.constant([-1, column.width], np.int64))
