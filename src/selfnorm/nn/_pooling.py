"""Pooling that keeps mean and variance."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from torch import Tensor, nn

from selfnorm import theory
from selfnorm.errors import DomainError
from selfnorm.functional._checks import is_number
from selfnorm.nn._checks import check_sizes
from selfnorm.nn._padding import described

__all__ = ["AvgPool1d", "AvgPool2d", "AvgPool3d", "MaxPool1d", "MaxPool2d", "MaxPool3d"]

_Pool = Callable[[Tensor, tuple[int, ...], tuple[int, ...]], Tensor]

_AVERAGE: Final[tuple[_Pool, ...]] = (
    nn.functional.avg_pool1d,
    nn.functional.avg_pool2d,
    nn.functional.avg_pool3d,
)
_MAXIMUM: Final[tuple[_Pool, ...]] = (
    nn.functional.max_pool1d,
    nn.functional.max_pool2d,
    nn.functional.max_pool3d,
)


class _Pooling(nn.Module):
    """What all six share: the window, the fixed point, the affine map after torch's pooling."""

    _dims: ClassVar[int]

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None,
        mean: float,
        var: float,
        correlation: float,
    ) -> None:
        super().__init__()
        self.kernel_size = check_sizes("kernel_size", kernel_size, self._dims, 1)
        self.stride = (
            self.kernel_size if stride is None else check_sizes("stride", stride, self._dims, 1)
        )
        theory.solve(mean, var)  # refuses a fixed point that no SELU has
        if not is_number(correlation) or not 0.0 <= correlation <= 1.0:
            raise DomainError(
                "correlation must be a number from 0 to 1, however: "
                f"correlation={correlation!r}; 0 is independence, and theory.correlation_map says "
                "what a network makes of its input's"
            )
        self.mean = float(mean)
        self.var = float(var)
        self.correlation = float(correlation)
        self.gain = 1.0
        self.shift = 0.0

    def _pool(self, pool: _Pool, x: Tensor) -> Tensor:
        dims = self._dims
        if x.dim() not in (dims + 1, dims + 2):
            raise DomainError(
                f"x must have {dims} spatial dimensions after batch and channels, or after "
                f"channels, however: x.shape={tuple(x.shape)}"
            )
        size = tuple(x.shape[-dims:])
        if any(n < k for n, k in zip(size, self.kernel_size, strict=True)):
            raise DomainError(
                f"the map must be at least as large as the window, however: map={described(size)}, "
                f"kernel_size={self.kernel_size}; pool less often, or take larger images"
            )
        return pool(x, self.kernel_size, self.stride) * self.gain + self.shift

    def extra_repr(self) -> str:
        """Show the window and what differs from the defaults."""
        shown = f"kernel_size={self.kernel_size}, stride={self.stride}"
        if (self.mean, self.var) != (0.0, 1.0):
            shown += f", mean={self.mean:g}, var={self.var:g}"
        if self.correlation:
            shown += f", correlation={self.correlation:g}"
        return shown


class _AvgPool(_Pooling):
    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        *,
        mean: float = 0.0,
        var: float = 1.0,
        correlation: float = 0.0,
    ) -> None:
        super().__init__(kernel_size, stride, mean, var, correlation)
        count = math.prod(self.kernel_size)
        self.gain = math.sqrt(count / (1.0 + (count - 1) * self.correlation))
        self.shift = self.mean * (1.0 - self.gain)

    def forward(self, x: Tensor) -> Tensor:
        """Pool a tensor of shape (batch, channels, *size), or without batch."""
        return self._pool(_AVERAGE[self._dims - 1], x)


