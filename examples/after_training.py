"""Train each ready network for a short while and ask which prediction of its moments still holds.

Three predictions of each SELU layer's variance: that of the fresh network (the fixed point); that
of one layer from the moments that enter it and its trained weights, unit by unit, for independent
inputs; and the same from each unit's own mean and variance before the SELU, which asks of theory
no more than that these are normal. Variants hold the rows of the weights at each step: at sum 0
and length 1 (standardised), or at length 1 (`sn.nn.keep_row_norms`).

    python examples/after_training.py                  # some ten minutes
    python examples/after_training.py --models conv    # one of conv, residual, autoencoder,
    python examples/after_training.py --quick          # field, sequences, or several
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import selfnorm as sn

MODELS = ("conv", "residual", "autoencoder", "field", "sequences")
VARIANTS = ("plain", "standardised", "row norms")
CONSTANTS = sn.theory.solve()


class Standardized(nn.Module):
    """Rows of sum 0 and length 1, as `sn.nn.WSLinear` has them, for any layer's weight."""

    def forward(self, weight: Tensor) -> Tensor:
        rows = weight.flatten(1) - weight.flatten(1).mean(1, keepdim=True)
        return (rows / rows.norm(dim=1, keepdim=True)).reshape(weight.shape)


def digits() -> tuple[Tensor, Tensor]:
    """Images (n, 1, 8, 8), standardised, and classes; the last 450 are for testing."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    X = torch.as_tensor(data.images[order], dtype=torch.float32)[:, None] / 16.0
    return sn.nn.ImageInput.from_images(X[:-450])(X), torch.as_tensor(data.target[order])


def moons(n: int, generator: torch.Generator) -> Tensor:
    """Points (n, 2) about two half circles, standardised."""
    angle = math.pi * torch.rand(n, generator=generator)
    sign = torch.randint(2, (n,), generator=generator) * 2.0 - 1.0
    points = torch.stack([sign * angle.cos() - sign / 2, sign * angle.sin() - sign / 4], dim=1)
    return (points + 0.07 * torch.randn(n, 2, generator=generator)) / 0.71


def recall(n: int, steps: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sequences (n, steps, 2) whose first step shows one of four symbols, and the symbols."""
    x, y = (
        torch.randn(n, steps, 2, generator=generator),
        torch.randint(4, (n,), generator=generator),
    )
    x[:, 0] = torch.stack([2.0 * (y % 2) - 1.0, 2.0 * (y // 2) - 1.0], dim=1)
    return x, y


def task(name: str, seed: int) -> tuple[nn.Module, Callable, Callable, Callable]:
    """Return a fresh network, the loss of one batch, a run to watch, and its test figure."""
    g = torch.Generator().manual_seed(seed)
    if name == "field":
        field = sn.nn.SNNField(2, width=64, depth=6, generator=g)
        held_out = moons(2000, g)
        noise, t = torch.randn(2000, 2, generator=g), torch.rand(2000, generator=g)

        def test() -> float:
            at = torch.lerp(noise, held_out, t[:, None])
            return (field(at, t) - (held_out - noise)).square().mean().item()

        return field, lambda: field.loss(moons(200, g), generator=g), test, test
    if name == "sequences":
        net = sn.nn.SNNSequenceClassifier(2, 4, width=64, depth=2, generator=g)
        x, y = recall(1000, 20, g)

        def lose() -> Tensor:
            came, wanted = recall(50, 20, g)
            return nn.functional.cross_entropy(net(came), wanted)

        return net, lose, lambda: net(x), lambda: (net(x).argmax(1) == y).double().mean().item()
    X, y = digits()
    X_test, y_test = X[-450:], y[-450:]
    if name == "autoencoder":
        X, X_test = X.flatten(1), X_test.flatten(1)
        coder = sn.nn.SNNAutoencoder(64, 8, width=64, depth=4, generator=g)

        def rows() -> Tensor:
            return X[torch.randint(len(X) - 450, (100,), generator=g)]

        def left() -> float:
            return ((coder(X_test) - X_test).square().sum() / X_test.square().sum()).item()

        return coder, lambda: (lambda x: (coder(x) - x).square().mean())(rows()), left, left
    make = {"conv": sn.nn.SNNConv, "residual": sn.nn.SNNResNet}[name]
    depth = {"conv": 8, "residual": 9}[name]
    net = make(1, 10, image_size=8, depth=depth, width=16, generator=g)

    def loss() -> Tensor:
        rows = torch.randint(len(X) - 450, (64,), generator=g)
        return nn.functional.cross_entropy(net(X[rows]), y[rows])

    def accuracy() -> float:
        return (net(X_test).argmax(1) == y_test).double().mean().item()

    return net, loss, accuracy, accuracy


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The layers that end in a SELU."""
    return [m for m in model.modules() if isinstance(m, sn.nn.LinearSELU | sn.nn.ConvSELU2d)]


def weighted(layer: nn.Module) -> nn.Module:
    return layer.conv if isinstance(layer, sn.nn.ConvSELU2d) else layer


def mean_and_var(mean: np.ndarray, var: np.ndarray) -> float:
    """Pooled variance of SELU units whose inputs are normal with these moments."""
    found = sn.theory.moments("selu", mean, var)
    return float(found.var.mean() + np.var(found.mean))


def look(model: nn.Module, run: Callable) -> list[tuple[float, float, float]]:
    """Variance of each SELU layer: measured, by its weights, by its units' own moments."""
    found: list[tuple[float, float, float]] = []

    def see(layer: nn.Module, came: tuple[Tensor, ...], out: Tensor) -> None:
        x, part = came[0].double(), weighted(layer)
        rows = part.weight.detach().double().flatten(1)
        bias = 0.0 if part.bias is None else part.bias.detach().double().numpy()
        by_weights = mean_and_var(
            rows.sum(1).numpy() * x.mean().item() + bias,
            rows.square().sum(1).numpy() * x.var().item(),
        )
        y = out.detach().double().movedim(1, -1).flatten(0, -2)
        # SELU has an inverse; float32 leaves nothing of it beyond z = -15.
        inside = (1.0 + y / (CONSTANTS.scale * CONSTANTS.alpha)).clamp(min=math.exp(-15.0)).log()
        z = torch.where(y > 0, y / CONSTANTS.scale, inside)
        by_units = mean_and_var(z.mean(0).numpy(), z.var(0).numpy())
        found.append((y.var().item(), by_weights, by_units))

    handles = [layer.register_forward_hook(see) for layer in layers_of(model)]
    with torch.no_grad():
        run()
    for handle in handles:
        handle.remove()
    return found


def train(name: str, variant: str, seed: int, steps: int) -> tuple[list, list, float]:
    """Return the layers' variances at the start and after training, and the test figure."""
    model, loss, run, test = task(name, seed)
    if variant == "standardised":
        for layer in layers_of(model)[1:]:  # the first sees few inputs that are much alike
            nn.utils.parametrize.register_parametrization(weighted(layer), "weight", Standardized())
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    if variant == "row norms":
        paths = {id(module): path for path, module in model.named_modules()}
        held = [paths[id(weighted(layer))] for layer in layers_of(model)]
        sn.nn.keep_row_norms(model, optimizer, layers=held)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.eval()
    start = look(model, run)
    for _ in range(steps):
        value = loss()
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    end = look(model, run)
    with torch.no_grad():
        return start, end, test()


def main(arguments: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=",".join(MODELS), help="which, with commas between")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one model, a few steps")
    options = parser.parse_args(arguments)
    if options.quick:
        options.models, options.steps, options.seeds = "field", 30, 1

    print("variance of the last SELU layer, and the largest ratio of measured over predicted in")
    print("any layer, where theory is given the trained weights, or each unit's mean and variance")
    print(f"{'':26}start  trained  by weights  by units  test")
    figures = {}
    for name in options.models.split(","):
        for variant in VARIANTS:
            start, end, test = zip(
                *(train(name, variant, seed, options.steps) for seed in range(options.seeds)),
                strict=True,
            )
            begun = np.mean([layers[-1][0] for layers in start])
            last = np.mean([layers[-1][0] for layers in end])
            ratios = np.array(end)[..., :1] / np.array(end)[..., 1:]
            worst = np.exp(np.abs(np.log(ratios)).max(axis=(0, 1)))
            print(
                f"{name:13}{variant:13}{begun:5.2f}{last:9.2f}{worst[0]:12.2f}{worst[1]:10.2f}"
                f"{np.mean(test):9.4f} ± {np.std(test) / math.sqrt(len(test)):.4f}",
                flush=True,
            )
            figures |= {
                f"{name}, {variant}, start": float(begun),
                f"{name}, {variant}": float(last),
            }
            figures |= {f"{name}, {variant}, by units": float(worst[1])}
    return figures


if __name__ == "__main__":
    main()
