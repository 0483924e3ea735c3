"""Layers that bring the columns of a table to mean 0 and variance 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from selfnorm.errors import DataError, DomainError
from selfnorm.nn._codes import check_codes, check_range

__all__ = ["OneHotInput", "StandardizedInput"]

_SCALES: Final = ("column", "row")
_LOGS: Final = ("auto", "always", "never")
# A column whose skewness exceeds this is logged: the exponential distribution has 2, a normal
# column of 30 rows or more stays below it.
_SKEWED: Final = 2.0
# A standard deviation below this share of the largest value is rounding: the column is constant.
_CONSTANT: Final = 1e-6


class OneHotInput(nn.Module):
    r"""Class numbers in, centred one-hot columns of known variance out.

    .. math:: x_k = s_k (\mathbb{1}[c = k] - p_k)

    A bare one-hot code of K classes has mean 1/K and, for p = 1/K, variance (K - 1) / K²: a net
    that expects variance 1 starts far below its fixed point. The class frequencies p tell the
    correction without looking at data again.

    Parameters
    ----------
    frequencies : sequence of sequence of float
        For each column of class numbers the frequency (or count) of each of its classes, above
        0: two or more per column. They are divided by their sum.
    scale : {"row", "column"}
        ``"row"``: all codes of a column get one factor, :math:`s^2 = K / (1 - \sum p^2)`, so that
        the variances of its K codes are 1 on average. ``"column"``: each code gets variance 1,
        :math:`s_k^2 = 1 / (p_k (1 - p_k))`; a row of a rare class then enters with the square
        1/p, which is far from 1 for a rare one.
    unknown : {"refuse", "mean"}
        What a class number of -1 is: an error, or the mean of the column, a zero in all its codes.

    Attributes
    ----------
    out_features : int
        Codes in all, the sum of all K.

    Raises
    ------
    DomainError
        If an argument lies outside its domain.
    DataError
        If an input has another shape or type, or holds a number that is no class.

    Notes
    -----
    Shape: integers (..., n_columns), output (..., out_features). Mean 0 and a mean variance of 1
    are exact over rows with these frequencies. No parameters; the factors are buffers, saved with
    the net.

    Examples
    --------
    >>> import torch
    >>> layer = OneHotInput([[0.5, 0.3, 0.2], [3, 1]])
    >>> layer(torch.tensor([[2, 0]])).round(decimals=3)
    tensor([[-1.1000, -0.6600,  1.7600,  0.5770, -0.5770]])
    """

    mean: Tensor
    factor: Tensor
    offset: Tensor

    def __init__(
        self,
        frequencies: Sequence[Sequence[float]],
        *,
        scale: str = "row",
        unknown: str = "refuse",
    ) -> None:
        super().__init__()
        if scale not in _SCALES:
            raise DomainError(f"scale must be 'row' or 'column', however: scale={scale!r}")
        if unknown not in ("refuse", "mean"):
            raise DomainError(f"unknown must be 'refuse' or 'mean', however: unknown={unknown!r}")
        self.scale = scale
        self.unknown = unknown
        means, factors, sizes = [], [], []
        for index, given in enumerate(frequencies):
            p = _frequencies(index, given)
            means.append(p)
            if scale == "row":
                factors.append((len(p) / (1.0 - p.square().sum())).sqrt().expand(len(p)))
            else:
                factors.append((p * (1.0 - p)).rsqrt())
            sizes.append(len(p))
        if not sizes:
            raise DomainError(
                "frequencies must hold one sequence per column, however: frequencies is empty; a "
                "table without classes needs no such layer"
            )
        self.sizes = tuple(sizes)
        self.out_features = sum(sizes)
        self.register_buffer("mean", torch.cat(means).to(torch.get_default_dtype()))
        self.register_buffer("factor", torch.cat(factors).to(torch.get_default_dtype()))
        starts = torch.tensor([0, *sizes[:-1]]).cumsum(0)
        self.register_buffer("offset", starts, persistent=False)

    @classmethod
    def from_codes(
        cls,
        codes: Tensor,
        sizes: Sequence[int] | None = None,
        *,
        scale: str = "row",
        unknown: str = "refuse",
    ) -> OneHotInput:
        """Count the classes of training rows.

        Parameters
        ----------
        codes : Tensor
            Integers, shape (n_rows, n_columns); -1 is not counted.
        sizes : sequence of int, optional
            Number of classes per column. Default: the largest number that occurs, plus 1.
        scale : {"row", "column"}
            See the class.
        unknown : {"refuse", "mean"}
            See the class.

        Returns
        -------
        OneHotInput
            With the frequencies (n_k + 1/2) / (n + K/2): a class that no training row has gets
            half a row's weight instead of an infinite factor.

        Raises
        ------
        DataError
            If the codes have another shape or type, or a number is no class.

        Examples
        --------
        >>> import torch
        >>> OneHotInput.from_codes(torch.tensor([[0], [2], [0]])).mean.round(decimals=3)
        tensor([0.5560, 0.1110, 0.3330])
        """
        check_codes(codes)
        if codes.dim() != 2 or not codes.numel():
            raise DataError(
                "codes must have shape (n_rows, n_columns) with at least one row and column, "
                f"however: codes.shape={tuple(codes.shape)}"
            )
        if sizes is None:
            sizes = [max(int(top) + 1, 2) for top in codes.amax(dim=0)]
        if len(sizes) != codes.shape[1]:
            raise DataError(
                f"sizes must have one entry for each of {codes.shape[1]} columns, however: "
                f"len(sizes)={len(sizes)}"
            )
        counts = []
        for index, size in enumerate(sizes):
            column = codes[:, index]
            check_range(column, size, index, "mean")
            known = column[column >= 0].long().cpu()
            counts.append((torch.bincount(known, minlength=size) + 0.5).tolist())
        return cls(counts, scale=scale, unknown=unknown)

    def forward(self, codes: Tensor) -> Tensor:
        """Return the scaled codes of class numbers of shape (..., n_columns)."""
        check_codes(codes)
        if codes.dim() == 0 or codes.shape[-1] != len(self.sizes):
            raise DataError(
                f"codes must have shape (..., {len(self.sizes)}), one number per column, however: "
                f"codes.shape={tuple(codes.shape)}"
            )
        for index, size in enumerate(self.sizes):
            check_range(codes[..., index], size, index, self.unknown)
        known = codes >= 0
        place = codes.clamp(min=0).long() + self.offset
        hot = self.mean.new_zeros((*codes.shape[:-1], self.out_features))
        hot.scatter_(-1, place, known.to(hot.dtype))
        out = (hot - self.mean) * self.factor
        if self.unknown == "mean":
            widths = torch.tensor(self.sizes, device=codes.device)
            out = out * known.repeat_interleave(widths, dim=-1)
        return out

    def extra_repr(self) -> str:
        """Show the classes per column and the scale."""
        return f"sizes={self.sizes}, scale={self.scale!r}, unknown={self.unknown!r}"


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
    Infinite values are not changed. No parameters; the statistics are buffers and are saved.

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
        self.axis = axis
        columns = [("mean", mean), ("std", std)]
        columns.append(("unit", [math.nan] * len(std) if unit is None else unit))
        lengths = {name: len(values) for name, values in columns}
        if len(set(lengths.values())) != 1 or not len(mean):
            raise DomainError(
                "mean, std and unit must have one entry per column, however: their lengths are "
                f"{lengths}"
            )
        self.in_features = len(mean)
        for name, values in columns:
            column = torch.as_tensor(values, dtype=torch.float64)
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
            If X has another shape or type, no row, or an infinite value.
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
        if log not in _LOGS:
            raise DomainError(f"log must be 'auto', 'always' or 'never', however: log={log!r}")
        if (
            not isinstance(X, Tensor)
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
        if unit is not None and len(unit) != wide.shape[1]:
            raise DomainError(
                f"unit must have one entry for each of {wide.shape[1]} columns, however: "
                f"len(unit)={len(unit)}"
            )
        means, stds, units = [], [], []
        for index in range(wide.shape[1]):
            column = wide[:, index]
            column = column[~column.isnan()]
            u = _unit(column) if unit is None else float(unit[index])
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


def _frequencies(index: int, given: Sequence[float]) -> Tensor:
    p = torch.as_tensor(given, dtype=torch.float64).cpu()
    if p.dim() != 1 or len(p) < 2 or not bool((p.isfinite() & (p > 0)).all()):
        raise DomainError(
            "frequencies must be finite numbers above 0, two or more per column, however: "
            f"frequencies[{index}]={list(given)!r}; leave a column of one class out, and take "
            "from_codes for counts of 0"
        )
    return p / p.sum()


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