class _MaxPool(_Pooling):
    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        *,
        mean: float = 0.0,
        var: float = 1.0,
        correlation: float = 0.0,
        distribution: str = "selu",
    ) -> None:
        super().__init__(kernel_size, stride, mean, var, correlation)
        if distribution not in ("normal", "selu"):
            raise DomainError(
                "distribution must be 'selu' for the outputs of a SELU or 'normal', however: "
                f"distribution={distribution!r}"
            )
        self.distribution = distribution
        largest_mean, largest_var = _largest(
            math.prod(self.kernel_size), self.mean, self.var, self.correlation, distribution
        )
        self.gain = math.sqrt(self.var / largest_var)
        self.shift = self.mean - self.gain * largest_mean

    def forward(self, x: Tensor) -> Tensor:
        """Pool a tensor of shape (batch, channels, *size), or without batch."""
        return self._pool(_MAXIMUM[self._dims - 1], x)

    def extra_repr(self) -> str:
        """Show the window and what differs from the defaults."""
        shown = super().extra_repr()
        return shown if self.distribution == "selu" else f"{shown}, distribution='normal'"


@functools.lru_cache(maxsize=256)
def _largest(
    count: int, mean: float, var: float, correlation: float, distribution: str
) -> tuple[float, float]:
    """Return mean and variance of the largest of a window's values."""
    if distribution == "normal":
        found = theory.maximum_moments("identity", count, mean, var, correlation=correlation)
    else:
        constants = theory.solve(mean, var)
        selu = theory.activation("selu", alpha=float(constants.alpha), scale=float(constants.scale))
        found = theory.maximum_moments(selu, count, 0.0, var, correlation=correlation)
    return float(found.mean), float(found.var)


class AvgPool1d(_AvgPool):
    """1-d average pooling that keeps mean and variance; the theory stands at :class:`AvgPool2d`.

    Parameters
    ----------
    kernel_size : int
        Size of the window.
    stride : int, optional
        Step of the window. Default: the window's size.
    mean, var : float
        Mean and variance of the values.
    correlation : float
        Correlation of two different values of a window, from 0 to 1.

    Raises
    ------
    DomainError
        As :class:`AvgPool2d`.

    Examples
    --------
    >>> import torch
    >>> AvgPool1d(3)(torch.zeros(2, 4, 9)).shape
    torch.Size([2, 4, 3])
    """

    _dims = 1


class AvgPool2d(_AvgPool):
    r"""2-d average pooling that keeps mean and variance.

    .. math:: y = m + \sqrt{\frac{k}{1 + (k - 1) c}} \, (\bar x - m)

    Parameters
    ----------
    kernel_size : int or (int, int)
        Size of the window of k values.
    stride : int or (int, int), optional
        Step of the window. Default: the window's size. A rest of the map is left out, as in torch.
    mean, var : float
        Mean m and variance of the values, those of the SELU before it.
    correlation : float
        Mean correlation c of two different values of a window, from 0 to 1.

    Raises
    ------
    DomainError
        If an argument lies outside its domain or, in use, the map is smaller than the window.

    Notes
    -----
    Shape: (batch, channels, height, width), or without batch; the map becomes
    (size - kernel_size) // stride + 1.

    Moments: the average of k values of variance v, each pair of correlation c, has variance
    v (1 + (k - 1) c) / k, whatever their distribution; the factor undoes that. A wrong c leaves
    the variance (1 + (k - 1) c') / (1 + (k - 1) c) times too large, with c' the true one: at
    c = 0, up to k times.

    What c is: averaged over random weights, a convolution's pre-activations at two positions have
    the correlation of its inputs at this distance, so that layers act on it as
    :func:`selfnorm.theory.correlation_map` says, by 0.97 c per SELU layer for small c. White noise
    gives c = 0, for which the default is right; photographs start near c = 0.9 and keep most of
    it for tens of layers. If the data's c is not known, a stride of 2 in the convolution
    (:class:`ConvSELU2d`) keeps the moments for every c.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(200, 4, 6, 9, generator=torch.Generator().manual_seed(0))
    >>> y = AvgPool2d(3)(x)
    >>> y.shape, round(y.var().item(), 1)
    (torch.Size([200, 4, 2, 3]), 1.0)
    """

    _dims = 2


class AvgPool3d(_AvgPool):
    """3-d average pooling that keeps mean and variance; the theory stands at :class:`AvgPool2d`.

    Parameters
    ----------
    kernel_size : int or (int, int, int)
        Size of the window.
    stride : int or (int, int, int), optional
        Step of the window. Default: the window's size.
    mean, var : float
        Mean and variance of the values.
    correlation : float
        Correlation of two different values of a window, from 0 to 1.

    Raises
    ------
    DomainError
        As :class:`AvgPool2d`.

    Examples
    --------
    >>> import torch
    >>> AvgPool3d(3)(torch.zeros(2, 4, 5, 6, 9)).shape
    torch.Size([2, 4, 1, 2, 3])
    """

    _dims = 3


