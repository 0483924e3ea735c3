"""Data of the generative experiment, and the distance between two samples."""

from __future__ import annotations

import dataclasses
import math
from typing import Final

import torch
from torch import Tensor

from selfnorm.experiments._data import load_data
from selfnorm.experiments._random import generator_for

__all__ = ["GENERATIVE_DATA", "GenerativeRows", "load_rows", "sliced_distance"]

GENERATIVE_DATA: Final = ("moons", "circles", "digits")
_TRAIN, _VALIDATION, _TEST = 8_000, 2_000, 2_000
_NOISE: Final = 0.07  # standard deviation of the points about their curves
_INNER: Final = 0.5  # radius of the inner ring; the outer one has 1
_DIRECTIONS: Final = 100
_FLOOR_DRAWS: Final = 5


@dataclasses.dataclass(frozen=True, eq=False)
class GenerativeRows:
    """Rows centred and divided by one deviation, those of the training rows.

    Attributes
    ----------
    train, validation, test : Tensor
        Shape (n, features).
    source : str
        Where the rows came from.
    """

    train: Tensor
    validation: Tensor
    test: Tensor
    source: str

    def floor(self) -> float:
        """Return the distance of real rows from the test rows, averaged over draws."""
        real = torch.cat([self.train, self.validation])
        generator = generator_for("generative", "floor")
        found = []
        for _ in range(_FLOOR_DRAWS):
            chosen = torch.randperm(len(real), generator=generator)[: len(self.test)]
            found.append(sliced_distance(real[chosen], self.test))
        return sum(found) / len(found)


def load_rows(name: str) -> GenerativeRows:
    """Return the rows of a data set of ``GENERATIVE_DATA``."""
    if name == "digits":
        data = load_data("digits")
        inner = data.with_validation()
        parts = [torch.from_numpy(X) for X in (inner.X_train, inner.X_test, data.X_test)]
        source = data.source
    else:
        draw = _moons if name == "moons" else _circles
        generator = generator_for("generative", name)
        parts = [draw(count, generator) for count in (_TRAIN, _VALIDATION, _TEST)]
        source = f"{name}, drawn here, noise {_NOISE:g}"
    mean = parts[0].double().mean(0)
    deviation = (parts[0].double() - mean).square().mean().sqrt()
    train, validation, test = (((part - mean) / deviation).float() for part in parts)
    return GenerativeRows(train, validation, test, source)


def sliced_distance(a: Tensor, b: Tensor) -> float:
    """Return the sliced Wasserstein distance of order 1 between samples of equal size.

    The mean over 100 fixed directions, uniform on the sphere, of the mean distance between the
    sorted projections.
    """
    rays = torch.randn(
        (_DIRECTIONS, a.shape[1]),
        generator=generator_for("generative", "directions"),
        dtype=torch.float64,
    )
    rays = rays / rays.norm(dim=1, keepdim=True)
    sorted_a, sorted_b = ((x.double() @ rays.T).sort(dim=0).values for x in (a, b))
    return float((sorted_a - sorted_b).abs().mean())


def _moons(n: int, generator: torch.Generator) -> Tensor:
    """Two half circles of radius 1, the second upside down, one radius right and half one below."""
    angle = math.pi * torch.rand(n, generator=generator)
    lower = torch.rand(n, generator=generator) < 0.5
    x = torch.where(lower, 1.0 - angle.cos(), angle.cos())
    y = torch.where(lower, 0.5 - angle.sin(), angle.sin())
    return torch.stack([x, y], dim=1) + _NOISE * torch.randn(n, 2, generator=generator)


def _circles(n: int, generator: torch.Generator) -> Tensor:
    """Two rings about one centre."""
    angle = 2 * math.pi * torch.rand(n, generator=generator)
    inner = torch.rand(n, generator=generator) < 0.5
    radius = torch.where(inner, _INNER, 1.0)
    points = radius.unsqueeze(1) * torch.stack([angle.cos(), angle.sin()], dim=1)
    return points + _NOISE * torch.randn(n, 2, generator=generator)
