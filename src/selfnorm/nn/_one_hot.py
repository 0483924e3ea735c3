"""A layer that takes class numbers to one-hot columns of mean 0 and known variance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from selfnorm.errors import DataError, DomainError
from selfnorm.nn._codes import check_codes, check_range

__all__ = ["OneHotInput"]

_SCALES: Final = ("column", "row")


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
        if not isinstance(scale, str) or scale not in _SCALES:
            raise DomainError(f"scale must be 'row' or 'column', however: scale={scale!r}")
        if not isinstance(unknown, str) or unknown not in ("refuse", "mean"):
            raise DomainError(f"unknown must be 'refuse' or 'mean', however: unknown={unknown!r}")
        if not isinstance(frequencies, Sequence | Tensor) or isinstance(frequencies, str | bytes):
            raise DomainError(
                "frequencies must be a sequence with a sequence per column, however: "
                f"frequencies={frequencies!r}; one column of two classes is [[0.7, 0.3]]"
            )
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


def _frequencies(index: int, given: Sequence[float]) -> Tensor:
    try:
        p = torch.as_tensor(given, dtype=torch.float64).cpu()
    except (TypeError, ValueError, RuntimeError):
        p = torch.zeros(0)
    if p.dim() != 1 or len(p) < 2 or not bool((p.isfinite() & (p > 0)).all()):
        raise DomainError(
            "frequencies must be finite numbers above 0, two or more per column, however: "
            f"frequencies[{index}]={given!r}; leave a column of one class out, and take "
            "from_codes for counts of 0"
        )
    return p / p.sum()
