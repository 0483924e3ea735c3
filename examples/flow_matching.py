"""Turn noise into two interleaving half circles by flow matching, and watch the field's moments.

python examples/flow_matching.py            # about half a minute
python examples/flow_matching.py --quick    # a few seconds
"""

from __future__ import annotations

import argparse
import math

import torch
from torch import Tensor

import selfnorm as sn


def moons(n: int, generator: torch.Generator) -> Tensor:
    """Points (n, 2) about two half circles, centred and divided by one deviation."""
    angle = math.pi * torch.rand(n, generator=generator)
    second = torch.rand(n, generator=generator) < 0.5
    x = torch.where(second, 1.0 - angle.cos(), angle.cos())
    y = torch.where(second, 0.5 - angle.sin(), angle.sin())
    points = torch.stack([x, y], dim=1) + 0.07 * torch.randn(n, 2, generator=generator)
    centred = points - torch.tensor([0.5, 0.25])
    return centred / 0.71  # the root mean square of a coordinate


def distance(a: Tensor, b: Tensor) -> float:
    """Sliced Wasserstein distance: sorted projections on 50 directions, compared."""
    angle = math.pi * torch.arange(50) / 50
    rays = torch.stack([angle.cos(), angle.sin()])
    return ((a @ rays).sort(0).values - (b @ rays).sort(0).values).abs().mean().item()


def moments(field: sn.nn.SNNField, t: float, generator: torch.Generator) -> list[tuple]:
    """Mean and variance of each hidden layer at one time, over points and units."""
    found: list[tuple[float, float]] = []
    layers = [*field.hidden, field.head]  # what enters each is what leaves the layer before it
    handles = [
        layer.register_forward_pre_hook(
            lambda _, given: found.append((given[0].mean().item(), given[0].var().item()))
        )
        for layer in layers
    ]
    noise = torch.randn(2000, 2, generator=generator)
    with torch.no_grad():
        field(torch.lerp(noise, moons(2000, generator), t), torch.tensor(t))
    for handle in handles:
        handle.remove()
    return found


def main(arguments: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a small field and few steps")
    options = parser.parse_args(arguments)
    if options.quick:
        options.depth, options.width, options.steps = 4, 96, 250

    generator = torch.Generator().manual_seed(options.seed)
    field = sn.nn.SNNField(2, width=options.width, depth=options.depth, generator=generator)
    times = (0.0, 0.5, 1.0)
    start = [moments(field, t, generator) for t in times]
    real = moons(2000, generator)
    before = distance(field.sample(2000, generator=generator), real)

    optimizer = torch.optim.Adam(field.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    for _ in range(options.steps):
        loss = field.loss(moons(256, generator), generator=generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    end = [moments(field, t, generator) for t in times]
    after = distance(field.sample(2000, generator=generator), real)
    floor = distance(moons(2000, generator), real)

    print("variance of each hidden layer by time; theory: 1 at the start, at every time")
    print("layer   start: t=0    t=1/2      t=1    trained: t=0    t=1/2      t=1")
    for k in range(options.depth):
        cells = [f"{where[k][1]:8.3f}" for where in (*start, *end)]
        print(f"{k:5}      {' '.join(cells[:3])}        {' '.join(cells[3:])}")
    print(f"distance of samples from data: {before:.3f} before, {after:.3f} after training")
    print(f"distance of data from data: {floor:.3f}")
    return {
        "before": before,
        "after": after,
        "floor": floor,
        # Points of two coordinates scatter in their mean square; pooled over the times.
        "start variance": abs(sum(v for at in start for _, v in at) / (3 * options.depth) - 1.0),
    }


if __name__ == "__main__":
    main()
