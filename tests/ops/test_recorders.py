"""What torch.jit.trace, its ONNX exporter and torch.fx write down of our functions."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

from selfnorm import functional, nn


class _Calls(torch.nn.Module):
    """Each function once, on more elements than torch's own kernels are taken for."""

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        y = functional.linear_selu(x, weight, var=0.3)
        y = functional.selu(functional.elu(y, 1.3) + functional.selu(y, var=2.0))
        y = functional.selu(y * 1.5, var=0.7, inplace=True)
        y = functional.selu(y - 0.1, inplace=True)
        return functional.alpha_dropout(functional.selu_dropout(y, 0.1, training=False), 0.1, False)


def _inputs() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.randn(300, 40, generator=g), torch.randn(70, 40, generator=g) / 6.0


def _traced(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is old, and a check of shapes is no branch
        traced: torch.jit.ScriptModule = torch.jit.trace(module, inputs)
    return traced


def test_a_trace_holds_torchs_operators_alone() -> None:
    x, weight = _inputs()
    traced = _traced(_Calls(), (x, weight))
    torch.testing.assert_close(traced(x[:7], weight), _Calls()(x[:7], weight))
    kinds = {node.kind() for node in traced.inlined_graph.nodes()}
    assert "aten::selu" in kinds
    assert {kind.split("::")[0] for kind in kinds} <= {"aten", "prim"}


def test_the_exporter_that_traces_knows_all_of_them() -> None:
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    x, weight = _inputs()
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is old, and a check of shapes is no branch
        torch.onnx.export(_Calls(), (x, weight), file, dynamo=False, input_names=["x", "weight"])
    session = runtime.InferenceSession(file.getvalue())
    (found,) = session.run(None, {"x": x.numpy(), "weight": weight.numpy()})
    np.testing.assert_allclose(found, _Calls()(x, weight).numpy(), atol=1e-5)


def test_convolutions_are_traced() -> None:
    net = nn.ConvSELU2d(3, 8, 3, generator=torch.Generator().manual_seed(0)).eval()
    x = torch.randn(2, 3, 9, 7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(_traced(net, (x,))(x), net(x))


def test_fx_takes_the_functions_as_calls() -> None:
    x, weight = _inputs()
    recorded = torch.fx.symbolic_trace(_Calls())
    assert torch.equal(recorded(x, weight), _Calls()(x, weight))
    targets = [node.target for node in recorded.graph.nodes if node.op == "call_function"]
    for function in (functional.linear_selu, functional.elu, functional.selu_dropout):
        assert function in targets
    assert targets.count(functional.selu) == 4


def test_fx_takes_a_network() -> None:
    net = nn.SNN(20, 3, width=30, depth=2, generator=torch.Generator().manual_seed(0)).eval()
    x = torch.randn(4, 20, generator=torch.Generator().manual_seed(1))
    assert torch.equal(torch.fx.symbolic_trace(net)(x), net(x))
