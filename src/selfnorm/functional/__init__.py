"""Self-normalizing functions of tensors: SELU, ELU, alpha dropout.

The constants of SELU and of alpha dropout follow from the fixed point (mean, var) that the
network shall keep; (0, 1) gives the published ones. Source: Klambauer, Unterthiner, Mayr,
Hochreiter, "Self-Normalizing Neural Networks", NeurIPS 2017 (arXiv:1706.02515).

Accuracy, measured against 64-bit and 40-digit references for function and gradient: float64
within 2 and float32 within 3 units in the last place, zero and infinity included; bfloat16 and
float16 are computed in float32 and rounded once.
"""

from __future__ import annotations

from selfnorm.functional._functions import alpha_dropout, elu, linear_selu, selu, selu_dropout

__all__ = ["alpha_dropout", "elu", "linear_selu", "selu", "selu_dropout"]
