"""Which implementation answers on which device, and why."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch

from selfnorm.ops import _native

__all__ = ["Backend", "backends"]


class Backend(NamedTuple):
    """What computes the operators on a device, and why.

    Parameters
    ----------
    name : str
        ``"native"`` (the compiled library), ``"triton"`` or ``"torch"`` (compositions of torch's
        own functions).
    reason : str
        Why it is in use.

    Examples
    --------
    >>> Backend("torch", "there is no other").name
    'torch'
    """

    name: str
    reason: str


def backends() -> dict[str, Backend]:
    """Return which implementation is in use on which kind of device, and why.

    Returns
    -------
    dict of str to Backend
        ``(name, reason)`` for ``"cpu"``, ``"cuda"`` and ``"other"`` devices.

    Notes
    -----
    ``SELFNORM_NATIVE=0`` and ``SELFNORM_TRITON=0`` in the environment switch the kernels off, for
    comparison; ``SELFNORM_CPU=baseline`` (``avx2``, ``avx512``) chooses among the native ones.

    Examples
    --------
    >>> from selfnorm import ops
    >>> sorted(ops.backends())
    ['cpu', 'cuda', 'other']
    >>> ops.backends()["other"].name
    'torch'
    """
    return {"cpu": cpu(), "cuda": cuda(), "other": _OTHER}


_OTHER = Backend("torch", "there are kernels for CPU and CUDA only")


@functools.cache
def cpu() -> Backend:
    """Load the native library on the first call."""
    loaded, reason = _native.load()
    return Backend("native" if loaded else "torch", reason)


@functools.cache
def cuda() -> Backend:
    """Register the Triton kernels on the first call, where there is a device for them."""
    if not torch.cuda.is_available():
        return Backend("torch", "torch sees no CUDA device here")
    from selfnorm.ops import _triton

    loaded, reason = _triton.register()
    return Backend("triton" if loaded else "torch", reason)
