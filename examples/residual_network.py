"""Deep residual networks on 8 x 8 digits: scaled sums keep the variance, plain sums do not.

python examples/residual_network.py            # about a minute
python examples/residual_network.py --quick    # a few seconds
"""

from __future__ import annotations

import argparse
import copy
import math

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

import selfnorm as sn


def data(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images (n, 1, 8, 8) with pixels from 0 to 1, and classes, split 3 to 1."""
    digits = load_digits()
    parts = train_test_split(
        digits.images[:, None] / 16.0, digits.target, stratify=digits.target, random_state=seed
    )
    X, X_test, y, y_test = (torch.as_tensor(part) for part in parts)
    return X.float(), y, X_test.float(), y_test


def moments(net: sn.nn.SNNResNet, x: Tensor) -> list[tuple[float, float]]:
    """Mean and variance after the first layer and after each block."""
    found = []
    with torch.no_grad():
        h = x * net.input_scale
        for part in net.hidden:
            h = part(h)
            found.append((h.mean().item(), h.var().item()))
    return found


def predicted(net: sn.nn.SNNResNet) -> list[tuple[float, float]]:
    """What theory says for random weights: the branches' moments, weighted as the sum is."""
    layer = sn.theory.Layer("selu")
    path = sn.theory.predict([layer], 0.0, 1.0)
    mean, var = float(path.mean[0]), float(path.var[0])
    found, s = [(mean, var)], net.skip
    for _ in net.widths[1:]:
        branch = sn.theory.predict([layer, layer], mean, var)
        mean = math.sqrt(1 - s * s) * float(branch.mean[1]) + s * mean
        var = (1 - s * s) * float(branch.var[1]) + s * s * var
        found.append((mean, var))
    return found


def plain_sums(net: sn.nn.SNNResNet) -> sn.nn.SNNResNet:
    """The same network with sums branch + shortcut, as residual networks have them."""
    plain = copy.deepcopy(net)
    for part in plain.hidden[1:]:
        part.share = part.skip = 1.0
    return plain


def train(model: nn.Module, X: Tensor, y: Tensor, epochs: int, rate: float, seed: int) -> float:
    """AdamW with a rate that falls to zero; return the last epoch's mean loss."""
    generator = torch.Generator().manual_seed(seed)
    batches = -(-len(X) // 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)
    model.train()
    for _ in range(epochs):
        losses = []
        for rows in torch.randperm(len(X), generator=generator).split(64):
            loss = nn.functional.cross_entropy(model(X[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    model.eval()
    return sum(losses) / len(losses)


def main(arguments: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=33, help="convolutions, an odd number")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="two epochs of a smaller net")
    options = parser.parse_args(arguments)
    if options.quick:
        options.depth, options.width, options.epochs = 17, 8, 2

    X, y, X_test, y_test = data(options.seed)
    images = sn.nn.ImageInput.from_images(X)
    net = sn.nn.SNNResNet(
        1,
        10,
        image_size=8,
        depth=options.depth,
        width=options.width,
        generator=torch.Generator().manual_seed(options.seed),
    ).eval()

    x = images(X_test)
    theory, start, plain = predicted(net), moments(net, x), moments(plain_sums(net), x)
    model = nn.Sequential(images, net)
    loss = train(model, X, y, options.epochs, rate=1e-3, seed=options.seed)
    end = moments(net, x)
    with torch.no_grad():
        accuracy = (model(X_test).argmax(1) == y_test).float().mean().item()

    print(f"mean and variance after each block; skip = {net.skip:.4f}")
    print("block   start: theory      measured         trained       plain sums")
    for k in range(len(start)):
        cells = " ".join(f"{m:8.3f} {v:6.3f}" for m, v in (theory[k], start[k], end[k]))
        print(f"{k:5} {cells}  {plain[k][0]:8.3f} {plain[k][1]:.3g}")
    print(f"training loss {loss:.4f}, test accuracy {accuracy:.4f}")
    return {
        "accuracy": accuracy,
        "loss": loss,
        "start mean": max(abs(mean) for mean, _ in start),
        "start variance": max(abs(var - 1.0) for _, var in start),
        "end variance": max(var for _, var in end),
        "plain variance": plain[-1][1],
    }


if __name__ == "__main__":
    main()