class MaxPool1d(_MaxPool):
    """1-d max pooling that keeps mean and variance; the theory stands at :class:`MaxPool2d`.

    Parameters
    ----------
    kernel_size : int
        Size of the window.
    stride : int, optional
        Step of the window. Default: the window's size.
    mean, var : float
        Mean and variance of the values.
    correlation : float
        Correlation of two different values of a window, from 0 to 1.
    distribution : {"selu", "normal"}
        What the values are.

    Raises
    ------
    DomainError
        As :class:`MaxPool2d`.

    Examples
    --------
    >>> import torch
    >>> MaxPool1d(3)(torch.zeros(2, 4, 9)).shape
    torch.Size([2, 4, 3])
    """

    _dims = 1


class MaxPool2d(_MaxPool):
    r"""2-d max pooling that keeps mean and variance.

    .. math:: y = m + \sqrt{v / v_k} \, (\max x - m_k)

    with mean :math:`m_k` and variance :math:`v_k` of the largest of a window's k values
    (:func:`selfnorm.theory.maximum_moments`).

    Parameters
    ----------
    kernel_size : int or (int, int)
        Size of the window of k values.
    stride : int or (int, int), optional
        Step of the window. Default: the window's size. A rest of the map is left out, as in torch.
    mean, var : float
        Mean m and variance v of the values, the fixed point of the SELU before it.
    correlation : float
        Correlation of the pre-activations of a window's values, from 0 to 1.
    distribution : {"selu", "normal"}
        "selu": the values are SELU(z) with normal z of mean 0 and variance ``var``. "normal": the
        values are normal themselves, as after a convolution without activation.

    Raises
    ------
    DomainError
        If an argument lies outside its domain or, in use, the map is smaller than the window.

    Notes
    -----
    Shape: (batch, channels, height, width), or without batch; the map becomes
    (size - kernel_size) // stride + 1.

    Moments: exact for equally correlated normal pre-activations. SELU increases, so that the
    largest value is SELU of the largest pre-activation. For 2 x 2 windows of independent values
    at (0, 1): m_k = 1.0754540 and v_k = 0.5611231 after SELU, 1.0293754 and 0.4917152 for normal
    values (by quadrature). A wrong correlation shifts the mean: 2 x 2 values of correlation 0.9
    leave the default with mean -1.00 and variance 1.84. What the correlation is stands at
    :class:`AvgPool2d`; for values after SELU it differs from that of the pre-activations by
    0.01 at most. A strided convolution needs no such number.

    The output is not SELU-distributed; the next layer only needs its mean and mean square.

    Examples
    --------
    >>> import torch
    >>> x = torch.selu(torch.randn(500, 4, 6, 9, generator=torch.Generator().manual_seed(0)))
    >>> y = MaxPool2d(3)(x)
    >>> y.shape, abs(round(y.mean().item(), 1)), round(y.var().item(), 1)
    (torch.Size([500, 4, 2, 3]), 0.0, 1.0)
    """

    _dims = 2


class MaxPool3d(_MaxPool):
    """3-d max pooling that keeps mean and variance; the theory stands at :class:`MaxPool2d`.

    Parameters
    ----------
    kernel_size : int or (int, int, int)
        Size of the window.
    stride : int or (int, int, int), optional
        Step of the window. Default: the window's size.
    mean, var : float
        Mean and variance of the values.
    correlation : float
        Correlation of two different values of a window, from 0 to 1.
    distribution : {"selu", "normal"}
        What the values are.

    Raises
    ------
    DomainError
        As :class:`MaxPool2d`.

    Examples
    --------
    >>> import torch
    >>> MaxPool3d(3)(torch.zeros(2, 4, 5, 6, 9)).shape
    torch.Size([2, 4, 1, 2, 3])
    """

    _dims = 3
