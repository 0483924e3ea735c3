"""The monitor: right numbers, no trace in the training, drift told once."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfnorm import nn as snn
from selfnorm.diagnosis import Monitor
from selfnorm.errors import DomainError


def net(seed: int = 0) -> Any:
    model = nn.Sequential(
        nn.Linear(5, 7), nn.SELU(), nn.AlphaDropout(0.2), snn.LinearSELU(7, 4), nn.Linear(4, 3)
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return model


def batch(seed: int, rows: int = 11) -> Tensor:
    return torch.randn(rows, 5, generator=torch.Generator().manual_seed(seed))


def train(model: nn.Module, monitor: Any, steps: int, **how: Any) -> None:
    torch.manual_seed(3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    watch = monitor(model, optimizer) if monitor is not None else None
    for step in range(steps):
        optimizer.zero_grad()
        model(batch(step)).square().sum().backward()
        optimizer.step()
        if how.get("validate"):
            model.eval()(batch(99))
            model.train()
    if watch is not None:
        watch.close()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_training_is_bit_identical() -> None:
    plain, watched = net(), net()
    torch.manual_seed(4)
    train(plain, None, 5)
    after = torch.get_rng_state()
    train(watched, lambda m, o: Monitor(m, every=2, optimizer=o), 5, validate=True)
    assert torch.equal(torch.get_rng_state(), after)
    for one, other in zip(plain.parameters(), watched.parameters(), strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one.grad, other.grad)
    assert not any(m._forward_hooks for m in watched.modules())


def test_numbers_are_those_of_numpy() -> None:
    model = net()
    monitor = Monitor(model, rows=6, warn=False)
    kept: dict[str, Tensor] = {}
    for path, module in (("0", model[1]), ("3", model[3]), ("4", model[4])):
        module.register_forward_hook(lambda _m, _i, out, path=path: kept.update({path: out}))
    model(batch(1)).square().sum().backward()
    record = monitor.step()
    assert record is not None
    assert (record["step"], [layer["layer"] for layer in record["layers"]]) == (1, ["0", "3", "4"])
    assert [layer["activation"] for layer in record["layers"]] == ["SELU", "LinearSELU", ""]
    for layer in record["layers"]:
        out = kept[layer["layer"]].detach().double().numpy()[:6]
        weight = model.get_submodule(layer["layer"]).weight
        assert isinstance(weight, Tensor)
        rows = weight.detach().double().numpy()
        assert weight.grad is not None
        expected = {
            "mean": out.mean(),
            "var": out.var(),
            "weight_sum": rows.sum(1).mean(),
            "weight_sumsq": (rows**2).sum(1).mean(),
            "weight_sumsq_low": (rows**2).sum(1).min(),
            "weight_sumsq_high": (rows**2).sum(1).max(),
            "gradient_norm": np.sqrt((weight.grad.double().numpy() ** 2).sum()),
        }
        got = {name: layer[name] for name in expected}
        assert got == pytest.approx(expected, rel=2e-6, abs=1e-7)
    monitor.close()


def test_only_the_steps_asked_for_are_measured_and_hooked() -> None:
    model = net()
    monitor = Monitor(model, every=3, warn=False)
    hooked = []
    for step in range(8):
        hooked.append(any(m._forward_hooks for m in model.modules()))
        model(batch(step)).sum().backward()
        monitor.step()
    assert hooked == [True, False, False, True, False, False, True, False]
    assert [record["step"] for record in monitor.records] == [1, 4, 7]
    monitor.close()


def test_an_exception_leaves_no_hook() -> None:
    model = net()
    with pytest.raises(KeyError), Monitor(model):
        raise KeyError
    assert not any(m._forward_hooks for m in model.modules())


def test_drift_is_told_once_per_layer() -> None:
    model = net()
    with torch.no_grad():
        for layer, tau in ((model[0], 0.40), (model[3], 1.9), (model[4], 0.01)):
            layer.weight.mul_((tau / layer.weight.square().sum(1, keepdim=True)).sqrt())
    monitor = Monitor(model, every=1)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model(batch(1))
        monitor.step()
    assert [str(one.message)[:11] for one in told] == ["warning: 0:", "warning: 3:"]
    assert "sum to 0.4 on average, below the range (0.477, 1.81)" in str(told[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(batch(2))
        monitor.step()
    assert [(f.code, f.place) for f in monitor.findings] == [
        ("weight-decay-drift", "0"),
        ("weight-decay-drift", "3"),
    ]
    assert monitor.findings[1].evidence["weight_sumsq"] == pytest.approx(1.9)
    assert "above" in monitor.findings[1].message
    assert len(monitor.records[0]["findings"]) == 2
    assert monitor.records[1]["findings"] == []
    monitor.close()


def test_weights_that_are_no_numbers_are_not_drift() -> None:
    model = net()
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    with Monitor(model, every=1, warn=False) as monitor:
        model(batch(1))
        monitor.step()
    assert [(f.code, f.place) for f in monitor.findings] == [("not-finite", "0")]


def test_the_range_is_that_of_the_layers_own_selu() -> None:
    """The range of SELU(var=.1) is (.677, 1.69): .5 lies outside, within that of the usual one."""
    model: Any = nn.Sequential(nn.Linear(6, 8), snn.SELU(var=0.1), nn.Linear(8, 8), nn.SELU())
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight.mul_((0.5 / layer.weight.square().sum(1, keepdim=True)).sqrt())
    monitor = Monitor(model, warn=False)
    model(torch.randn(4, 6, generator=torch.Generator().manual_seed(0)))
    monitor.step()
    assert [f.place for f in monitor.findings] == ["0"]
    monitor.close()


class Functional(nn.Module):
    """A net whose forward calls its activations as functions, as many write it."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Linear(5, 7), nn.Linear(7, 6), nn.Linear(6, 3)
        self.fused, self.gate, self.last = snn.LinearSELU(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.act = snn.SELU(var=0.1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.selu(self.two(F.selu(self.one(x))))
        x = F.leaky_relu(self.gate(self.fused(self.act(self.three(x)))), 0.3)
        out: Tensor = self.last(x)
        return out


def test_activations_called_as_functions_are_seen() -> None:
    model = Functional()
    with torch.no_grad():
        for layer in (model.one, model.two, model.three):
            layer.weight.mul_((0.5 / layer.weight.square().sum(1, keepdim=True)).sqrt())
        model.two.weight.mul_(0.3**0.5)
    monitor = Monitor(model, warn=False)
    x = batch(5)
    with pytest.raises(RuntimeError, match="shapes"):
        model(batch(5)[:, :3])  # an exception ends the watch as well
    assert not torch._C._len_torch_function_stack()
    model(x)
    record = monitor.step()
    assert record is not None
    found = [(one["layer"], one["activation"], one["of"]) for one in record["layers"]]
    assert found == [
        ("one", "selu", "activation"),
        ("two", "selu", "activation"),
        ("three", "SELU", "activation"),
        ("fused", "LinearSELU", "activation"),
        ("gate", "leaky_relu", "activation"),
        ("last", "", "pre-activation"),
    ]
    out = torch.selu(model.one(x)).detach().double().numpy()
    assert record["layers"][0]["mean"] == pytest.approx(out.mean(), rel=1e-5)
    assert record["layers"][0]["var"] == pytest.approx(out.var(), rel=1e-5)
    # .5 lies within the range of the usual SELU, outside that of SELU(var=.1).
    places = [f.place for f in monitor.findings if f.code == "weight-decay-drift"]
    assert places[:2] == ["two", "three"]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    monitor.close()


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "new" / "run.jsonl"
    path.parent.mkdir()
    path.write_bytes(b'{"step": 1}\n{"st')  # what a killed process left
    model = net()
    with torch.no_grad():
        model[4].bias.fill_(math.inf)
    with Monitor(model, every=1, log=path, warn=False) as monitor:
        for step in range(2):
            model(batch(step))
            monitor.step()
            assert len(path.read_text().splitlines()) == 3 + step
    lines = path.read_text().splitlines()
    assert lines[1] == '{"st'
    records = [json.loads(line) for line in (lines[0], *lines[2:])]
    assert [record["step"] for record in records] == [1, 1, 2]
    assert records[1]["layers"][2]["mean"] is None
    assert records[1]["layers"][0]["var"] == monitor.records[0]["layers"][0]["var"]


def test_a_callable_and_a_writer() -> None:
    calls: list[Any] = []
    scalars: list[tuple[str, float, int]] = []

    class Writer:
        def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
            scalars.append((tag, scalar_value, global_step))

    model = net()
    with Monitor(model, log=calls.append, warn=False) as one, Monitor(model, log=Writer()) as two:
        model(batch(0))
        one.step()
        two.step()
    assert calls == list(one.records)
    assert ("selfnorm/3/var", two.records[0]["layers"][1]["var"], 1) in scalars
    assert len({tag for tag, *_ in scalars}) == len(scalars) == 3 * 6


def test_tensorboard_takes_it(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from torch.utils.tensorboard import SummaryWriter

    model = net()
    with SummaryWriter(str(tmp_path)) as writer, Monitor(model, log=writer, warn=False) as monitor:
        model(batch(0))
        monitor.step()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) > 500


def test_shared_layers_evaluation_and_other_outputs() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.act = nn.Linear(5, 5), nn.SELU()
            self.rnn = nn.LSTM(5, 3, batch_first=True)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            y = self.act(self.layer(self.act(self.layer(x))))
            out, _ = self.rnn(y.unsqueeze(1))
            return {"out": out}

    model = Odd()
    with Monitor(model, every=1, warn=False) as monitor:
        model(batch(0))["out"].sum().backward()
        first = monitor.step()
        model.eval()(batch(1))
        second = monitor.step()
    assert first is not None
    assert second is not None
    assert [layer["layer"] for layer in first["layers"]] == ["layer"]
    assert "mean" in first["layers"][0]
    assert "mean" not in second["layers"][0]


def test_a_compiled_model_is_watched_by_its_weights() -> None:
    model: Any = torch.compile(net(), backend="eager")
    with Monitor(model, warn=False) as monitor:
        model(batch(0)).sum().backward()
        record = monitor.step()
    assert record is not None
    assert [layer["layer"] for layer in record["layers"]] == ["0", "3", "4"]
    assert "mean" not in record["layers"][0]
    assert record["layers"][0]["gradient_norm"] > 0


def test_a_closed_monitor_is_not_used_again() -> None:
    monitor = Monitor(net(), every=1)
    with monitor:
        pass
    monitor.close()
    with pytest.raises(DomainError, match="make a new Monitor"), monitor:
        pass
    with pytest.raises(DomainError, match="this one is closed"):
        monitor.step()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Monitor("net"), "instance in training"),  # type: ignore[arg-type]
        (lambda: Monitor(net(), every=0), "every=0"),
        (lambda: Monitor(net(), rows=True), "rows=True"),
        (lambda: Monitor(net(), log=3), "log=3"),  # type: ignore[arg-type]
    ],
)
def test_bad_input_is_named(call: Any, words: str) -> None:
    with pytest.raises(DomainError, match=words):
        call()
