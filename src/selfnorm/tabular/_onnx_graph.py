"""A thin layer over onnx.helper: nodes in, names out."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from selfnorm.errors import DataError, MissingDependencyError

__all__ = ["Graph"]

# The oldest sets that have all operators used here as they are used; older runtimes then serve.
_OPSET: Final = 18
_ML_OPSET: Final = 3
_PREFIX: Final = "selfnorm/"


class Graph:
    """An ONNX graph in the making; values are known by their names."""

    def __init__(self) -> None:
        try:
            self._onnx: Any = importlib.import_module("onnx")
        except ImportError as error:
            raise MissingDependencyError("onnx", extra="tabular", purpose="to_onnx") from error
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: dict[str, Any] = {}
        self._outputs: dict[str, Any] = {}

    def input(self, name: str, kind: type | np.dtype[Any], columns: int) -> str:
        """Declare an input of shape (rows, columns)."""
        if not name or name in self._inputs or name.startswith(_PREFIX):
            raise DataError(
                "an ONNX file needs distinct column names that are not empty, however: "
                f"column name={name!r}; rename the column and fit again"
            )
        self._inputs[name] = self._value(name, kind, ["rows", columns])
        return name

    def output(self, name: str, source: str, kind: type | np.dtype[Any], shape: list[Any]) -> None:
        """Declare an output that is some value."""
        if name in self._inputs:
            raise DataError(
                f"the output {name!r} needs its name, however: column name={name!r}; rename the "
                "column and fit again"
            )
        self._nodes.append(self._onnx.helper.make_node("Identity", [source], [name]))
        self._outputs[name] = self._value(name, kind, shape)

    def _value(self, name: str, kind: type | np.dtype[Any], shape: list[Any]) -> Any:
        return self._onnx.helper.make_tensor_value_info(name, self.type_of(kind), shape)

    def type_of(self, kind: type | np.dtype[Any]) -> int:
        """Return ONNX's number of an element type; str is text."""
        if kind is str:
            return int(self._onnx.TensorProto.STRING)
        return int(self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind)))

    def constant(self, value: NDArray[Any] | Sequence[Any], kind: Any = None) -> str:
        """Add a constant."""
        name = f"{_PREFIX}constant {len(self._constants)}"
        array = np.asarray(value, dtype=object if kind is str else kind)
        if array.dtype == object:
            tensor = self._onnx.helper.make_tensor(
                name, self.type_of(str), array.shape, [text.encode() for text in array.ravel()]
            )
        else:
            tensor = self._onnx.numpy_helper.from_array(np.asarray(array, order="C"), name)
        self._constants.append(tensor)
        return name

    def __call__(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node of one output."""
        name = f"{_PREFIX}{operator} {len(self._nodes)}"
        self._nodes.append(
            self._onnx.helper.make_node(
                operator, list(inputs), [name], name=name, domain=domain, **attributes
            )
        )
        return name

    def sort(self, source: str, count: int) -> str:
        """Sort the last axis, of length ``count``, upwards."""
        name = f"{_PREFIX}TopK {len(self._nodes)}"
        inputs = [source, self.constant([count], np.int64)]
        outputs = [name, f"{name} places"]
        self._nodes.append(self._onnx.helper.make_node("TopK", inputs, outputs, largest=0))
        return name

    def cast(self, source: str, kind: type | np.dtype[Any]) -> str:
        return self("Cast", source, to=self.type_of(kind))

    def build(self, *, version: str, about: str) -> bytes:
        """Return the model, checked by onnx."""
        helper = self._onnx.helper
        graph = helper.make_graph(
            self._nodes,
            "selfnorm",
            list(self._inputs.values()),
            list(self._outputs.values()),
            self._constants,
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
        model = helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=helper.find_min_ir_version_for(opsets),
            producer_name="selfnorm",
            producer_version=version,
            doc_string=about,
        )
        self._onnx.checker.check_model(model, full_check=True)
        content: bytes = model.SerializeToString()
        return content
