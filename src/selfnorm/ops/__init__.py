"""The operators, behind names that do not change when a faster kernel takes over.

These functions take checked arguments and constants; :mod:`selfnorm.functional` is the interface
for users. The raw kernels, without derivatives and into given tensors, are
``torch.ops.selfnorm.{selu, selu_grad, selu_grad_from_output, alpha_dropout}``, each with an
``.out`` form.
"""

from __future__ import annotations

from selfnorm.ops._backends import Backend, backends
from selfnorm.ops._dispatch import alpha_dropout, draw_rng, elu, linear_selu, selu_dropout

__all__ = [
    "Backend",
    "alpha_dropout",
    "backends",
    "draw_rng",
    "elu",
    "linear_selu",
    "selu_dropout",
]
