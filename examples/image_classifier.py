"""Train a deep convolutional network without batch norm on 8 x 8 digits, and watch its moments.

At the start the moments are those of theory. Training leaves the weights' sums of squares near 1
but turns the weights towards what their inputs have in common, so that their gain on these
correlated inputs rises above 1, and the variances with it.

    python examples/image_classifier.py            # about twenty seconds
    python examples/image_classifier.py --quick    # a few seconds
"""

from __future__ import annotations

import argparse

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


def moments(net: sn.nn.SNNConv, x: Tensor) -> list[tuple[float, float, float]]:
    """Each layer's mean and variance, and its gain: mean square before SELU over the input's."""
    found, entering = [], x.square().mean().item()
    for layer in sn.diagnose(net, x).layers:
        before = layer.preactivation_mean**2 + layer.preactivation_var
        found.append((layer.mean, layer.var, before / entering))
        entering = layer.mean**2 + layer.var
    return found


def sums_of_squares(net: sn.nn.SNNConv) -> list[float]:
    """What the gain would be for independent inputs: the mean sum of squares of the weights."""
    return [block.conv.weight.square().sum((1, 2, 3)).mean().item() for block in net.hidden]


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
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a narrow net for three epochs")
    options = parser.parse_args(arguments)
    if options.quick:
        options.width, options.epochs = 8, 3
    torch.manual_seed(options.seed)  # the dropout's

    X, y, X_test, y_test = data(options.seed)
    images = sn.nn.ImageInput.from_images(X)
    net = sn.nn.SNNConv(
        1,
        10,
        image_size=8,
        depth=options.depth,
        width=options.width,
        dropout=0.05,
        generator=torch.Generator().manual_seed(options.seed),
    ).eval()
    model = nn.Sequential(images, net)

    x = images(X_test)
    theory = sn.theory.predict([sn.theory.Layer("selu")] * options.depth, 0.0, 1.0)
    start = moments(net, x)
    loss = train(model, X, y, options.epochs, rate=1e-3, seed=options.seed)
    end, weights = moments(net, x), sums_of_squares(net)
    with torch.no_grad():
        accuracy = (model(X_test).argmax(1) == y_test).float().mean().item()

    print("         start                            trained")
    print("layer    theory        measured           measured        sum w^2  gain")
    for k in range(options.depth):
        cells = (theory.mean[k], theory.var[k], *start[k][:2], *end[k][:2], weights[k], end[k][2])
        print(f"{k:5}" + "".join(f"{cell:8.3f}" for cell in cells))
    print(f"training loss {loss:.4f}, test accuracy {accuracy:.4f}")
    return {
        "accuracy": accuracy,
        "loss": loss,
        "start mean": max(abs(mean) for mean, _, _ in start),
        "start variance": max(abs(var - 1.0) for _, var, _ in start),
        "end variance": max(var for _, var, _ in end),
    }


if __name__ == "__main__":
    main()
