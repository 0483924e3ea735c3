"""Models and data in the forms in which people have them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import selfnorm as sn
from selfnorm.errors import DataError, DomainError

from .parts import FlowMatching, ResNet, SeluHead, Tagger, Transformer, lecun, mlp, standard

X = standard(300)


def whole(model: nn.Module, data: Any, **options: Any) -> list[tuple[float, float]]:
    found = sn.diagnose(model, data, training=False, **options)
    return [(one.mean, one.var) for one in found.layers]


FORMS: dict[str, Any] = {
    "array": X.numpy(),
    "float64 array": X.double().numpy(),
    "tuple": (X, torch.zeros(300)),
    "list of batches": [X[:77], X[77:200], X[200:]],
    "list of pairs": [[X[:100], torch.zeros(100)], [X[100:], torch.zeros(200)]],
    "mapping of its argument": {"input": X, "labels": torch.zeros(300)},
    "loader": DataLoader(TensorDataset(X, torch.zeros(300)), batch_size=64, shuffle=True),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_data_gives_the_same_moments(form: str) -> None:
    torch.manual_seed(1)
    model = lecun(mlp(3, 50))
    expected = []
    h = X
    for module in model:  # plain torch, whole, in float64
        h = module(h)
        if isinstance(module, nn.SELU):
            values = h.detach().double()
            expected.append((values.mean().item(), values.var(correction=0).item()))
    found = whole(model, FORMS[form])
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "x", [X, X.numpy(), (X, torch.zeros(300)), {"input": X, "y": X}, FORMS["loader"], iter([X])]
)
def test_check_takes_them_too(x: Any) -> None:
    torch.manual_seed(8)
    model = lecun(mlp(2))
    assert not sn.check(model, x)


def test_an_iterator_is_read_once_and_no_further_than_asked() -> None:
    taken = 0

    def stream() -> Iterator[Tensor]:
        nonlocal taken
        while True:
            taken += 1
            yield X[:50]

    found = sn.diagnose(lecun(mlp(2)), stream(), max_rows=120)
    assert (found.rows, taken) == (150, 3)


def test_moments_by_unit() -> None:
    torch.manual_seed(2)
    model = lecun(mlp(2, 40))
    found = sn.diagnose(model, [X[:90], X[90:]], per_unit=True)
    values = F.selu(model[0](X)).detach().double()
    one = found.layers[0]
    assert one.unit_mean is not None
    assert one.unit_var is not None
    assert np.allclose(one.unit_mean, values.mean(0), atol=1e-6)
    assert np.allclose(one.unit_var, values.var(0, correction=0), atol=1e-6)
    assert sn.diagnose(model, X).layers[0].unit_var is None


def test_units_of_a_convolution_are_its_channels() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(3, 10, 3), nn.SELU(), nn.Flatten(), nn.Linear(640, 2))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(20, 3, 10, 10).contiguous(memory_format=torch.channels_last)
    one = sn.diagnose(model, images, per_unit=True).layers[0]
    values = F.selu(model[0](images)).detach().double()
    assert (one.units, one.rows, one.fan_in) == (10, 20 * 64, 27)
    assert one.unit_mean is not None
    assert np.allclose(one.unit_mean, values.mean((0, 2, 3)), atol=1e-6)


def test_gradients_are_those_of_the_loss() -> None:
    torch.manual_seed(4)
    model = lecun(mlp(2, 40))
    y = torch.randint(7, (300,))
    found = sn.diagnose(model, (X, y), loss=F.cross_entropy, batch_size=300)
    a = F.selu(model[0](X))
    b = F.selu(model[2](a))
    loss = F.cross_entropy(model[4](b), y)
    for layer, expected in zip(found.layers, torch.autograd.grad(loss, [a, b]), strict=True):
        assert layer.gradient == pytest.approx(
            expected.double().square().sum().div(300).sqrt().item(), rel=1e-5
        )


def test_the_gradient_grows_as_chi_says() -> None:
    torch.manual_seed(5)
    gains = [
        one.gradient_gain / one.predicted_gradient_gain
        for _ in range(3)
        for one in sn.diagnose(lecun(mlp(8, 256)), standard(400)).layers[1:]
        if one.gradient_gain and one.predicted_gradient_gain
    ]
    # 21 ratios; over networks of this width one has a standard deviation of about .09 (measured),
    # their mean one of .02: five of them.
    assert len(gains) == 21
    assert np.mean(gains) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (Tagger(), torch.randint(50, (8, 12))),
        (Transformer(), torch.randint(40, (8, 12))),
        (SeluHead(), torch.randn(6, 3, 48, 48)),
        (ResNet(), torch.randn(6, 3, 48, 48)),
        (FlowMatching(), (torch.randn(60, 2), torch.rand(60))),
        (nn.Sequential(nn.Flatten(0)), torch.randn(5, 4)),
    ],
    ids=["recurrent", "attention", "dict output", "ResNet", "two inputs", "no layer"],
)
def test_anything_runs(model: nn.Module, data: Any) -> None:
    found = sn.diagnose(model, data)
    assert found.to_dict()["layers"] is not None
    assert found.rows == (8 if found.model in ("Tagger", "Transformer") else found.rows)
    sn.check(model, data)


def test_a_module_used_twice_is_measured_twice() -> None:
    torch.manual_seed(6)
    layer, act = nn.Linear(30, 30), nn.SELU()
    found = sn.diagnose(lecun(nn.Sequential(layer, act, layer, act)), X)
    assert [one.place for one in found.layers] == ["1", "1#2"]
    assert found.layers[0].var != found.layers[1].var


def test_wrapped_models_are_seen_through() -> None:
    torch.manual_seed(7)
    model = mlp(3)
    plain = sn.check(model, X)
    assert [one.place for one in sn.check(nn.DataParallel(model), X)] != []
    compiled: Any = torch.compile(model, backend="eager")
    assert sn.check(compiled, X) == plain
    assert whole(compiled, X) == whole(model, X)


def test_scripted_models_are_run_without_places() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted: Any = torch.jit.trace(mlp(3), X[:2])  # type: ignore[no-untyped-call]
    assert isinstance(sn.check(scripted, X), list)


def test_a_model_on_the_meta_device() -> None:
    model = mlp(3, 64, nn.SELU, lambda: nn.Dropout(0.2)).to("meta")
    assert [one.code for one in sn.check(model)] == ["plain-dropout"]
    with pytest.raises(DataError, match="meta device"):
        sn.diagnose(model, X)


def test_not_a_number_is_told_of_at_its_first_place() -> None:
    model = lecun(mlp(3))
    bad = X.clone()
    bad[5, 3] = float("nan")
    found = sn.diagnose(model, bad)
    told = [(one.code, one.place) for one in found.findings]
    assert told[:2] == [("not-finite", "0"), ("not-finite", "1")]
    assert isinstance(model[4], nn.Linear)
    with torch.no_grad():
        model[4].weight[0, 0] = float("inf")
    assert sn.check(model)[0].code == "not-finite"
    assert sn.check(model)[0].place == "4"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_input_that_is_not_finite_is_not_told_to_be_standardised(value: float) -> None:
    bad = X.clone()
    bad[5, 3] = value
    assert [(one.code, one.place) for one in sn.check(lecun(mlp(3)), bad)] == [("not-finite", "0")]
    bad[:] = value
    assert sn.check(lecun(mlp(3)), bad)[0].code == "not-finite"


@pytest.mark.parametrize("data", [X[:0], (X[:0], torch.zeros(0)), [], iter([])])
def test_no_rows_are_refused(data: Any) -> None:
    for look in (sn.check, sn.diagnose):
        with pytest.raises(DataError, match=r"at least one row|must contain a tensor"):
            look(lecun(mlp(3)), data)


def test_a_mapping_without_tensors_is_refused() -> None:
    with pytest.raises(DataError, match="must contain a tensor"):
        sn.check(lecun(mlp(3)), {"name": "text"})


class Takes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 4)

    def forward(
        self, pixels: Tensor, /, frames: Tensor, *rest: Tensor, gain: float = 1.2
    ) -> Tensor:
        out: Tensor = self.layer(pixels + frames) * gain
        return out


@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: [one]], ids=["whole", "batches"])
def test_keys_that_the_model_does_not_take_are_named(wrap: Any) -> None:
    x = torch.randn(7, 5)
    words = r"takes \(frames, gain\), however: keys=\['features', 'labels'\]; rename"
    for call in (sn.diagnose, sn.convert):
        with pytest.raises(DataError, match=words):
            call(Takes(), wrap({"features": x, "labels": x}))


@pytest.mark.parametrize("form", ["tensor", "pair", "mapping", "batches"])
def test_sparse_tensors_are_refused(form: str) -> None:
    sparse = torch.eye(7, 5).to_sparse()
    data = {
        "tensor": sparse,
        "pair": (sparse, torch.ones(7)),
        "mapping": {"input": sparse},
        "batches": [sparse],
    }[form]
    with pytest.raises(DataError, match=r"pass it as .to_dense\(\)"):
        sn.diagnose(nn.Sequential(nn.Linear(5, 4)), data)
    if form != "batches":
        with pytest.raises(DataError, match=r"shape=\(7, 5\)"):
            sn.check(nn.Sequential(nn.Linear(5, 4)), data)


def test_saturated_and_dead_units() -> None:
    model = lecun(mlp(2, 60))
    assert isinstance(model[0], nn.Linear)
    with torch.no_grad():
        model[0].weight[:40] = 0.0
        model[0].bias[:40] = -50.0
    one = sn.diagnose(model, X).layers[0]
    assert one.dead_share == pytest.approx(40 / 60)
    assert one.saturated_share == pytest.approx(40 / 60, abs=0.02)
    fixes = {found.code: found.fix for found in sn.diagnose(model, X).findings}
    for code in ("saturated-units", "dead-units"):
        assert fixes[code].startswith("standardise the input")  # words, no broken code


def test_the_optimizer_is_looked_at() -> None:
    model = lecun(mlp(3))
    strong = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    found = sn.check(model, optimizer=strong)
    assert [one.code for one in found] == ["weight-decay-drift"]
    exec(found[0].fix, {"optimizer": strong})
    assert not sn.check(model, optimizer=strong)
    mild = torch.optim.SGD(model.parameters(), lr=0.01, weight_decay=1e-5)
    assert not sn.check(model, optimizer=mild)


REFUSALS: dict[str, tuple[Any, type[Exception], str]] = {
    "class": (lambda: sn.check(nn.Linear), DomainError, "a type came"),  # type: ignore[arg-type]
    "optimizer": (lambda: sn.check(mlp(2), optimizer=3), DomainError, "optimizer=3; pass what"),
    "optimizer's class": (
        lambda: sn.check(mlp(2), optimizer=torch.optim.SGD),
        DomainError,
        "param_groups, however: optimizer=<class",
    ),
    "class diagnosed": (lambda: sn.diagnose(3, X), DomainError, "a int came"),  # type: ignore[arg-type]
    "shape": (lambda: sn.check(mlp(2), X[:, :7]), DataError, r"shapes \[\(256, 7\)\]"),
    "shape diagnosed": (lambda: sn.diagnose(mlp(2), X[:, :7]), DataError, "must run on the data"),
    "no rows": (lambda: sn.diagnose(mlp(2), X[:0]), DataError, "at least one row"),
    "used up": (lambda: sn.diagnose(mlp(2), iter([])), DataError, "at least one row"),
    "used up for check": (lambda: sn.check(mlp(2), iter([])), DataError, "at least one row"),
    "number": (lambda: sn.diagnose(mlp(2), 3), DataError, "a int came"),
    "texts": (lambda: sn.diagnose(mlp(2), np.array([["a"]])), DataError, "dtype=<U1"),
    "lengths": (lambda: sn.diagnose(mlp(2), (X, X[:3])), DataError, r"\[3, 300\]"),
    "tolerance": (lambda: sn.diagnose(mlp(2), X, tolerance=0.5), DomainError, "tolerance=0.5"),
    "batch_size": (lambda: sn.diagnose(mlp(2), X, batch_size=0), DomainError, "batch_size=0"),
    "max_rows": (lambda: sn.diagnose(mlp(2), X, max_rows=2.5), DomainError, "max_rows=2.5"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name: str) -> None:
    call, kind, words = REFUSALS[name]
    with pytest.raises(kind, match=words):
        call()


@pytest.mark.parametrize("start", [lecun, lambda net: net])
def test_predictions_are_those_of_theory_and_of_the_measurement(start: Any) -> None:
    torch.manual_seed(9)
    model = start(mlp(4, 256))
    found = sn.diagnose(model, standard(600))
    first = found.layers[0]
    weight, bias = (p.detach().double().numpy() for p in (model[0].weight, model[0].bias))
    layer = sn.theory.Layer.from_weight(weight, bias)
    expected = sn.theory.predict([layer], found.input_mean, found.input_var)
    assert first.predicted_var == pytest.approx(float(expected.var[0]), rel=1e-6)
    assert first.predicted_mean == pytest.approx(float(expected.mean[0]), rel=1e-6, abs=1e-9)
    for one in found.layers:
        # Width 256: measured and predicted differ by some percent; 10 % are five deviations.
        assert one.var == pytest.approx(one.predicted_var, rel=0.1)
        assert one.var == pytest.approx(one.predicted_var_path, rel=0.25)


@pytest.mark.parametrize("part", ["script", "trace"])
@pytest.mark.parametrize("whole_model", [False, True])
def test_torchscript_is_judged_by_its_modules_and_said_to_be(part: str, whole_model: bool) -> None:
    torch.manual_seed(5)
    first = nn.Sequential(nn.Linear(30, 48), nn.SELU(), nn.Linear(48, 48), nn.SELU())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        jit: Any = torch.jit
        to_script = jit.script if part == "script" else lambda m: jit.trace(m, X[:3])
        inner: nn.Module = first if whole_model else to_script(first)
        model: nn.Module = nn.Sequential(inner, nn.Linear(48, 48), nn.SELU(), nn.Linear(48, 2))
        model = to_script(model) if whole_model else model
    for found in (sn.check(model, X), sn.diagnose(model, X).findings):
        codes = {one.code: one for one in found}
        assert codes["default-init"].place == "0.0, 0.2, 1"
        assert codes["could-not-run"].place == ("(model)" if whole_model else "0")
    monitor = sn.Monitor(model, every=1, warn=False)
    model(X).sum().backward()
    record = monitor.step()
    monitor.close()
    assert record is not None
    tau = first.get_parameter("0.weight").square().sum(1).mean().item()
    assert record["layers"][0]["weight_sumsq"] == pytest.approx(tau, rel=1e-5)
    assert [layer["layer"] for layer in record["layers"]] == ["0.0", "0.2", "1", "3"]
    told = sn.convert(model, dry_run=True)
    assert [one.place for one in told.refused] == ["" if whole_model else "0"]
    assert not any(one.place.startswith("0") for one in told.changes)
