"""Measure what borders and pools do to moments, in random convolutional networks.

python examples/borders_and_pools.py                          # the digits of scikit-learn
python examples/borders_and_pools.py --images mnist.npz       # its array X: (n, h, w) or
python examples/borders_and_pools.py --quick                  # (n, h, w, channels), uint8
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

import selfnorm as sn

MODES = ("zeros", "rescaled", "reflect", "circular", "replicate")


def read(path: str | None) -> Tensor:
    """Images as (n, channels, h, w); 8 x 8 digits without a path."""
    if path is None:
        pixels = load_digits().images / 16.0
    else:
        with np.load(path) as file:
            pixels = file["X"][:1000] / 255.0
    images = torch.as_tensor(pixels, dtype=torch.float32)
    return images[:, None] if images.dim() == 3 else images.movedim(-1, 1)


def border(mode: str, networks: int, channels: int, depth: int) -> tuple[float, float, float]:
    """Second moment in the corner and the centre, and gradient of the one over the other."""
    forward, backward = torch.zeros(8, 8), torch.zeros(8, 8)
    for seed in range(networks):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(64, channels, 8, 8, generator=generator, requires_grad=True)
        h = x
        for _ in range(depth):
            layer = sn.nn.ConvSELU2d(channels, channels, 3, padding_mode=mode, generator=generator)
            h = layer(h)
        (h * torch.randn(h.shape, generator=generator)).sum().backward()
        forward += h.detach().square().mean((0, 1)) / networks
        backward += x.grad.square().mean((0, 1)) / networks
    return float(forward[0, 0]), float(forward[4, 4]), float(backward[0, 0] / backward[4, 4])


def window_correlation(x: Tensor) -> float:
    """Mean correlation of the six pairs in 2 x 2 windows, pooled over all channels."""
    x = x - x.mean((0, 2, 3), keepdim=True)
    pairs = [
        (x[..., 1:], x[..., :-1], 2),
        (x[..., 1:, :], x[..., :-1, :], 2),
        (x[..., 1:, 1:], x[..., :-1, :-1], 1),
        (x[..., 1:, :-1], x[..., :-1, 1:], 1),
    ]
    return float(sum(n * (a * b).mean() for a, b, n in pairs) / 6 / x.square().mean())


def pools(images: Tensor, networks: int, depth: int) -> dict[str, tuple[float, float]]:
    """Mean and variance behind each pool after ``depth`` layers, and the correlations."""
    predicted = start = window_correlation(images)
    for _ in range(depth):
        predicted = float(sn.theory.correlation_map("selu", predicted))
    x = sn.nn.ImageInput.from_images(images)(images[:512])
    found: dict[str, list[tuple[float, float]]] = {}
    measured = []
    for seed in range(networks):
        generator, h = torch.Generator().manual_seed(seed), x
        with torch.no_grad():
            for k in range(depth):
                inputs = x.shape[1] if k == 0 else 48
                h = sn.nn.ConvSELU2d(inputs, 48, 3, generator=generator)(h)
        measured.append(window_correlation(h))
        for name, y in {
            "stride 2": h[..., ::2, ::2],
            "average, independent": sn.nn.AvgPool2d(2)(h),
            "average, predicted c": sn.nn.AvgPool2d(2, correlation=predicted)(h),
            "maximum, independent": sn.nn.MaxPool2d(2)(h),
            "maximum, predicted c": sn.nn.MaxPool2d(2, correlation=predicted)(h),
        }.items():
            found.setdefault(name, []).append((y.mean().item(), y.var().item()))
    print(f"\ncorrelation in 2 x 2 windows: {start:.2f} of the pixels; after {depth} layers")
    print(f"theory {predicted:.2f}, measured {np.mean(measured):.2f}. Behind a pool then:")
    return {name: tuple(np.mean(values, axis=0)) for name, values in found.items()}


def main(arguments: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", help="an .npz file with images in its array X")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller networks")
    options = parser.parse_args(arguments)
    networks, channels, depth = (2, 16, 8) if options.quick else (8, 64, 16)

    print(f"{depth} layers of {channels} channels, 3 x 3 windows, 8 x 8 map: theory says 1.00")
    print("padding     second moment: corner  centre   gradient: corner / centre")
    figures = {}
    for mode in MODES:
        corner, centre, ratio = border(mode, networks, channels, depth)
        print(f"{mode:12}{corner:21.2f}{centre:8.2f}{ratio:18.2f}")
        figures[f"corner, {mode}"] = corner
    for name, (mean, var) in pools(read(options.images), min(networks, 4), 8).items():
        print(f"{name:22} mean {mean:6.2f}, variance {var:5.2f}")
        figures[f"variance, {name}"] = float(var)
    return figures


if __name__ == "__main__":
    main()
