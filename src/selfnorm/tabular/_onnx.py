"""Fitted estimators as ONNX files, preprocessing inside."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import selfnorm
from selfnorm import nn
from selfnorm._files import write_atomically
from selfnorm.errors import DataError
from selfnorm.tabular._onnx_graph import Graph
from selfnorm.tabular._onnx_preprocessing import add_preprocessing, takes_a_matrix
from selfnorm.train._architecture import layers_of

if TYPE_CHECKING:
    from selfnorm.tabular._estimator import Estimator

__all__ = ["export"]

_ABOUT_MATRIX = "X: one row per sample, one column per feature, NaN where a value is missing."
_ABOUT_COLUMNS = (
    "One input of shape (rows, 1) per column. Numbers: float64, NaN where missing; booleans as 0 "
    "and 1; dates as seconds since 1970-01-01 UTC, durations as seconds. Categories: text, the "
    "empty text where missing."
)


def export(estimator: Estimator, path: str | os.PathLike[str]) -> Path:
    """Write a fitted estimator to an ONNX file.

    Parameters
    ----------
    estimator : SNNClassifier or SNNRegressor
        Fitted.
    path : str or path-like
        The file.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    DataError
        If column names are not distinct or are those of the outputs, or the classes are neither
        numbers nor texts.
    MissingDependencyError
        If onnx is not installed.

    Notes
    -----
    Inputs: ``X``, float32 of shape (rows, features), where all columns are numbers. Else one input
    of shape (rows, 1) per column under the column's name: text for categories, with the empty
    text where one is missing; float64 for all others, NaN where missing, dates as seconds since
    1970-01-01 UTC. Outputs: ``label`` and ``probabilities`` of a classifier, ``variable`` of a
    regressor, as scikit-learn's converters name them; where quantiles were trained, also all of
    them as ``quantiles``, shape (rows, targets, quantiles). Infinities, which the estimator
    refuses, are clipped. Outputs are float32, which has seven digits: of a target whose mean is
    large beside its spread, few are left.
    """
    graph = Graph()
    rows = add_preprocessing(graph, estimator.preprocessor_)
    outputs = _mean_output(graph, rows, estimator.networks_)
    scale, shift = estimator._scaling()
    outputs = graph.cast(outputs, np.float64)
    outputs = graph("Mul", outputs, graph.constant(scale, np.float64))
    outputs = graph("Add", outputs, graph.constant(shift, np.float64))
    linear = estimator._linear_part()
    if linear is not None:
        part = graph("MatMul", graph.cast(rows, np.float64), graph.constant(linear, np.float64))
        outputs = graph("Add", outputs, part)
    if estimator.out_activation_ == "identity":
        _add_numbers(graph, outputs, estimator)
    else:
        _add_classes(graph, outputs, estimator)
    matrix = takes_a_matrix(estimator.preprocessor_)
    about = _ABOUT_MATRIX if matrix else _ABOUT_COLUMNS
    return write_atomically(path, graph.build(version=selfnorm.__version__, about=about))


def _mean_output(graph: Graph, rows: str, networks: Sequence[nn.SNN]) -> str:
    """Apply all members at once, weights stacked, and average; shape (rows, outputs)."""
    first = networks[0]
    h = rows
    if first.input_scale != 1.0:
        h = graph("Mul", h, graph.constant(np.array(first.input_scale, dtype=np.float32)))
    layers = list(zip(*(layers_of(network) for network in networks), strict=True))
    for index, layer in enumerate(layers):
        if index:
            h = _activation(graph, h, first)
        weight = np.stack([w.detach().cpu().numpy().T for w, _ in layer])
        h = graph("MatMul", h, graph.constant(weight, np.float32))
        biases = [b.detach().cpu().numpy() for _, b in layer if b is not None]
        if biases:
            h = graph("Add", h, graph.constant(np.stack(biases)[:, None], np.float32))
    return graph("ReduceMean", h, graph.constant([0], np.int64), keepdims=0)


def _activation(graph: Graph, source: str, network: nn.SNN) -> str:
    if network.activation == "selu":
        constants = nn.SELU(*network.fixed_point)
        return graph("Selu", source, alpha=constants.alpha, gamma=constants.scale)
    if network.activation == "elu":
        return graph("Elu", source, alpha=1.0)
    if network.activation == "leaky_relu":
        return graph("LeakyRelu", source, alpha=0.01)
    return graph("Relu", source)  # layers_of refuses any other


def _add_numbers(graph: Graph, outputs: str, estimator: Any) -> None:
    """Add the output variable, and that of all quantiles, in order."""
    count, levels = estimator.n_outputs_, estimator.quantiles_
    if levels is not None:
        shape = graph.constant([-1, count, len(levels)], np.int64)
        ordered = graph.sort(graph("Reshape", outputs, shape), len(levels))
        outputs = graph(
            "Gather", ordered, graph.constant(np.array(estimator._pick(None)), np.int64), axis=2
        )
        found = graph.cast(ordered, np.float32)
        graph.output("quantiles", found, np.float32, ["rows", count, len(levels)])
    graph.output("variable", graph.cast(outputs, np.float32), np.float32, ["rows", count])


def _add_classes(graph: Graph, logits: str, estimator: Any) -> None:
    """Add the outputs label and probabilities."""
    count = estimator.n_outputs_
    if estimator.out_activation_ == "softmax":
        label, kind = _label(graph, graph("ArgMax", logits, axis=1, keepdims=0), estimator)
        probabilities = graph("Softmax", logits, axis=1)
        shape: list[Any] = ["rows"]
    else:
        positive = graph("Greater", logits, graph.constant(np.array(0.0)))
        positive = graph.cast(positive, np.int64)
        probabilities = graph("Sigmoid", logits)
        if count == 1:
            chosen = graph("Reshape", positive, graph.constant([-1], np.int64))
            label, kind = _label(graph, chosen, estimator)
            negative = graph("Sigmoid", graph("Neg", logits))
            probabilities = graph("Concat", negative, probabilities, axis=1)
            shape, count = ["rows"], 2
        else:  # several labels a row
            label, kind, shape = positive, np.int64, ["rows", count]
    graph.output("label", label, kind, shape)
    found = graph.cast(probabilities, np.float32)
    graph.output("probabilities", found, np.float32, ["rows", count])


def _label(graph: Graph, chosen: str, estimator: Any) -> tuple[str, type]:
    classes, kind = _classes(estimator.classes_)
    return graph("Gather", graph.constant(classes, kind), chosen), kind


def _classes(classes: NDArray[Any]) -> tuple[NDArray[Any], type]:
    """Return the classes in a type that ONNX has, and that type."""
    if classes.dtype.kind in "iu":
        return classes, np.int64
    if classes.dtype.kind == "b":
        return classes, np.bool_
    if classes.dtype.kind == "f":
        return classes, np.float64
    if all(isinstance(label, str) for label in classes.tolist()):
        return classes.astype(object), str
    raise DataError(
        "to_onnx needs classes that are all numbers or all texts, however: "
        f"classes_={classes.tolist()!r:.80}; convert y"
    )
