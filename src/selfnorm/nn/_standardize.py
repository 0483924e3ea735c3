"""Inputs of mean 0 and variance 1, as the first layer of a net."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from selfnorm.errors import DataError, DomainError

__all__ = ["Standardize"]


class Standardize(torch.nn.Module):
    r"""Shift and scale inputs by stored numbers: the input layer of a self-normalizing net.

    .. math:: y = (x - \mathrm{mean}) / \mathrm{sd}

    Parameters
    ----------
    mean, sd : torch.Tensor or sequence of float
        Shape (features,): what is subtracted from a feature or channel, and what the rest is
        divided by; finite, ``sd`` above 0.
    axis : int
        The dimension of the input that holds features or channels.

    Raises
    ------
    DomainError
        If the numbers are not of this form.

    Notes
    -----
    Shape: any with ``features`` along ``axis``, kept. Mean and sd are buffers: they are saved with
    the model and not trained. Unlike batch normalisation they do not depend on the batch.

    Examples
    --------
    >>> import torch
    >>> x = torch.tensor([[1.0, 200.0], [3.0, 600.0]])
    >>> Standardize.fit(x)(x)
    tensor([[-1., -1.],
            [ 1.,  1.]])
    """

    mean: Tensor
    sd: Tensor

    def __init__(self, mean: Any, sd: Any, *, axis: int = -1) -> None:
        super().__init__()
        values = []
        for name, given in (("mean", mean), ("sd", sd)):
            value = torch.as_tensor(given, dtype=torch.get_default_dtype()).detach().clone()
            if value.dim() != 1 or not bool(torch.isfinite(value).all()):
                raise DomainError(
                    f"{name} must be a vector of finite numbers, however: {name}={given!r}; use "
                    "Standardize.fit(x)"
                )
            values.append(value)
        if values[0].shape != values[1].shape or not bool((values[1] > 0).all()):
            raise DomainError(
                "sd must have as many entries as mean, each above 0, however: "
                f"sd={sd!r}; a constant feature has sd 1"
            )
        self.axis = axis
        self.register_buffer("mean", values[0])
        self.register_buffer("sd", values[1])

    @classmethod
    def fit(cls, x: Tensor, *, axis: int | None = None) -> Standardize:
        """Build the layer that gives these rows mean 0 and variance 1, feature by feature.

        Parameters
        ----------
        x : torch.Tensor
            Training rows, shape (rows, features), (rows, channels, …), or any with ``axis``.
        axis : int, optional
            Where features or channels stand; 1 by default.

        Returns
        -------
        Standardize
            Standard deviations are those of the population; a constant feature gets 1.

        Raises
        ------
        DataError
            If there are no rows, or a number is not finite.

        Examples
        --------
        >>> import torch
        >>> Standardize.fit(torch.tensor([[5.0], [7.0]])).sd
        tensor([1.])
        """
        axis = 1 if axis is None else axis
        if x.dim() < 2 or x.numel() == 0 or not bool(torch.isfinite(x).all()):
            raise DataError(
                "x must have rows of finite numbers, however: "
                f"x.shape={tuple(x.shape)}, finite={bool(torch.isfinite(x).all())}; "
                "leave out or fill missing values first"
            )
        rows = x.detach().double().movedim(axis, -1).flatten(0, -2)
        mean, sd = rows.mean(0), rows.std(0, correction=0)
        # Relative to the mean, rounding of a constant leaves this much.
        constant = sd <= 1e-7 * mean.abs()
        return cls(mean, torch.where(constant | (sd == 0), 1.0, sd), axis=axis)

    def forward(self, x: Tensor) -> Tensor:
        """Return (x - mean) / sd in the type of ``mean``."""
        shape = [1] * x.dim()
        shape[self.axis] = -1
        return (x - self.mean.view(shape)) / self.sd.view(shape)

    def extra_repr(self) -> str:
        """Show the number of features."""
        return f"{self.mean.numel()}, axis={self.axis}"
