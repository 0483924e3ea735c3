"""The operators, behind names that do not change when a faster kernel takes over.

These functions take checked arguments and constants; :mod:`selfnorm.functional` is the
interface for users.
"""

from __future__ import annotations

from selfnorm.ops._dispatch import Backend, alpha_dropout, backends, elu, selu, selu_dropout

__all__ = ["Backend", "alpha_dropout", "backends", "elu", "selu", "selu_dropout"]
