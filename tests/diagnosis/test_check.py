"""The linter: known answers in both directions, and the line that mends a fault does mend it."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils import prune

import selfnorm as sn

from .nets import HEALTHY, SICK
from .parts import BackboneHead, LstmHead, images, lecun, lightning_module, mlp, steps, trained
from .strangers import STRANGERS


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_network_has_no_findings(name: str) -> None:
    torch.manual_seed(20)
    make, data = HEALTHY[name]
    found = sn.check(make(), None if data is None else data())
    assert not found, "\n".join(map(str, found))


@pytest.mark.parametrize("name", SICK)
def test_the_first_finding_names_the_fault(name: str) -> None:
    torch.manual_seed(21)
    make, data, code = SICK[name]
    found = sn.check(make(), None if data is None else data())
    assert [one.code for one in found][:1] == [code], "\n".join(map(str, found))


@pytest.mark.slow
def test_lightning_modules() -> None:  # their import takes seconds
    pytest.importorskip("pytorch_lightning", reason="lightning is not installed")
    found = sn.check(lightning_module())
    assert [one.code for one in found] == ["default-init"]
    assert found[0].fix == "selfnorm.init.initialize_(model.model)"


# Faults whose mending is a change of code, of data or of the training, not of a model at hand.
NOT_BY_A_LINE = {
    "raw input",
    "pixels",
    "LSTM, all steps",
    "functional dropout",
    "residual",
    "residual without data",
    "alpha dropout off",
    "narrow",
    "one-hot",
    "decayed",
}


@pytest.mark.parametrize("name", [name for name in SICK if name not in NOT_BY_A_LINE])
def test_the_line_that_mends_does_mend(name: str) -> None:
    torch.manual_seed(24)
    make, data, _ = SICK[name]
    model, x = make(), None if data is None else data()
    for _ in range(4):  # a fault may hide another
        found = sn.check(model, x)
        if not found:
            break
        exec(found[0].fix, {"model": model, "selfnorm": sn, "torch": torch, "x": x})
        assert found[0].code not in [one.code for one in sn.check(model, x)]
    assert not sn.check(model, x)


def test_padding_is_mended_by_copies_of_the_border() -> None:
    make, data, _ = SICK["zero padding"]
    model, x = make(), None if data is None else data()
    for one in sn.check(model, x):
        exec(one.fix, {"model": model, "selfnorm": sn, "torch": torch, "x": x})
    convs = [layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert {layer.padding_mode for layer in convs} == {"replicate"}


def test_a_rescaled_border_is_whole_and_one_scaled_otherwise_is_not() -> None:
    torch.manual_seed(26)
    x = torch.randn(40, 3, 9, 7)
    net = torch.nn.Sequential(*(sn.nn.ConvSELU2d(3 if k == 0 else 12, 12, 3) for k in range(3)))
    assert [layer.layer for layer in sn.diagnose(net, x).layers] == ["0.conv", "1.conv", "2.conv"]
    assert "zero-padding" not in [one.code for one in sn.check(net, x)]

    class Scaled(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * torch.ones(12, 1, 1)

    parts = [(torch.nn.Conv2d(k, 12, 3, padding=1), Scaled(), sn.nn.SELU()) for k in (3, 12, 12)]
    scaled = torch.nn.Sequential(*(one for part in parts for one in part))
    assert "zero-padding" in [one.code for one in sn.check(scaled, x)]


def test_what_the_lines_beyond_the_model_say() -> None:
    torch.manual_seed(25)
    x_train = torch.rand(300, 30) * 7.0
    model = lecun(mlp(3))
    line = sn.check(model, x_train)[0].fix
    scope = {"x": x_train, "x_train": x_train}
    exec(line, scope)
    assert not sn.check(model, scope["x"])


def test_features_are_told_of_with_their_numbers() -> None:
    torch.manual_seed(32)
    model, x = BackboneHead().eval(), images()
    [found] = sn.check(model, x)
    features = model.backbone(x)
    assert found.place == "head.0"
    assert "What reaches the first SELU layer has mean" in found.message
    assert found.evidence["mean"] == pytest.approx(float(features.mean()), rel=1e-5)
    assert found.evidence["var"] == pytest.approx(float(features.var(correction=0)), rel=1e-5)
    exec(found.fix, {"model": model, "selfnorm": sn, "torch": torch})
    assert not any(module.training for module in model.modules())
    assert not sn.check(model, x)


def test_features_of_steps_are_standardised_by_their_statistics() -> None:
    torch.manual_seed(33)
    model, x = LstmHead(False), steps()
    [found] = sn.check(model, x)
    hidden = model.rnn(x)[0].detach()
    scope = {"selfnorm": sn, "features": hidden, "x": hidden}
    exec(found.fix, scope)
    assert not sn.check(model.head, scope["x"])


def test_trained_weights_are_not_taken_for_an_initialisation() -> None:
    torch.manual_seed(26)
    model = trained(lecun(mlp(4)), 120)
    with torch.no_grad():
        for module in model:
            if isinstance(module, torch.nn.Linear):
                # The sums of squares are He's to the last digit; units and biases are of a
                # trained network.
                module.weight.mul_((2.0 / module.weight.square().sum(1).mean()).sqrt())
    assert not sn.check(model)
    for module in model:
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.kaiming_normal_(module.weight)
            torch.nn.init.zeros_(module.bias)
    assert [one.code for one in sn.check(model)] == ["he-init"]


@pytest.mark.parametrize(("depth", "steps"), [(3, 3), (3, 20), (3, 200), (8, 40)])
def test_trained_weights_are_not_taken_for_the_default(depth: int, steps: int) -> None:
    torch.manual_seed(28)
    model, x = mlp(depth, 64), torch.randn(256, 30)
    y = torch.sin(x[:, :7]) + x[:, 7:14] * x[:, 14:21]
    adam = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(steps):
        adam.zero_grad()
        torch.nn.functional.mse_loss(model(x), y).backward()  # type: ignore[no-untyped-call]
        adam.step()
    found = sn.check(model)
    # A finding of the trained network's variance may remain, never a line that draws anew.
    assert not [one for one in found if one.severity == "error" or "initialize_" in one.fix], found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_default_weights_are_found_beside_biases_set_by_hand(dtype: torch.dtype) -> None:
    torch.manual_seed(29)
    model = mlp(3, 70).to(dtype).float()  # rounded
    for module in model:
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.constant_(module.bias, 0.7)
    assert [(one.code, one.place) for one in sn.check(model)] == [("default-init", "0, 2, 4")]


def test_the_prediction_is_for_the_layers_that_are_accused() -> None:
    torch.manual_seed(30)
    model = lecun(mlp(4))
    model[2].reset_parameters()  # type: ignore[operator]
    [found] = sn.check(model)
    one = sn.theory.predict([sn.theory.Layer("selu", weight_sumsq=1.0 / 3.0)], 0.0, 1.0)
    assert (found.code, found.place) == ("default-init", "2")
    assert f"the variance {float(one.var[-1]):.2g} after 1 SELU." in found.message


@pytest.mark.parametrize("training", [False, True])
def test_alpha_dropout_takes_over_at_the_rate_that_keeps_as_much_signal(training: bool) -> None:
    torch.manual_seed(31)
    model = lecun(mlp(3, 64, torch.nn.SELU, lambda: torch.nn.Dropout(0.3))).train(training)
    [found] = sn.check(model)
    exec(found.fix, {"model": model, "selfnorm": sn})
    assert {module.training for module in model.modules()} == {training}
    drops = [module for module in model if isinstance(module, sn.nn.AlphaDropout)]
    assert len(drops) == 3
    # Of a large sample of standardised x, the squared correlation of x and what is left of it.
    x = torch.randn(400_000, generator=torch.Generator().manual_seed(4))
    shares = [
        float(torch.corrcoef(torch.stack([x, drop.train()(x)]))[0, 1] ** 2)
        for drop in (torch.nn.Dropout(0.3), drops[0])
    ]
    assert shares[0] == pytest.approx(0.7, abs=0.01)
    assert shares[1] == pytest.approx(shares[0], abs=0.01)  # five deviations of .001 and more
    assert f"at the rate {drops[0].p:g}" in found.message
    assert "divides the variance by 0.7 in training in each of 3 layers;" in found.message


class RawWeights(torch.nn.Module):
    """Weights that no layer holds, one of them as (in, out)."""

    def __init__(self) -> None:
        super().__init__()
        self.a = torch.nn.Parameter(0.02 * torch.randn(50, 30))
        self.b = torch.nn.Parameter(0.02 * torch.randn(50, 80))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.selu(torch.selu(torch.nn.functional.linear(x, self.a)) @ self.b)


def test_weights_without_a_layer_are_named() -> None:
    torch.manual_seed(34)
    model, x = RawWeights(), torch.randn(60, 30)
    [found] = sn.check(model, x)
    assert found.code == "weight-scale"
    exec(found.fix, {"model": model, "selfnorm": sn})
    assert float(model.a.detach().square().sum(1).mean()) == pytest.approx(1.0, abs=0.15)
    assert float(model.b.detach().square().sum(0).mean()) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("indices", [(0, 2, 4), (2,), (2, 4)])
def test_parametrised_weights_are_mended_without_their_parametrisation(
    indices: tuple[int, ...],
) -> None:
    torch.manual_seed(35)
    model = mlp(3)
    for index in indices:
        torch.nn.utils.parametrizations.weight_norm(model[index])
    [found] = sn.check(model)
    assert (found.code, found.place) == ("default-init", "0, 2, 4")
    exec(found.fix, {"model": model, "selfnorm": sn, "torch": torch})
    assert not sn.check(model)


def test_weights_that_hooks_compute_are_named_in_words() -> None:
    torch.manual_seed(36)
    model = mlp(2)
    prune.identity(model[0], "weight")  # type: ignore[no-untyped-call]
    [found] = sn.check(model)
    assert (found.code, found.place) == ("default-init", "0, 2")
    assert found.fix.startswith("draw the weights of 0, 2 with variance 1/fan_in")


def test_a_norm_after_a_pool_takes_over_what_the_pool_did() -> None:
    torch.manual_seed(27)
    nn = torch.nn
    first = [nn.Conv2d(3, 12, 3), nn.SELU(), nn.MaxPool2d(2), nn.BatchNorm2d(12), nn.SELU()]
    model = lecun(nn.Sequential(*first, nn.Flatten(), nn.Linear(12 * 225, 2)))
    assert [one.code for one in sn.check(model)] == ["batch-norm"]


@pytest.mark.parametrize("name", STRANGERS)
def test_the_lines_pasted_one_after_the_other_mend_a_stranger_s_network(name: str) -> None:
    torch.manual_seed(30)
    make, data, codes, left = STRANGERS[name]
    model, x = make(), data()
    found = sn.check(model, x)
    assert [one.code for one in found] == codes
    scope = {"model": model, "torch": torch, "selfnorm": sn}
    for _ in codes:
        lines = [one.fix for one in found if one.code not in left]
        if not lines:
            break
        exec(lines[0], scope)
        found = sn.check(model, x)
    assert [one.code for one in found] == left
    if name == "policy":  # its last layer starts small on purpose
        head = model.get_parameter("actor.4.weight").detach()
        assert head.square().sum(1).mean().sqrt() == pytest.approx(0.01, rel=1e-3)
    if not left:
        assert sn.diagnose(model, x).healthy
