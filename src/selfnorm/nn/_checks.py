"""What module constructors refuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch

from selfnorm.errors import DomainError

__all__ = [
    "check_channels",
    "check_dims",
    "check_dtype",
    "check_generator",
    "check_size",
    "check_sizes",
]

_MOST: Final = 2**31 - 1  # of units, channels, steps: torch's sizes are 64-bit products of these


def check_channels(in_channels: int, out_channels: int, groups: int) -> None:
    """Refuse numbers of channels that are none, or that the groups do not divide."""
    for name, value in (("in_channels", in_channels), ("out_channels", out_channels)):
        check_size(name, value, 1)
    check_size("groups", groups, 1)
    if in_channels % groups or out_channels % groups:
        raise DomainError(
            "groups must divide in_channels and out_channels, however: "
            f"in_channels={in_channels}, out_channels={out_channels}, groups={groups}; "
            f"take a common divisor: {', '.join(map(str, _common(in_channels, out_channels)))}"
        )


def _common(a: int, b: int) -> list[int]:
    return [n for n in range(1, min(a, b) + 1) if a % n == 0 and b % n == 0]


def check_sizes(name: str, value: int | Sequence[int], count: int, least: int) -> tuple[int, ...]:
    """Return one integer per spatial dimension of one for all or one for each."""
    sizes = (value,) * count if type(value) is int else value
    if (
        not isinstance(sizes, tuple | list)
        or len(sizes) != count
        or not all(type(size) is int and least <= size <= _MOST for size in sizes)
    ):
        raise DomainError(
            f"{name} must be an integer, {least} or more, or {count} of them, one per spatial "
            f"dimension, each below 2**31, however: {name}={value!r}"
        )
    return tuple(sizes)


def check_dims(name: str, value: Sequence[int]) -> tuple[int, ...]:
    """Return integers as a tuple; refuse anything else. Their range depends on the tensor."""
    if not isinstance(value, tuple | list) or not all(type(dim) is int for dim in value):
        raise DomainError(
            f"{name} must be a sequence of integers, as (2, 3), however: {name}={value!r}"
        )
    return tuple(value)


def check_size(name: str, value: int, least: int) -> int:
    """Return an integer of at least ``least``; refuse anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MOST:
        raise DomainError(
            f"{name} must be an integer, {least} or more, however: {name}={value!r}; "
            "count units and layers in whole numbers, below 2**31"
        )
    return value


def check_dtype(dtype: torch.dtype | None) -> torch.dtype | None:
    """Return a data type that layers can have; refuse anything else."""
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise DomainError(
            f"dtype must be a floating-point type, however: dtype={dtype!r}; "
            "leave it out for torch's default, or take torch.float32"
        )
    return dtype


def check_generator(generator: torch.Generator | None) -> torch.Generator | None:
    """Return a source of random numbers; refuse anything else, a seed for one."""
    if generator is not None and not isinstance(generator, torch.Generator):
        raise DomainError(
            f"generator must be a torch.Generator, however: generator={generator!r}; "
            "make one of a seed with torch.Generator().manual_seed(seed)"
        )
    return generator
