"""Conversion: what keeps the function does so, what is exchanged keeps the moments."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import selfnorm as sn
from selfnorm.diagnosis import convert
from selfnorm.diagnosis._exchange import equivalent_rate
from selfnorm.errors import DataError, DomainError


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


class Block(nn.Module):
    """A residual block of the usual kind: functional ReLU, sum in place."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.shortcut = nn.Sequential()
        if into != out:
            self.shortcut = nn.Sequential(nn.Conv2d(into, out, 1), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += self.shortcut(x)
        return F.relu(y)


class Residual(nn.Module):
    def __init__(self, blocks: int = 2, width: int = 6) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        first = [Block(4, width)]
        self.blocks = nn.Sequential(*first, *(Block(width, width) for _ in range(blocks - 1)))
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(x)).mean((2, 3))
        x = self.drop(x) if self.training else x
        out: Tensor = self.head(x)
        return out


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


def test_calls_in_a_forward_are_rewritten() -> None:
    model = Residual(8, 60)
    result = convert(model, weights="new", generator=seeded(10))
    kinds = [c.kind for c in result.changes]
    assert kinds.count("residual") == 8
    assert kinds.count("activation") == 17
    assert set(model.state_dict()) >= {k for k in result.model.state_dict() if "bias" not in k}
    assert result.refused == ()
    x = torch.randn(50, 3, 10, 9, generator=seeded(11))
    with torch.no_grad():
        y = result.model.blocks(result.model.stem(x))  # type: ignore[operator]
        plain = model.train().blocks(model.stem(x))
    assert 0.7 < float(y.var()) < 1.5
    assert float(plain.var()) > 2.5  # sums of branches that batch norm brings to variance 1
    again = copy.deepcopy(result.model)
    torch.testing.assert_close(again.eval()(x), result.model.eval()(x), rtol=0, atol=0)


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


class Scaled(nn.Module):
    """Eight residual sums that their author has scaled."""

    def __init__(self, join: Any) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(48, 48) for _ in range(8))
        self.gain = nn.Parameter(torch.tensor(0.3))
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = self.join(x, F.selu(layer(x)), self.gain)
        return x


@pytest.mark.parametrize(
    "join",
    [
        lambda x, y, gain: (x + y) * 0.5**0.5,
        lambda x, y, gain: (x + y) / 2**0.5,
        lambda x, y, gain: (x + y).mul_(0.5**0.5),
        lambda x, y, gain: 0.6 * x + 0.8 * y,
        lambda x, y, gain: x + 0.1 * y,
        lambda x, y, gain: x + gain * y,
        lambda x, y, gain: torch.add(x, y, alpha=0.25),
        lambda x, y, gain: x.add(y, alpha=0.25),
    ],
)
def test_sums_that_are_scaled_already_are_left(join: Any) -> None:
    result = convert(Scaled(join), weights="keep")
    assert [c for c in result.changes if c.kind == "residual"] == []
    plain = convert(Scaled(lambda x, y, gain: x + y), weights="keep")
    assert sum(c.kind == "residual" for c in plain.changes) == 8


def test_without_rewriting_the_line_is_named() -> None:
    result = convert(nn.Sequential(Block(3, 3)), weights="new", rewrite=False)
    left = {(one.place.split(":")[0], one.what) for one in result.refused}
    assert left == {("test_convert.py", "relu in 0"), ("test_convert.py", "sum in 0")}
    lines = [int(one.place.split(":")[1]) for one in result.refused]
    source = Path(__file__).read_text(encoding="utf-8").splitlines()
    assert all("relu" in source[n - 1] or "+=" in source[n - 1] for n in lines)


class Moody(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.fc(x)) if self.training else F.relu(self.fc(x)) + 1


