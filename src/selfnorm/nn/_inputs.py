"""A layer that brings the columns of a table to mean 0 and variance 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from selfnorm.errors import DataError, DomainError
from selfnorm.functional._checks import is_number

__all__ = ["StandardizedInput"]

_LOGS: Final = ("auto", "always", "never")
# A column whose skewness exceeds this is logged: the exponential distribution has 2, a normal
# column of 30 rows or more stays below it.
_SKEWED: Final = 2.0
# A standard deviation below this share of the largest value is rounding: the column is constant.
_CONSTANT: Final = 1e-6


class StandardizedInput(nn.Module):
    r"""Number columns brought to mean 0 and variance 1, skewed ones through a logarithm.

    .. math:: y_j = \frac{t_j(x_j) - \mathrm{mean}_j}{\mathrm{std}_j}, \qquad
              t(x) = \mathrm{sign}(x) \log(1 + |x| / u)

    for the columns that are logged, :math:`t(x) = x` for the others. Sparse counts and amounts of
    money are skewed: z-scored as they are, most rows lie close to 0 and a few at 20, and no fixed
    point holds for either. The logarithm, linear below the unit u, keeps zero and the sign.

    Parameters
    ----------
    mean, std : sequence of float
        Statistics of the columns after t; std at least 0, and 0 for a constant column, which
        becomes 0 everywhere.
    unit : sequence of float, optional
        The unit u of each column, above 0; NaN for a column without logarithm. Default: no column
        has one.
    axis : int
        The dimension of the input that holds the columns: 1 for the channels of sequences and maps.

    Attributes
    ----------
    in_features : int
        Number of columns.

    Raises
    ------
    DomainError
        If an argument lies outside its domain.
    DataError
        If an input has another shape.

    Notes
    -----
    Shape: any with n_columns along ``axis``, kept. NaN, a missing value, becomes 0, the mean.
    Infinite values are not changed. A column that was all NaN in the training rows becomes 0. No
    parameters; the statistics are buffers and are saved.

    Examples
    --------
    >>> import torch
    >>> layer = StandardizedInput.from_data(torch.tensor([[1.0], [2.0], [6.0]]))
    >>> layer(torch.tensor([[3.0], [float("nan")]]))
    tensor([[0.],
            [0.]])
    """

    mean: Tensor
    std: Tensor
    unit: Tensor

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        unit: Sequence[float] | None = None,
        *,
        axis: int = -1,
    ) -> None:
        super().__init__()
        self.axis = _checked_axis(axis)
        columns = [("mean", _numbers("mean", mean)), ("std", _numbers("std", std))]
        none = torch.full_like(columns[1][1], math.nan)
        columns.append(("unit", none if unit is None else _numbers("unit", unit)))
        lengths = {name: len(values) for name, values in columns}
        if len(set(lengths.values())) != 1 or not lengths["mean"]:
            raise DomainError(
                "mean, std and unit must have one entry per column, however: their lengths are "
                f"{lengths}"
            )
        self.in_features = lengths["mean"]
        for name, column in columns:
            bad = ~column.isfinite() if name != "unit" else column.isinf() | (column <= 0)
            bad |= (column < 0) if name == "std" else torch.zeros_like(bad)
            if bool(bad.any()):
                index = int(bad.nonzero()[0, 0])
                raise DomainError(
                    f"{name} must be finite{_DOMAINS[name]}, however: "
                    f"{name}[{index}]={float(column[index]):g}"
                )
            self.register_buffer(name, column.to(torch.get_default_dtype()))

    @classmethod
    def from_data(
        cls,
        X: Tensor,
        *,
        log: str = "auto",
        unit: Sequence[float] | None = None,
        axis: int = -1,
    ) -> StandardizedInput:
        r"""Take the statistics of training rows.

        Parameters
        ----------
        X : Tensor
            Training rows, shape (n_rows, n_columns) or any with rows first and columns along
            ``axis``; NaN is left out.
        log : {"auto", "always", "never"}
            Which columns are logged. ``"auto"``: those whose skewness
            :math:`|E (x - \bar x)^3| / \mathrm{std}^3` exceeds 2 and is smaller after it.
        unit : sequence of float, optional
            The unit u of each column. Default: the median size of its values that are not 0.
        axis : int
            The dimension that holds the columns.

        Returns
        -------
        StandardizedInput
            Training rows come out with mean 0 and variance 1 per column that is not constant.

        Raises
        ------
        DataError
            If X has another shape or type, no row, no number at all, or an infinite value.
        DomainError
            If ``log`` or ``unit`` lies outside its domain.

        Examples
        --------
        >>> import torch
        >>> X = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0)).mul(2).exp()
        >>> layer = StandardizedInput.from_data(X)
        >>> layer
        StandardizedInput(in_features=1, logged=1)
        >>> layer(X).var(correction=0).item().__round__(4)
        1.0
        """
        if not isinstance(log, str) or log not in _LOGS:
            raise DomainError(f"log must be 'auto', 'always' or 'never', however: log={log!r}")
        _checked_axis(axis)
        if (
            not isinstance(X, Tensor)
            or X.is_complex()
            or X.dim() < 2
            or not X.numel()
            or not -X.dim() <= axis < X.dim()
        ):
            shape = tuple(X.shape) if isinstance(X, Tensor) else type(X).__name__
            raise DataError(
                "X must be a tensor of shape (n_rows, n_columns), or with columns along axis, with "
                f"at least one row and column, however: X.shape={shape}, axis={axis}"
            )
        wide = X.detach().double().cpu().movedim(axis, -1).flatten(0, -2)
        if bool(wide.isinf().any()):
            row, column = wide.isinf().nonzero()[0].tolist()
            raise DataError(
                f"X must be finite or NaN, however: X[{row}, {column}] is infinite; replace it by "
                "NaN or by the column's largest finite value"
            )
        if bool(wide.isnan().all()):
            raise DataError(
                f"X must hold numbers, however: all its {wide.numel()} entries are NaN; a column "
                "may be, and becomes 0"
            )
        scales = None if unit is None else _numbers("unit", unit)
        if scales is not None and len(scales) != wide.shape[1]:
            raise DomainError(
                f"unit must have one entry for each of {wide.shape[1]} columns, however: "
                f"len(unit)={len(scales)}"
            )
        means, stds, units = [], [], []
        for index in range(wide.shape[1]):
            column = wide[:, index]
            column = column[~column.isnan()]
            u = _unit(column) if scales is None else float(scales[index])
            plain, logged = _statistics(column), _statistics(_signed_log(column, u))
            takes = log == "always" or (
                log == "auto" and plain[2] > _SKEWED and logged[2] < plain[2]
            )
            mean, std, _ = logged if takes else plain
            means.append(mean)
            stds.append(std)
            units.append(u if takes else math.nan)
        return cls(means, stds, units, axis=axis)

    def forward(self, x: Tensor) -> Tensor:
        """Return the input with its columns standardised."""
        if not -x.dim() <= self.axis < x.dim() or x.shape[self.axis] != self.in_features:
            wanted = f"(..., {self.in_features})"
            if self.axis != -1:
                wanted = f"with {self.in_features} along dimension {self.axis}"
            raise DataError(
                f"input must have shape {wanted}, however: input.shape={tuple(x.shape)}"
            )
        shape = [1] * x.dim()
        shape[self.axis] = -1
        mean, std, unit = (value.view(shape) for value in (self.mean, self.std, self.unit))
        x = x.to(self.mean.dtype)
        x = torch.where(unit.isnan(), x, _signed_log(x, unit.nan_to_num(1.0)))
        y = (x - mean) / torch.where(std > 0, std, torch.inf)
        return torch.where(y.isnan(), 0.0, y)

    def extra_repr(self) -> str:
        """Show the number of columns."""
        shown = f"in_features={self.in_features}, logged={int((~self.unit.isnan()).sum())}"
        return shown if self.axis == -1 else f"{shown}, axis={self.axis}"


# ---- parts --------------------------------------------------------------------------------

_DOMAINS: Final = {"mean": "", "std": " and at least 0", "unit": " and above 0, or NaN"}


def _checked_axis(axis: int) -> int:
    if isinstance(axis, bool) or not isinstance(axis, int):
        raise DomainError(
            f"axis must be an integer, however: axis={axis!r}; -1 is the last dimension"
        )
    return axis


def _numbers(name: str, values: Any) -> Tensor:
    """Return a sequence, array or vector of numbers in float64; refuse anything else."""
    if not isinstance(values, Tensor):
        # Arrays have it too.
        given = values.tolist() if hasattr(values, "tolist") else values
        if not isinstance(given, list | tuple) or not all(is_number(one) for one in given):
            raise DomainError(
                f"{name} must be a sequence of numbers, one per column, however: "
                f"{name}={values!r}; one column is a list of one"
            )
        return torch.tensor([float(one) for one in given], dtype=torch.float64)
    if values.dim() != 1 or values.is_complex():
        raise DomainError(
            f"{name} must be numbers in one dimension, one per column, however: its shape is "
            f"{tuple(values.shape)}"
        )
    return values.detach().double().cpu()


def _signed_log(x: Tensor, unit: Tensor | float) -> Tensor:
    return x.sign() * torch.log1p(x.abs() / unit)


def _unit(column: Tensor) -> float:
    sizes = column[column != 0].abs()
    return float(sizes.median()) if len(sizes) else 1.0


def _statistics(column: Tensor) -> tuple[float, float, float]:
    """Return mean, standard deviation and the size of the skewness; 0 for a constant column."""
    if not len(column):
        return 0.0, 0.0, 0.0
    mean = column.mean()
    centred = column - mean
    sd = float(centred.square().mean().sqrt())
    if sd <= _CONSTANT * float(column.abs().max()):
        return float(mean), 0.0, 0.0
    return float(mean), sd, abs(float((centred / sd).pow(3).mean()))
