"""Input layers and the embedding: exact moments, what leaves an SNN behind them, refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from selfnorm import nn
from selfnorm.errors import DataError, DomainError


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Counts of two columns, whose every combination occurs as often as independence asks.
COUNTS = ((50, 30, 15, 5), (90, 10))


def every_row() -> torch.Tensor:
    rows = [
        (a, b)
        for a, n in enumerate(COUNTS[0])
        for b, m in enumerate(COUNTS[1])
        for _ in range(n * m // 50)
    ]
    return torch.tensor(rows)


@pytest.mark.parametrize("scale", ["row", "column"])
def test_one_hot_moments_are_exact(scale: str) -> None:
    codes = every_row()
    layer = nn.OneHotInput(COUNTS, scale=scale).double()
    out = layer(codes)
    assert out.shape == (len(codes), layer.out_features) == (200, 6)
    torch.testing.assert_close(out.mean(0), torch.zeros(6).double(), atol=1e-6, rtol=0)
    variances = out.var(0, correction=0)
    if scale == "column":
        torch.testing.assert_close(variances, torch.ones(6).double(), atol=1e-6, rtol=0)
    else:
        assert variances[:4].mean().item() == pytest.approx(1.0, abs=1e-6)
        assert variances[4:].mean().item() == pytest.approx(1.0, abs=1e-6)
        assert variances[0] > 1.2
        assert variances[3] < 0.4


def test_one_hot_values() -> None:
    """By the formula, with fractions: p = (1/2, 3/10, 1/5), s² = 3 / (1 - 38/100)."""
    layer = nn.OneHotInput([[5, 3, 2]]).double()
    s = math.sqrt(3 / 0.62)
    want = [-0.5 * s, 0.7 * s, -0.2 * s]
    assert layer(torch.tensor([1])).tolist() == pytest.approx(want, abs=1e-6)
    columns = nn.OneHotInput([[5, 3, 2]], scale="column").double()
    want = [-1.0, 0.7 / math.sqrt(0.21), -0.5]
    assert columns(torch.tensor([1])).tolist() == pytest.approx(want, abs=1e-6)


def test_one_hot_unknown_is_the_mean() -> None:
    layer = nn.OneHotInput(COUNTS, unknown="mean")
    known, unknown = layer(torch.tensor([[2, 1], [-1, 1]]))
    assert (unknown[:4] == 0).all()
    assert torch.equal(known[4:], unknown[4:])
    assert (known[:4] != 0).all()


def test_one_hot_from_codes_counts_with_half_a_row() -> None:
    codes = torch.tensor([[0, 1], [2, 1], [0, 0], [0, -1]])
    layer = nn.OneHotInput.from_codes(codes, [4, 2])
    # (3, 0, 1, 0) + 1/2 of 4 + 2 rows; (1, 2) + 1/2 of 3 + 1, the missing one left out.
    want = [3.5 / 6, 0.5 / 6, 1.5 / 6, 0.5 / 6, 1.5 / 4, 2.5 / 4]
    assert layer.mean.tolist() == pytest.approx(want, abs=1e-6)


def test_what_leaves_an_snn_behind_one_hot_codes() -> None:
    """The correction is what brings the first layers to variance 1."""
    p = np.array([0.4, 0.2, 0.1, 0.1, 0.1, 0.05, 0.03, 0.02])
    rng = np.random.default_rng(0)
    codes = torch.from_numpy(rng.choice(8, p=p, size=(2000, 30)))
    net = nn.SNN(240, 3, width=300, depth=1, dropout=0.0, generator=seeded(0))
    layer = nn.OneHotInput([p] * 30)
    with torch.no_grad():
        corrected = net.hidden(layer(codes)).var().item()
        bare = net.hidden(torch.nn.functional.one_hot(codes, 8).flatten(1).float()).var().item()
    # Second moment of the bare codes: 1/8, hence a pre-activation of variance 1/8.
    assert corrected == pytest.approx(1.0, abs=0.1)
    assert bare < 0.2


def test_standardized_rows_have_mean_0_and_variance_1() -> None:
    X = torch.randn(500, 5, generator=seeded(1), dtype=torch.float64)
    X[:, 1] = X[:, 1].mul(2.5).exp()  # log-normal
    X[:, 2] = torch.where(X[:, 2] > 1.3, X[:, 2].abs() * 100, 0.0)  # sparse
    X[:, 3] = -7.3
    X[::3, 4] = math.nan
    layer = nn.StandardizedInput.from_data(X).double()
    assert layer.unit.isnan().tolist() == [True, False, False, True, True]
    out = layer(X)
    assert (out[:, 3] == 0).all()
    assert (out[::3, 4] == 0).all()
    for column in (0, 1, 2):
        assert out[:, column].mean().item() == pytest.approx(0.0, abs=1e-6)
        assert out[:, column].var(correction=0).item() == pytest.approx(1.0, abs=1e-6)
    known = out[:, 4][~X[:, 4].isnan()]
    assert known.var(correction=0).item() == pytest.approx(1.0, abs=1e-6)
    # The largest value of the log-normal column: without the logarithm it would lie far out.
    plain = nn.StandardizedInput.from_data(X, log="never").double()(X)
    assert out[:, 1].max() < 6 < 12 < plain[:, 1].max()


def test_columns_along_another_dimension() -> None:
    X = torch.randn(40, 3, 7, generator=seeded(6)) * torch.tensor([[2.0], [5.0], [0.0]]) + 4.0
    layer = nn.StandardizedInput.from_data(X, log="never", axis=1)
    flat = X.double().permute(0, 2, 1).reshape(-1, 3).numpy()
    sd = flat.std(axis=0)
    sd[2] = np.inf  # constant: 0
    want = ((flat - flat.mean(axis=0)) / sd).reshape(40, 7, 3).transpose(0, 2, 1)
    np.testing.assert_allclose(layer(X).numpy(), want, atol=2e-6)
    assert "axis=1" in repr(layer)
    with pytest.raises(DataError, match=r"3 along dimension 1, however: input.shape=\(40, 7\)"):
        layer(X[:, 0])
    with pytest.raises(DataError, match="axis=3"):
        nn.StandardizedInput.from_data(X, axis=3)


def test_standardized_values() -> None:
    """sign(x) log(1 + |x| / u) in NumPy, with u the median size of what is not 0."""
    column = np.array([0.0, 0.0, -4.0, 1.0, 2.0, 900.0, 3.0])
    layer = nn.StandardizedInput.from_data(torch.tensor(column)[:, None], log="always").double()
    u = 3.0
    logged = np.sign(column) * np.log1p(np.abs(column) / u)
    want = (logged - logged.mean()) / logged.std()
    got = layer(torch.tensor(column)[:, None])[:, 0]
    np.testing.assert_allclose(got.numpy(), want, atol=2e-6)
    given = nn.StandardizedInput([0.5, 2.0], [2.0, 4.0], [math.nan, 10.0])
    want = [(3.0 - 0.5) / 2.0, (-math.log1p(0.7) - 2.0) / 4.0]
    assert given(torch.tensor([3.0, -7.0])).tolist() == pytest.approx(want, abs=1e-6)


def test_both_save_what_they_need() -> None:
    for layer, x in (
        (nn.OneHotInput(COUNTS), torch.tensor([[3, 1]])),
        (nn.StandardizedInput([1.0], [2.0], [3.0]), torch.tensor([[4.0]])),
    ):
        other: torch.nn.Module = (
            nn.OneHotInput([[1, 1, 1, 1], [1, 1]])
            if isinstance(layer, nn.OneHotInput)
            else nn.StandardizedInput([0.0], [1.0])
        )
        assert not torch.equal(other(x), layer(x))
        other.load_state_dict(layer.state_dict())
        assert torch.equal(other(x), layer(x))


def test_embedding_rows_stay_standardised_while_they_learn() -> None:
    layer = nn.SNNEmbedding(9, 6, padding_idx=2, generator=seeded(2), dtype=torch.float64)
    drifting = nn.SNNEmbedding(9, 6, standardize=False, generator=seeded(2), dtype=torch.float64)
    tokens = torch.tensor([[0, 2, 5], [8, 0, 2]])
    target = torch.randn(2, 3, 6, generator=seeded(3), dtype=torch.float64)
    for module in (layer, drifting):
        optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
        for _ in range(20):
            optimizer.zero_grad()
            ((module(tokens) - 5 * target) ** 2).mean().backward()
            optimizer.step()
    rows = layer(torch.tensor([0, 5, 8, 1]))
    torch.testing.assert_close(rows.mean(-1), torch.zeros(4).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(
        rows.var(-1, correction=0), torch.ones(4).double(), atol=1e-9, rtol=0
    )
    assert (layer(torch.tensor([2])) == 0).all()
    assert (layer.weight[2] == 0).all()
    assert bool(torch.isfinite(layer.weight).all())
    assert drifting(torch.tensor([0])).var(-1, correction=0).item() > 1.5


def test_embedding_starts_standardised_and_from_the_generator_alone() -> None:
    state = torch.get_rng_state()
    layer = nn.SNNEmbedding(50, 7, standardize=False, generator=seeded(4))
    assert torch.equal(torch.get_rng_state(), state)
    weight = layer.weight.detach().double()
    torch.testing.assert_close(weight.mean(1), torch.zeros(50).double(), atol=1e-6, rtol=0)
    variance = weight.var(1, correction=0)
    torch.testing.assert_close(variance, torch.ones(50).double(), atol=1e-5, rtol=0)
    low = nn.SNNEmbedding(50, 64, dtype=torch.bfloat16, generator=seeded(4))
    assert low(torch.tensor([3])).float().var(correction=0).item() == pytest.approx(1.0, abs=0.02)


def test_embedding_gradient() -> None:
    layer = nn.SNNEmbedding(4, 5, padding_idx=1, generator=seeded(5), dtype=torch.float64)
    tokens = torch.tensor([0, 3, 1, 0])
    weight = layer.weight

    def rows(w: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"weight": w}, (tokens,))

    free = weight.detach().clone()
    free[1] = 0.3  # the padding row's gradient is 0 by definition, as is the output's dependence
    free.requires_grad_()
    assert torch.autograd.gradcheck(rows, (free,))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.OneHotInput([]), DomainError, "frequencies is empty"),
        (lambda: nn.OneHotInput([[1.0]]), DomainError, r"frequencies\[0\]=\[1.0\]"),
        (lambda: nn.OneHotInput([[1, 2], [1, 0]]), DomainError, r"frequencies\[1\].*from_codes"),
        (lambda: nn.OneHotInput([[1, 2]], scale="x"), DomainError, "scale='x'"),
        (lambda: nn.OneHotInput([[1, 2]], unknown="x"), DomainError, "unknown='x'"),
        (
            lambda: nn.OneHotInput([[1, 2], [1, 2]])(torch.tensor([[0, 2]])),
            DataError,
            "codes of column 1 must be between 0 and 1, however: they run from 2 to 2",
        ),
        (lambda: nn.OneHotInput([[1, 2]])(torch.tensor([[-1]])), DataError, "unknown='mean'"),
        (lambda: nn.OneHotInput([[1, 2]])(torch.tensor([[1.0]])), DataError, "torch.float32"),
        (lambda: nn.OneHotInput([[1, 2]])(torch.tensor([[1, 1, 1]])), DataError, r"\(1, 3\)"),
        (lambda: nn.OneHotInput.from_codes(torch.tensor([1])), DataError, r"\(n_rows, n_columns\)"),
        (
            lambda: nn.OneHotInput.from_codes(torch.tensor([[1]]), [2, 2]),
            DataError,
            r"len\(sizes\)=2",
        ),
        (lambda: nn.StandardizedInput([1.0], [1.0, 2.0]), DomainError, "'std': 2"),
        (lambda: nn.StandardizedInput([1.0], [-2.0]), DomainError, r"std\[0\]=-2"),
        (lambda: nn.StandardizedInput([1.0], [2.0], [0.0]), DomainError, r"unit\[0\]=0"),
        (lambda: nn.StandardizedInput([1.0], [2.0])(torch.zeros(3, 2)), DataError, r"\(3, 2\)"),
        (lambda: nn.StandardizedInput.from_data(torch.zeros(3)), DataError, r"X.shape=\(3,\)"),
        (lambda: nn.StandardizedInput.from_data(torch.zeros(0, 3)), DataError, r"\(0, 3\)"),
        (
            lambda: nn.StandardizedInput.from_data(torch.tensor([[1.0], [math.inf]])),
            DataError,
            r"X\[1, 0\] is infinite",
        ),
        (lambda: nn.StandardizedInput.from_data(torch.zeros(3, 1), log="x"), DomainError, "'x'"),
        (lambda: nn.SNNEmbedding(3, 1), DomainError, "embedding_dim=1"),
        (lambda: nn.SNNEmbedding(3, 4, 3), DomainError, "padding_idx=3"),
        (
            lambda: nn.SNNEmbedding(3, 4)(torch.tensor([0, 3])),
            DataError,
            "tokens must be between 0 and 2, however: they run from 0 to 3",
        ),
        (lambda: nn.SNNEmbedding(3, 4)(torch.tensor([-1])), DataError, "from -1 to -1"),
        (lambda: nn.SNNEmbedding(3, 4)(torch.tensor([1.0])), DataError, "whole numbers"),
    ],
)
def test_refusals(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