class Talkative(Moody):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.fc(x))

    def embed(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(x)
        return out


@pytest.mark.parametrize(
    ("inner", "words"),
    [(Moody, "different things in training"), (Talkative, "methods besides forward (embed)")],
)
def test_a_forward_that_must_not_be_rewritten_is_left(inner: type[nn.Module], words: str) -> None:
    result = convert(nn.Sequential(inner(), nn.Linear(3, 2)), weights="new")
    assert words in result.refused[0].reason
    assert isinstance(result.model[0], inner)  # type: ignore[index]


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.a(x) * torch.sigmoid(self.b(x)))


def test_answers_and_gates_called_in_a_forward_are_left() -> None:
    result = convert(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), Gate()), weights="new")
    reasons = {one.what: one.reason for one in result.refused}
    assert "model's answer" in reasons["relu in 2"]
    assert "fixed point" in reasons["product in 2"]
    assert isinstance(result.model[2], Gate)  # type: ignore[index]


def test_a_model_of_one_module_and_one_without_numbers() -> None:
    assert isinstance(convert(nn.ReLU()).model, sn.nn.SELU)
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2))
    for weights in ("new", "keep"):
        result = convert(model, weights=weights)
        assert next(result.model.parameters()).is_meta
        assert isinstance(result.model[2], sn.nn.SELU)  # type: ignore[index]


class Shared(nn.Module):
    """One ReLU and one batch norm for two layers, as many write it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.bn = nn.BatchNorm1d(6)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn(self.fc1(x)))
        out: Tensor = self.fc3(self.relu(self.bn(self.fc2(x))))
        return out


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.norm = nn.Linear(6, 6), nn.Linear(6, 6), nn.LayerNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        score = torch.softmax(self.q(x) @ self.k(x).transpose(1, 2), -1)
        out: Tensor = self.norm(x + score @ x)
        return out


class Undecided(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU())
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x) if x.sum() > 0 else self.body(x)
        return out


REFUSED: dict[str, Any] = {
    "shared batch norm": (Shared(), {"keep_function": True}, "bn", "several places"),
    "layer norm": (
        nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.ReLU()),
        {"weights": "keep"},
        "1",
        "each row",
    ),
    "no statistics": (
        nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, track_running_stats=False)),
        {"keep_function": True},
        "1",
        "running statistics",
    ),
    "answer": (nn.Sequential(nn.Linear(4, 5), nn.ReLU()), {}, "1", "model's answer"),
    "attention": (nn.Sequential(Attention(), nn.Linear(6, 2)), {}, "0", "softmax"),
    "attention module": (nn.TransformerEncoderLayer(6, 2), {}, "", "softmax"),
    "recurrent": (nn.Sequential(nn.LSTM(4, 5)), {}, "0", "gates"),
    "lazy": (nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.Linear(4, 2)), {}, "0", "no shape"),
    "parametrised": (
        nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 5)), nn.Tanh()),
        {},
        "0",
        "parametrisation",
    ),
    "undecided": (Undecided(), {"keep_function": True}, "norm", "cannot be traced"),
    "input norm": (
        nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)),
        {"weights": "new"},
        "0",
        "model's input",
    ),
    "wrong features": (
        nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(3)),
        {"keep_function": True},
        "1",
        "3 features",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_refused_with_a_reason(name: str) -> None:
    model, options, place, words = REFUSED[name]
    result = convert(copy.deepcopy(model), **options)
    found = [one for one in result.refused if one.place == place]
    assert len(found) == 1, result.refused
    assert words in found[0].reason
    assert found[0].remedy
    assert not [c for c in result.changes if c.place == place or c.place.startswith(f"{place}.")]


def test_a_shared_activation_is_replaced_once() -> None:
    result = convert(Shared(), weights="new")
    assert isinstance(result.model.relu, sn.nn.SELU)
    assert [c.place for c in result.changes if c.kind == "activation"] == ["relu"]


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


class Settings(dict[str, float]):
    __getattr__ = dict.__getitem__

    def __deepcopy__(self, memo: Any) -> Settings:
        return Settings(self)


class Untraceable(nn.Module):
    """Settings as many write them: what they do not hold is a KeyError, which torch.fx meets."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out, self.settings = nn.Linear(4, 5), nn.Linear(5, 2), Settings(p=0.2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(F.relu(self.layer(x), self.settings))  # type: ignore[arg-type]
        return out


