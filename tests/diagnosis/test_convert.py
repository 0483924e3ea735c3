"""Conversion: what keeps the function does so, what is exchanged keeps the moments."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import selfnorm as sn
from selfnorm.diagnosis import convert
from selfnorm.diagnosis._exchange import equivalent_rate
from selfnorm.errors import DataError, DomainError

from .residual import Residual


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def stir(model: nn.Module, seed: int = 5) -> nn.Module:
    """Give every number of a model a value that training might give it, in float64."""
    generator = seeded(seed)
    model = model.double()
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            drawn = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
            tensor.copy_(0.2 + drawn if tensor.dim() == 1 else drawn - 0.4)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.running_mean.sub_(0.6)
    return model.eval()


LAYERS = {
    "linear": (nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5)), (3, 7)),
    "conv1d": (nn.Sequential(nn.Conv1d(4, 6, 3, groups=2), nn.BatchNorm1d(6)), (3, 4, 9)),
    "conv2d": (nn.Sequential(nn.Conv2d(3, 5, (2, 3), 2, 1), nn.BatchNorm2d(5)), (2, 3, 8, 7)),
    "conv3d": (nn.Sequential(nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3, affine=False)), (2, 2, 4, 5, 3)),
    "transposed": (
        nn.Sequential(nn.ConvTranspose2d(4, 6, 3, 2, groups=2, bias=False), nn.BatchNorm2d(6)),
        (2, 4, 5, 3),
    ),
    "through dropout": (
        nn.Sequential(nn.Linear(4, 9, bias=False), nn.Dropout(0.4), nn.BatchNorm1d(9)),
        (5, 4),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_batch_norm_folds_exactly(name: str) -> None:
    layers, shape = LAYERS[name]
    model = stir(nn.Sequential(copy.deepcopy(layers), nn.Tanh()))
    x = torch.randn(shape, generator=seeded(1), dtype=torch.float64)
    result = convert(model, keep_function=True)
    assert not any("BatchNorm" in type(m).__name__ for m in result.model.modules())
    assert [(c.kind, c.keeps) for c in result.changes] == [("normalisation", "function")]
    torch.testing.assert_close(result.model(x), model(x), rtol=1e-12, atol=1e-12)


def test_rows_are_scaled_and_the_function_stays() -> None:
    model = stir(
        nn.Sequential(
            nn.Conv2d(3, 5, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.MaxPool2d(2),
            nn.Conv2d(5, 4, 2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(4 * 2 * 1, 6),
            nn.ReLU(),
            nn.Linear(6, 2),
        )
    )
    x = torch.randn(3, 3, 12, 8, generator=seeded(2), dtype=torch.float64)
    result = convert(model, keep_function=True)
    torch.testing.assert_close(result.model(x), model(x), rtol=1e-12, atol=1e-12)
    for index in (0, 3, 7):
        rows = result.model.state_dict()[f"{index}.weight"].flatten(1)
        torch.testing.assert_close(
            rows.square().sum(1), torch.ones(len(rows), dtype=torch.float64), rtol=1e-12, atol=0
        )
    assert {c.keeps for c in result.changes} == {"function"}


def test_rows_are_not_scaled_through_what_is_not_homogeneous() -> None:
    model = stir(nn.Sequential(nn.Linear(5, 4), nn.GELU(), nn.Linear(4, 3)))
    x = torch.randn(6, 5, generator=seeded(3), dtype=torch.float64)
    kept = convert(model, keep_function=True)
    assert kept.changes == ()
    torch.testing.assert_close(kept.model(x), model(x), rtol=0, atol=0)
    changed = convert(model, weights="keep")
    assert [c.keeps for c in changed.changes if c.kind == "weights"] == ["moments"]


def test_a_residual_net_keeps_its_function_in_single_precision() -> None:
    model = stir(Residual(3)).float().eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.mul_(0.3)
    x = torch.randn(4, 3, 7, 6, generator=seeded(4))
    result = convert(model, keep_function=True)
    assert result.refused == ()
    assert sum(c.kind == "normalisation" for c in result.changes) == 8
    torch.testing.assert_close(result.model(x), model(x), rtol=1e-5, atol=1e-5)


def deep(depth: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
        layers += [nn.Dropout(0.1)]
    return nn.Sequential(*layers, nn.Linear(width, 3))


def test_a_converted_net_normalises_itself() -> None:
    model = deep(16, 200)
    before = copy.deepcopy(model.state_dict())
    result = convert(model, generator=seeded(6))
    assert result.weights == "new"
    x = torch.randn(500, 200, generator=seeded(7))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        y = result.model.train()[:-1](x)  # type: ignore[index]
    # One draw of 16 layers of 200 units: the standard deviation of the variance over draws is .11
    # (selfnorm.theory.predict, width=200); 5 of them.
    assert abs(float(y.var()) - 1.0) < 0.55
    assert abs(float(y.mean())) < 0.3
    assert not any(isinstance(m, nn.ReLU | nn.BatchNorm1d | nn.Dropout) for m in result.model)  # type: ignore[attr-defined]
    assert all(torch.equal(old, model.state_dict()[key]) for key, old in before.items())
    assert isinstance(model[2], nn.ReLU)


def test_a_dry_run_changes_nothing_and_takes_no_random_numbers() -> None:
    model = deep(2, 8)
    before = copy.deepcopy(model)
    state = torch.get_rng_state()
    result = convert(model, dry_run=True, inplace=True)
    assert torch.equal(torch.get_rng_state(), state)
    assert result.model is model
    assert repr(model) == repr(before)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), before.parameters(), strict=True)
    )
    text = result.diff()
    assert "-  2: ReLU()" in text
    assert "+  2: SELU()" in text
    assert "LeCun normal" in text
    assert json.loads(json.dumps(result.to_dict()))["weights"] == "new"
    assert str(result).count("\n") < len(result.changes)


def test_in_place_changes_the_model_itself() -> None:
    model = deep(2, 8)
    assert convert(model, inplace=True).model is model
    assert isinstance(model[2], sn.nn.SELU)


@pytest.mark.parametrize(("p", "name"), [(0.4, "relu"), (0.2, "elu"), (0.35, None)])
def test_alpha_dropout_keeps_as_much_signal(p: float, name: str | None) -> None:
    """By simulation: squared correlation of the output with the undropped input.

    With 400,000 numbers its standard error is below .001; the limit is seven of them, false alarms
    are rarer than 1e-10. The rate p itself would differ by .1 and more.
    """
    generator = seeded(9)
    z = torch.randn(400_000, generator=generator, dtype=torch.float64)
    x = {"relu": z.relu(), "elu": F.elu(z), None: z}[name]
    keep = torch.rand(z.shape, generator=generator, dtype=torch.float64) >= p
    plain = torch.corrcoef(torch.stack([x, x * keep]))[0, 1] ** 2
    s = F.selu(z)
    rate = equivalent_rate(p, name)
    keep = torch.rand(z.shape, generator=generator, dtype=torch.float64) >= rate
    dropped = torch.where(keep, s, torch.tensor(-1.7580993408473766, dtype=torch.float64))
    alpha = torch.corrcoef(torch.stack([s, dropped]))[0, 1] ** 2
    assert abs(float(plain - alpha)) < 0.007


def test_rates_and_kinds_of_dropout() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Dropout2d(0.5), nn.Flatten(), nn.Linear(16, 5),
        nn.LayerNorm(5), nn.Dropout(0.2), nn.Linear(5, 2),
    )  # fmt: skip
    result = convert(model, weights="new")
    first, second = result.model[2], result.model[6]  # type: ignore[index]
    assert (first.shared_dims, second.shared_dims) == ((2, 3), ())
    assert first.p == pytest.approx(equivalent_rate(0.5, "relu"), abs=5e-4)
    assert second.p == pytest.approx(equivalent_rate(0.2, None), abs=5e-4)
    asked = convert(model, weights="new", dropout=0.07).model
    assert (asked[2].p, asked[6].p) == (0.07, 0.07)  # type: ignore[index]


def test_frozen_parts_are_left() -> None:
    backbone = nn.Sequential(nn.Linear(9, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 12))
    head = nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 2))
    model = nn.Sequential(backbone.requires_grad_(False), head)
    x = torch.randn(30, 9, generator=seeded(20))
    for weights in ("new", "keep"):
        result = convert(model, weights=weights)
        torch.testing.assert_close(result.model.eval()[0](x), model.eval()[0](x), rtol=0, atol=0)  # type: ignore[index]
        assert isinstance(result.model[1][1], sn.nn.SELU)  # type: ignore[index]
        assert [(one.place, one.what) for one in result.refused] == [("0", "frozen Sequential")]
    wholly = convert(model.requires_grad_(False), weights="new")
    assert wholly.refused == ()
    assert sum(c.kind == "weights" for c in wholly.changes) == 4


def test_a_model_of_one_module_and_one_without_numbers() -> None:
    assert isinstance(convert(nn.ReLU()).model, sn.nn.SELU)
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2))
    for weights in ("new", "keep"):
        result = convert(model, weights=weights)
        assert next(result.model.parameters()).is_meta
        assert isinstance(result.model[2], sn.nn.SELU)  # type: ignore[index]


@pytest.mark.parametrize(
    ("change", "sign"),
    [
        (lambda net: net(torch.randn(5, 8)), "1 has counted 1 batches"),
        (lambda net: net(torch.randn(5, 8)).sum().backward(), "has a gradient"),
        (lambda net: net[0].weight.data.mul_(1.5), "outside of the range"),
        (lambda net: None, "no sign"),
    ],
)
def test_signs_of_training(change: Any, sign: str) -> None:
    net = deep(1, 8)
    change(net)
    result = convert(net, dry_run=True)
    assert sign in result.weights_reason
    assert result.weights == ("new" if "no" in sign else "keep")


def test_an_input_layer_standardises() -> None:
    generator = seeded(12)
    x = torch.rand(300, 4, 5, 3, generator=generator) * torch.tensor([1.0, 9, 2, 3]).view(4, 1, 1)
    x[:, 3] = 7.0
    model = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(90, 2))
    result = convert(model, [(x[:200], None), (x[200:], None)])
    layer = result.model.get_submodule("standardize")
    y = layer(x)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(
        y.var((0, 2, 3), correction=0), torch.tensor([1.0, 1.0, 1.0, 0.0]), rtol=1e-4, atol=1e-6
    )
    assert result.model(x).shape == (300, 2)
    assert (
        result.diff()
        .splitlines()[3]
        .startswith("+standardize: StandardizedInput(in_features=4, logged=0, axis=1)")
    )
    plain = torch.randn(300, 4, 5, 3, generator=generator)
    assert not [c for c in convert(model, plain).changes if c.kind == "input"]
    assert not [c for c in convert(model, x, standardize=False).changes if c.kind == "input"]


def inputs_changed(result: Any) -> bool:
    return any(c.kind == "input" for c in result.changes)


def test_few_rows_are_not_standardised_by_chance() -> None:
    """Union bound: each of these nets is wrapped with probability .003 at most."""
    generator = seeded(14)
    for rows, width in ((64, 20), (5, 300), (12, 3), (400, 20)):
        model = nn.Sequential(nn.Linear(width, 6), nn.ReLU(), nn.Linear(6, 2))
        for _ in range(5):
            x = torch.randn(rows, width, generator=generator)
            assert not inputs_changed(convert(model, x)), (rows, width)
        assert inputs_changed(convert(model, 9 + x))
        assert inputs_changed(convert(model, 40 * x))
        assert inputs_changed(convert(model, x / 40))
        x[:, 1] *= 9
        assert inputs_changed(convert(model, x))
    x[:, 1] /= 9
    x[:, 2] += 0.7  # 400 rows: the bound is .25 + 5.4 / 20
    assert inputs_changed(convert(model, x))
    one = convert(model, 9 + x[:1])
    assert not inputs_changed(one)
    assert [r.remedy for r in one.refused] == ["pass more rows of the training data"]


def test_padding_repeats_the_border() -> None:
    model = nn.Sequential(nn.Conv1d(2, 3, 3, padding="same"), nn.ReLU(), nn.Conv1d(3, 2, 3))
    result = convert(model, weights="new")
    assert [c.place for c in result.changes if c.kind == "padding"] == ["0"]
    assert result.model(torch.randn(4, 2, 9)).shape == (4, 2, 7)
    assert convert(model, weights="keep").model[0].padding_mode == "zeros"  # type: ignore[index]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: convert("net"), DomainError, "pass an instance"),  # type: ignore[arg-type]
        (lambda: convert(deep(1, 2), weights="old"), DomainError, "weights='old'"),  # type: ignore[arg-type]
        (lambda: convert(deep(1, 2), weights="new", keep_function=True), DomainError, "leave one"),
        (lambda: convert(deep(1, 2), dropout=1.5), DomainError, "1.5"),
        (lambda: convert(deep(1, 2), data="x"), DataError, "data"),
        (lambda: convert(deep(1, 2), data=[]), DataError, "data"),
        (lambda: convert(deep(1, 2), data=iter([])), DataError, "several times"),
    ],
)
def test_bad_input_is_named(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def test_weights_without_numbers_do_not_run() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    with pytest.raises(DataError, match=r"leave the data out, or give it weights"):
        convert(model, torch.randn(6, 4))


def test_a_model_that_cannot_be_copied_is_told_so() -> None:
    model = deep(1, 2)
    model.kept = torch.ones(2, requires_grad=True) * 2
    with pytest.raises(DomainError, match="inplace=True"):
        convert(model)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.act = nn.Linear(3, 5), nn.Linear(4, 5), nn.ReLU()
        self.out = nn.Linear(5, 2)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        out: Tensor = self.out(self.act(self.a(x) - self.b(z)))
        return out


def test_several_inputs_are_told() -> None:
    x, z = 5 + torch.randn(30, 3), 5 + torch.randn(30, 4)
    for data in ((x, z), {"x": x, "z": z}, [(x, z)]):
        result = convert(Two(), data)
        assert not inputs_changed(result)
        assert [(r.what, r.place) for r in result.refused] == [("the model's inputs", "")]
        assert "which of them to standardise is not known" in result.refused[0].reason
        assert convert(Two(), data, standardize=False).refused == ()
        assert convert(Two(), data, keep_function=True).refused == ()


def test_a_compiled_model_is_left_alone() -> None:
    model = torch.compile(deep(1, 8), backend="eager")
    result = convert(model, 9 + torch.randn(30, 8))  # type: ignore[arg-type]
    assert result.changes == ()
    assert [(r.place, r.what) for r in result.refused] == [("", "compiled module")]
    assert "model._orig_mod" in result.refused[0].remedy
    assert "afterwards" in result.refused[0].remedy
