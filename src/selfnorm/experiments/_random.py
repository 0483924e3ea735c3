"""Random numbers that belong to one purpose and to nothing else."""

from __future__ import annotations

import hashlib

import torch

__all__ = ["generator_for"]


def generator_for(*labels: object) -> torch.Generator:
    """Return a CPU generator whose seed depends on the labels alone.

    Each (seed, arm, purpose) has its own stream: leaving out an arm, or drawing one number more
    in one place, changes nothing elsewhere. Torch's global generator is not touched.
    """
    digest = hashlib.sha256("/".join(map(str, labels)).encode()).digest()
    # torch takes any 64-bit seed; 63 bits avoid the sign.
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
