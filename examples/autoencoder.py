"""Train a deep autoencoder without batch norm on 8 x 8 digits, and watch its moments.

python examples/autoencoder.py                  # about half a minute
python examples/autoencoder.py --variational    # draw the codes, and digits from nothing
python examples/autoencoder.py --quick          # a few seconds
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

import selfnorm as sn


def data(seed: int) -> tuple[Tensor, Tensor]:
    """Images (n, 64), each pixel centred, all divided by one deviation; split 3 to 1."""
    images = torch.as_tensor(load_digits().data).float()
    train, test = (torch.as_tensor(x) for x in train_test_split(images, random_state=seed))
    mean = train.mean(0)
    deviation = (train - mean).square().mean().sqrt()
    return (train - mean) / deviation, (test - mean) / deviation


def moments(net: sn.nn.SNNAutoencoder, x: Tensor) -> list[tuple[float, float]]:
    """Mean and variance after each hidden layer of encoder and decoder, over rows and units."""
    found: list[tuple[float, float]] = []
    layers = [*net.encoder.hidden, *net.decoder.hidden]
    handles = [
        layer.register_forward_hook(
            lambda _, __, out: found.append((out.mean().item(), out.var().item()))
        )
        for layer in layers
    ]
    with torch.no_grad():
        net(x)
    for handle in handles:
        handle.remove()
    return found


def pca_error(train: Tensor, test: Tensor, components: int) -> float:
    """Share of the test rows' squares that the best linear autoencoder leaves."""
    basis = torch.linalg.svd(train, full_matrices=False).Vh[:components]
    left = test - test @ basis.T @ basis
    return (left.square().sum() / test.square().sum()).item()


def main(arguments: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=8, help="hidden layers, of each part")
    parser.add_argument("--code", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--variational", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a small net for a few epochs")
    options = parser.parse_args(arguments)
    if options.quick:
        options.depth, options.epochs = 3, 12

    generator = torch.Generator().manual_seed(options.seed)
    X, X_test = data(options.seed)
    net = sn.nn.SNNAutoencoder(
        64,
        options.code,
        width=96,
        depth=options.depth,
        var="depth-matched",
        weight_init="orthogonal",
        variational=options.variational,
        generator=generator,
    ).eval()
    theory = sn.theory.solve(0.0, net.var)
    start = moments(net, X_test)

    batches = len(X) // 64
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs * batches)
    net.train()
    for _ in range(options.epochs):
        for rows in torch.randperm(len(X), generator=generator)[: batches * 64].split(64):
            if options.variational:
                loss = net.elbo(X[rows], noise_var=0.1, generator=generator).loss
            else:
                loss = (net(X[rows]) - X[rows]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    net.eval()
    end = moments(net, X_test)
    with torch.no_grad():
        left = (net(X_test) - X_test).square().sum() / X_test.square().sum()
    linear = pca_error(X, X_test, options.code)

    print(f"variance that theory keeps: {theory.var:.3f}; mean 0")
    print("layer   start: mean   variance    trained: mean  variance")
    for k, ((mean, var), (mean_after, var_after)) in enumerate(zip(start, end, strict=True)):
        print(f"{k:5}        {mean:7.3f}  {var:8.3f}         {mean_after:7.3f}  {var_after:8.3f}")
    print(f"not reconstructed: {left.item():.3f}")
    print(f"not reconstructed by {options.code} principal components: {linear:.3f}")
    if options.variational:
        drawn = net.sample(500, generator=generator)
        print(f"variance of drawn rows {drawn.var().item():.2f}, of real ones {X.var().item():.2f}")
    return {
        "error": left.item(),
        "PCA error": linear,
        "start variance": max(abs(var / net.var - 1.0) for _, var in start),
        "end variance": max(var for _, var in end),
    }


if __name__ == "__main__":
    main()
