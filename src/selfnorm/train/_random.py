"""Streams of random numbers that depend on their labels alone."""

from __future__ import annotations

import hashlib

import torch

__all__ = ["generator_for", "key_for"]


def key_for(*labels: object) -> int:
    """Return 63 bits that depend on the labels alone."""
    digest = hashlib.blake2b("/".join(map(str, labels)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator_for(*labels: object) -> torch.Generator:
    """Return a CPU generator whose seed depends on the labels alone.

    A stream that is a function of (seed, purpose, epoch) has no state to save: a resumed run draws
    what the interrupted one would have drawn.
    """
    return torch.Generator().manual_seed(key_for(*labels))
