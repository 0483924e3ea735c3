"""Pooling: values, moments for independent and correlated values, refusals."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from selfnorm import functional, nn, theory
from selfnorm.errors import DomainError

AVERAGE = [nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d]
MAXIMUM = [nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d]


def gaussian(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_values(dims: int) -> None:
    x = gaussian(3, 2, *(7, 6, 9)[:dims])
    kernel, stride = (3, 2, 4)[:dims], (2, 3, 1)[:dims]
    windows = x
    for axis, (k, s) in enumerate(zip(kernel, stride, strict=True)):
        windows = windows.unfold(2 + axis, k, s)
    windows = windows.flatten(2 + dims)
    count = math.prod(kernel)
    pool: Any = AVERAGE[dims - 1](kernel, stride, mean=0.2, var=0.7, correlation=0.3)
    gain = math.sqrt(count / (1 + (count - 1) * 0.3))
    torch.testing.assert_close(pool(x), 0.2 + gain * (windows.mean(-1) - 0.2))
    torch.testing.assert_close(pool(x[0]), pool(x)[0])
    largest: Any = MAXIMUM[dims - 1](
        kernel, stride, mean=0.2, var=0.7, correlation=0.3, distribution="normal"
    )
    m = theory.maximum_moments("identity", count, 0.2, 0.7, correlation=0.3)
    want = 0.2 + math.sqrt(0.7 / m.var) * (windows.amax(-1) - m.mean)
    torch.testing.assert_close(largest(x), want)


# 15,000 windows and more: standard error of the mean 0.008, of the variance below 0.02 (SELU's
# kurtosis included), for windows that share nothing. Bounds are five of each.
@pytest.mark.parametrize("correlation", [0.0, 0.6])
@pytest.mark.parametrize("point", [(0.0, 1.0), (0.2, 0.5)])
def test_moments_after_selu(point: tuple[float, float], correlation: float) -> None:
    mean, var = point
    shared = gaussian(50, 4, 75, 1, 1, seed=2) * math.sqrt(correlation)
    z = shared + gaussian(50, 4, 75, 2, 3, seed=3) * math.sqrt(1 - correlation)
    y = functional.selu(math.sqrt(var) * z, mean=mean, var=var)
    x = y.reshape(200, 75 * 2, 3)  # windows of 2 x 3 one below the other
    for pool in (
        nn.AvgPool2d((2, 3), mean=mean, var=var, correlation=correlation),
        nn.MaxPool2d((2, 3), mean=mean, var=var, correlation=correlation),
    ):
        out = pool(x[:, None])
        assert out.shape == (200, 1, 75, 1)
        assert out.mean().item() == pytest.approx(mean, abs=0.04)
        assert out.var().item() == pytest.approx(var, rel=0.1)


def test_plain_pooling_fails_the_same_bounds() -> None:
    x = functional.selu(gaussian(200, 1, 150, 3))
    assert torch.nn.functional.avg_pool2d(x, (2, 3)).var().item() < 0.2
    assert torch.nn.functional.max_pool2d(x, (2, 3)).mean().item() > 1.3


def test_moments_within_a_network_of_white_noise_and_of_smooth_images() -> None:
    # Averaged over weights, convolutions leave the correlation of neighbours as it is and each
    # SELU maps it by the correlation map: predicted here from the input's to the pool's.
    g = torch.Generator().manual_seed(4)
    noise = torch.randn(48, 3, 24, 24, generator=g)
    kernel = torch.ones(3, 1, 5, 5) / 5
    smooth = torch.nn.functional.conv2d(noise, kernel, groups=3)
    # Of 25 values two neighbours share 20, diagonal ones 16: mean over the six pairs of a window.
    start = (4 * 20 + 2 * 16) / 6 / 25
    layers = [
        nn.ConvSELU2d(3 if k == 0 else 64, 64, 3, padding="valid", generator=g) for k in range(4)
    ]
    net = torch.nn.Sequential(*layers)
    c = start
    for _ in layers[1:]:
        c = float(theory.correlation_map("selu", c))
    with torch.no_grad():
        for x, correlation in ((noise, 0.0), (smooth, c)):
            h = net(x)
            for pool in (
                nn.AvgPool2d(2, correlation=correlation),
                nn.MaxPool2d(2, correlation=correlation),
            ):
                y = pool(h)
                # Over 20 seeds: standard deviations 0.06 (mean), 0.10 (variance).
                assert y.mean().item() == pytest.approx(0, abs=0.25)
                assert y.var().item() == pytest.approx(h.var().item(), rel=0.4)
        # The default, for independent values, is far off on the smooth images.
        h = net(smooth)
        assert nn.AvgPool2d(2)(h).var().item() > 2 * h.var().item()
        assert nn.MaxPool2d(2)(h).mean().item() < -0.5


def test_documented_constants() -> None:
    found = theory.maximum_moments("selu", 4, correlation=0.9)
    pool = nn.MaxPool2d(2)
    assert pool.gain == pytest.approx(0.5611231**-0.5, abs=1e-6)
    assert -pool.shift / pool.gain == pytest.approx(1.0754540, abs=1e-6)
    assert pool.shift + pool.gain * found.mean == pytest.approx(-1.00, abs=0.005)
    assert pool.gain**2 * found.var == pytest.approx(1.84, abs=0.005)


def test_repr() -> None:
    assert repr(nn.MaxPool1d(3, 2, var=0.7, correlation=0.5, distribution="normal")) == (
        "MaxPool1d(kernel_size=(3,), stride=(2,), mean=0, var=0.7, correlation=0.5, "
        "distribution='normal')"
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.AvgPool2d(0), "kernel_size must be an integer, 1 or more, or 2"),
        (lambda: nn.AvgPool2d(2, 0), "stride must be an integer, 1 or more, or 2"),
        (lambda: nn.AvgPool2d(2, correlation=1.5), r"from 0 to 1, however: correlation=1\.5"),
        (lambda: nn.AvgPool2d(2, var=0.0), "var"),
        (lambda: nn.MaxPool2d(2, distribution="relu"), "distribution must be 'selu'.*'relu'"),
        (
            lambda: nn.MaxPool2d((2, 3))(torch.zeros(1, 1, 4, 2)),
            r"map=4x2, kernel_size=\(2, 3\); pool less often",
        ),
        (lambda: nn.AvgPool3d(2)(torch.zeros(3, 4, 5)), r"x\.shape=\(3, 4, 5\)"),
    ],
)
def test_refusals(make: Any, message: str) -> None:
    with pytest.raises(DomainError, match=message):
        make()
