"""The operators as torch knows them: their schemas, and what they return for fake tensors.

Nothing here computes. `_reference` answers on every device, the native library on CPU and Triton
on CUDA take over where they are present; derivatives are in `_autograd`.

The arguments, in every operator:

x, grad, y : Tensor
    Any shape; float64, float32, bfloat16 or float16; ``grad`` and ``y`` like ``x``.
bias : Tensor, optional
    Shape (features,) for x of shape (..., features), in the type that x is computed in.
rng : Tensor, optional
    Two int64 in [0, 2**63) on the device of x: key and offset of the random decisions. Without it
    nothing is dropped.
p : float
    Probability of dropping, in [0, 1]; honoured to the nearest multiple of 2**-32.
alpha, scale : float
    The constants of SELU.
a, b : float
    The affine map after the dropout.
saturation : float
    What a dropped element is set to before that map.
out : Tensor
    Written; like ``x``, and it may be ``x`` or ``grad`` itself. The native library does not tell
    autograd of it: whoever writes over a tensor that a backward pass needs has to
    (`torch.autograd.graph.increment_version`).
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

__all__ = ["LIBRARY", "SCHEMAS"]

_SELU: Final = "Tensor? bias, Tensor? rng, float p, float alpha, float scale, float a, float b"

# The slope needs no b; a slope from the output needs no decisions, since they can be read off it.
ARGUMENTS: Final = {
    "selu": f"Tensor x, {_SELU}",
    "selu_grad": f"Tensor grad, Tensor x, {_SELU.removesuffix(', float b')}",
    "selu_grad_from_output": "Tensor grad, Tensor y, float alpha, float scale, float a, float b",
    "alpha_dropout": "Tensor x, Tensor rng, float p, float a, float b, float saturation",
}
SCHEMAS: Final = {
    **{name: f"{name}({args}) -> Tensor" for name, args in ARGUMENTS.items()},
    **{
        f"{name}.out": f"{name}.out({args}, *, Tensor(a!) out) -> ()"
        for name, args in ARGUMENTS.items()
    },
}

LIBRARY: Final = torch.library.Library("selfnorm", "DEF")


def _like_first(first: Tensor, *_: object) -> Tensor:
    return torch.empty_like(first)


def _nothing(*_: object, out: Tensor) -> None:
    """Return nothing: ``out`` is the result."""


for _name, _schema in SCHEMAS.items():
    LIBRARY.define(_schema)
    torch.library.register_fake(
        f"selfnorm::{_name}", _nothing if _name.endswith(".out") else _like_first, lib=LIBRARY
    )
