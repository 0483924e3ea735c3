"""Alpha dropout as a module."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from selfnorm import functional, theory
from selfnorm.functional._checks import check_rate
from selfnorm.nn._checks import check_dims

__all__ = ["AlphaDropout"]


class AlphaDropout(torch.nn.Module):
    """Dropout that keeps mean and variance: dropped units go to SELU's saturation value.

    In training, each unit is set to the saturation value of the SELU with this fixed point with
    probability p, then all are mapped by a x + b (:func:`selfnorm.functional.alpha_dropout`);
    in evaluation it is the identity.

    Parameters
    ----------
    p : float
        Probability of dropping, in [0, 1]. 0.05 to 0.1 is usual.
    mean, var : float
        The fixed point of the SELU before it.
    shared_dims : sequence of int
        Dimensions along which one decision is shared: ``(2, 3)`` drops whole channels of
        (N, C, H, W), ``(1,)`` drops features of (N, T, F) for all times.

    Raises
    ------
    DomainError
        If an argument lies outside its domain.

    Notes
    -----
    Shape: any, kept. Random numbers come from torch's default generator.

    References
    ----------
    Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017, arXiv:1706.02515.

    Examples
    --------
    >>> AlphaDropout(0.1, shared_dims=(2, 3))
    AlphaDropout(p=0.1, shared_dims=(2, 3))
    """

    def __init__(
        self,
        p: float = 0.05,
        *,
        mean: float = 0.0,
        var: float = 1.0,
        shared_dims: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.p = check_rate("p", p)
        theory.solve(mean, var)  # refuses a fixed point that no SELU has
        self.mean = float(mean)
        self.var = float(var)
        self.shared_dims = check_dims("shared_dims", shared_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Apply :func:`selfnorm.functional.alpha_dropout` in the module's mode."""
        return functional.alpha_dropout(
            x,
            self.p,
            self.training,
            mean=self.mean,
            var=self.var,
            shared_dims=self.shared_dims,
        )

    def extra_repr(self) -> str:
        """Show the rate and what differs from the defaults."""
        shown = f"p={self.p:g}"
        if (self.mean, self.var) != (0.0, 1.0):
            shown += f", mean={self.mean:g}, var={self.var:g}"
        if self.shared_dims:
            shown += f", shared_dims={self.shared_dims}"
        return shown