def test_an_untraceable_forward_is_told_in_words() -> None:
    found = convert(Untraceable()).refused
    assert found
    assert "torch.fx cannot follow it" in found[0].reason
    assert not any("__fx" in str(one) or "KeyError" in str(one) for one in found)


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.early = nn.AvgPool2d(2)  # of the data
        self.one, self.two = nn.Conv2d(3, 4, 3), sn.nn.ConvSELU2d(4, 5, 3)
        self.last, self.three, self.out = nn.MaxPool2d(2), nn.Conv2d(5, 6, 1), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.one(self.early(x))), 2)
        x = F.relu(self.three(self.last(self.two(x))))
        out: Tensor = self.out(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return out


def test_pools_between_layers_are_told() -> None:
    model = nn.Sequential(
        nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 3),
        nn.MaxPool2d((2, 3), 2),
        nn.ReLU(),
        nn.AvgPool2d(2, padding=1),
        nn.Dropout(0.1),
        nn.Conv2d(4, 5, 2),
        nn.ReLU(),
        sn.nn.AvgPool2d(2),
        nn.Conv2d(5, 5, 2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 2),
    )
    stride = "drop it, and give the convolution before it its stride"
    for weights in ("new", "keep"):
        found = convert(model, weights=weights).refused
        assert [(one.place, one.what, one.remedy) for one in found] == [
            (
                "2",
                "MaxPool2d",
                f"selfnorm.nn.MaxPool2d((2, 3), 2, correlation=c) in its place, or {stride}",
            ),
            ("4", "AvgPool2d", stride),
        ]
        assert found[0].reason.startswith("before SELU layers it shifts the mean up and shrinks")
        assert found[1].reason.startswith("before SELU layers it shrinks")
    assert convert(model, keep_function=True).refused == ()
    called = convert(Pooled(), weights="new").refused
    assert [one.what for one in called] == ["max_pool2d in the model", "MaxPool2d"]
    assert called[0].place.startswith("test_convert.py:")


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


class FunctionalNorms(nn.Module):
    mean: Tensor
    var: Tensor

    def __init__(self, n: int) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(n, n + 3), nn.Linear(n + 3, n)
        self.gain = nn.Parameter(torch.ones(n + 3))
        self.register_buffer("mean", torch.zeros(n))
        self.register_buffer("var", torch.ones(n))

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(F.layer_norm(self.one(x), (33,), self.gain))
        h = F.batch_norm(self.two(h), self.mean, self.var, training=self.training)
        return F.normalize(x + F.gelu(h))


def test_norms_that_a_forward_calls_go_with_their_numbers() -> None:
    torch.manual_seed(9)
    model = nn.Sequential(nn.Linear(9, 30), nn.ReLU(), FunctionalNorms(30), nn.Linear(30, 2))
    result = sn.convert(model, weights="new")
    names = set(result.model.state_dict())
    assert not names & {"2.gain", "2.mean", "2.var"}
    assert {"2.one.weight", "2.two.bias"} <= names
    x = torch.randn(7, 9)
    part = result.model.get_submodule("2")
    h = sn.functional.selu(result.model[0](x))  # type: ignore[index]
    f = sn.functional.selu(part.two(sn.functional.selu(part.one(h))))  # type: ignore[operator]
    # F.normalize stays, though it stands in the line of the sum.
    expected = F.normalize((h + f) * 0.5**0.5)
    for training in (True, False):
        assert torch.allclose(part.train(training)(h), expected, atol=1e-6)
    assert [one.what for one in result.refused] == ["normalize in 2"]
    kept = {one.what: one.reason for one in sn.convert(model, weights="keep", dry_run=True).refused}
    for name in ("layer_norm", "batch_norm"):
        assert "no module that could be folded" in kept[f"{name} in 2"]
