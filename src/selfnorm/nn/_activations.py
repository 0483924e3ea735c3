"""Activations as modules."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from selfnorm import functional, theory

__all__ = ["ELU", "SELU"]


class SELU(torch.nn.Module):
    r"""SELU with a chosen fixed point.

    .. math:: \mathrm{selu}(x) = \lambda \begin{cases} x & x > 0 \\
              \alpha (e^x - 1) & x \le 0 \end{cases}

    Parameters
    ----------
    mean, var : float
        Mean and variance that layers of centred weights with sum of squares 1 reproduce; alpha
        and scale follow (:func:`selfnorm.theory.solve`). (0, 1) is the published SELU.
    inplace : bool
        Write the result over the input (:func:`selfnorm.functional.selu`).

    Attributes
    ----------
    alpha, scale, saturation : float
        The constants; saturation = -scale * alpha is the limit at minus infinity.

    Raises
    ------
    DomainError
        If no SELU has this fixed point.

    Notes
    -----
    Shape: any, kept. No parameters and no state.

    References
    ----------
    Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017, arXiv:1706.02515.

    Examples
    --------
    >>> SELU()
    SELU()
    >>> SELU(var=0.1)
    SELU(mean=0, var=0.1, alpha=1.20365, scale=1.02242)
    """

    def __init__(self, mean: float = 0.0, var: float = 1.0, *, inplace: bool = False) -> None:
        super().__init__()
        constants = theory.solve(mean, var)
        self.mean = float(mean)
        self.var = float(var)
        self.alpha = float(constants.alpha)
        self.scale = float(constants.scale)
        self.saturation = float(constants.saturation)
        self.inplace = inplace

    @classmethod
    def for_depth(cls, depth: int, budget: float = math.e) -> SELU:
        """Build the SELU whose fixed point suits a network of this depth.

        Parameters
        ----------
        depth : int
            Number of hidden layers.
        budget : float
            Largest factor by which squared gradients may grow over the whole depth.

        Returns
        -------
        SELU
            Mean 0 and the largest variance up to 1 within the budget
            (:func:`selfnorm.theory.match_depth`).

        Notes
        -----
        Scale the network's standardised inputs by the square root of ``var``.

        Examples
        --------
        >>> SELU.for_depth(8).var, SELU.for_depth(100).var < 0.2
        (1.0, True)
        """
        return cls(0.0, theory.match_depth(depth, budget=budget).var)

    def forward(self, x: Tensor) -> Tensor:
        """Apply :func:`selfnorm.functional.selu`."""
        return functional.selu(x, mean=self.mean, var=self.var, inplace=self.inplace)

    def extra_repr(self) -> str:
        """Show what differs from the published SELU."""
        shown = []
        if (self.mean, self.var) != (0.0, 1.0):
            shown = [f"{k}={getattr(self, k):g}" for k in ("mean", "var", "alpha", "scale")]
        if self.inplace:
            shown.append("inplace=True")
        return ", ".join(shown)


class ELU(torch.nn.Module):
    """Exponential linear unit: x for x > 0, alpha (exp(x) - 1) elsewhere.

    Parameters
    ----------
    alpha : float
        Minus the limit at minus infinity; finite, not negative.
    inplace : bool
        Write the result over the input (:func:`selfnorm.functional.elu`).

    Raises
    ------
    DomainError
        If ``alpha`` is negative or not finite.

    Notes
    -----
    Shape: any, kept. No parameters and no state.

    References
    ----------
    Clevert, Unterthiner, Hochreiter, "Fast and Accurate Deep Network Learning by Exponential
    Linear Units (ELUs)", ICLR 2016, arXiv:1511.07289.

    Examples
    --------
    >>> import torch
    >>> ELU(1.5)(torch.tensor([-1.0, 2.0]))
    tensor([-0.9482,  2.0000])
    """

    def __init__(self, alpha: float = 1.0, *, inplace: bool = False) -> None:
        super().__init__()
        functional.elu(torch.empty(0), alpha)  # refuses a bad alpha
        self.alpha = float(alpha)
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """Apply :func:`selfnorm.functional.elu`."""
        return functional.elu(x, self.alpha, inplace=self.inplace)

    def extra_repr(self) -> str:
        """Show alpha, and whether it works in place."""
        return f"alpha={self.alpha:g}" + (", inplace=True" if self.inplace else "")
