"""The native operators of the training engine against their reference, and torch's optimiser."""

from __future__ import annotations

import itertools

import pytest
import torch

from selfnorm import ops
from selfnorm.ops import _training as reference

NATIVE = torch.ops.selfnorm

pytestmark = pytest.mark.skipif(
    ops.backends()["cpu"].name != "native", reason=ops.backends()["cpu"].reason
)

TOLERANCE = {torch.float64: 1e-13, torch.float32: 2e-5}
ALPHA, SCALE = 1.7, 1.03


def shaped(members: int, *shape: int) -> tuple[int, ...]:
    return shape if members == 1 else (members, *shape)


class Net:
    """Tensors of a step: sizes that are no multiples of a vector or a tile."""

    def __init__(self, members: int, dtype: torch.dtype, rows: int = 37, bias: bool = True) -> None:
        g = torch.Generator().manual_seed(members)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(shaped(members, *shape), generator=g, dtype=dtype)

        sizes = [19, 70, 33, 130, 5]
        self.members, self.rows, self.dtype = members, rows, dtype
        self.x = normal(rows, sizes[0])
        pairs = list(itertools.pairwise(sizes))
        self.weights = [normal(n, m) / m**0.5 for m, n in pairs]
        self.biases = [normal(n) if members == 1 else normal(1, n) for n in sizes[1:]]
        if not bias:
            self.biases = []
        self.rng = torch.randint(2**62, (members, 3, 2), generator=g)
        self.rates = [0.3, 0.0, 0.9][:members]
        self.a, self.b = [1.1, 1.0, 0.8][:members], [0.2, 0.0, -0.3][:members]
        self.head = normal(sizes[-1], rows)
        self.hidden = sizes[1:-1]

    def empty(self) -> list[torch.Tensor]:
        return [
            torch.full(shaped(self.members, self.rows, n), torch.nan, dtype=self.dtype)
            for n in self.hidden
        ]

    def forward(self, operator: object) -> list[torch.Tensor]:
        out = self.empty()
        operator(  # type: ignore[operator]
            *(self.x, [w.mT for w in self.weights[:-1]], self.biases[:-1], self.rng),
            *(self.rates, ALPHA, SCALE, self.a, self.b, out),
        )
        return out

    def backward(self, operator: object, outputs: list[torch.Tensor]) -> list[torch.Tensor]:
        deltas = [*self.empty(), self.head.mT]
        weights = [torch.full_like(w, torch.nan) for w in self.weights]
        biases = [torch.full_like(b, torch.nan) for b in self.biases]
        operator(  # type: ignore[operator]
            *([self.x, *outputs], self.weights, ALPHA, SCALE, self.a, self.b),
            *(deltas, [d.mT for d in deltas], weights, biases),
        )
        return [*weights, *biases]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("members", "rows"), [(1, 37), (3, 37), (1, 1), (3, 700), (1, 1100)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_step_is_the_references(members: int, rows: int, dtype: torch.dtype, bias: bool) -> None:
    # The two large ones are shared among threads.
    net = Net(members, dtype, rows, bias)
    ours, theirs = net.forward(NATIVE.mlp_forward), net.forward(reference.mlp_forward)
    for y, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(y, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    found = net.backward(NATIVE.mlp_backward, theirs)
    expected_all = net.backward(reference.mlp_backward, theirs)
    assert len(found) == (8 if bias else 4)
    for gradient, expected in zip(found, expected_all, strict=True):
        scale = float(expected.abs().max())
        torch.testing.assert_close(gradient, expected, rtol=0.0, atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("members", [1, 3])
def test_the_number_of_threads_changes_no_bit_between_the_products(members: int) -> None:
    net = Net(members, torch.float32, rows=900)
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            delta = torch.randn(
                shaped(members, 900, 70), generator=torch.Generator().manual_seed(1)
            )
            bias = torch.empty(shaped(members, 70) if members == 1 else (members, 1, 70))
            weight = torch.empty(shaped(members, 70, 19))
            NATIVE.mlp_backward(
                *([net.x], [net.weights[0]], ALPHA, SCALE, net.a, net.b),
                *([delta], [delta.mT], [weight], [bias]),
            )
            found.append(bias)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(*found, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("smoothing", [0.0, 0.15])
@pytest.mark.parametrize("rows", [1, 64, 201])
@pytest.mark.parametrize("shape", ["one member", "own rows", "shared rows"])
def test_softmax_loss(dtype: torch.dtype, smoothing: float, rows: int, shape: str) -> None:
    g = torch.Generator().manual_seed(rows)
    leading = () if shape == "one member" else (3,)
    z = 30.0 * torch.randn(*leading, 7, rows, generator=g, dtype=dtype)
    sources = (1,) if shape == "shared rows" else leading
    target = torch.randint(7, (*sources, rows, 1), generator=g).expand(*leading, rows, 1).mT
    grad, values = torch.empty_like(z), torch.empty_like(z[..., :1, :])
    NATIVE.softmax_loss(z, target, smoothing, grad, values)
    leaf = z.double().movedim(-2, -1).reshape(-1, 7).requires_grad_()
    loss = torch.nn.functional.cross_entropy(
        leaf, target.reshape(-1), reduction="none", label_smoothing=smoothing
    )
    (expected,) = torch.autograd.grad(loss.sum(), leaf)
    tolerance = {torch.float64: 1e-13, torch.float32: 1e-6}[dtype]
    found = grad.movedim(-2, -1).reshape(-1, 7).double()
    torch.testing.assert_close(found, expected, rtol=0.0, atol=tolerance)
    torch.testing.assert_close(
        -values.reshape(-1).double(), loss.detach(), rtol=tolerance, atol=100 * tolerance
    )


def test_softmax_loss_shows_what_is_not_finite() -> None:
    z = torch.zeros(3, 4)
    z[1] = torch.tensor([torch.nan, torch.inf, -torch.inf, 1e38])
    grad, values = torch.empty_like(z), torch.empty(1, 4)
    NATIVE.softmax_loss(z, torch.ones(1, 4, dtype=torch.int64), 0.0, grad, values)
    assert torch.isnan(values[0, :2]).all()
    assert values[0, 2] == -torch.inf
    assert values[0, 3] == 0.0


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_adamw_is_torchs(dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(0)
    start = torch.randn(40_000, generator=g, dtype=dtype)  # more than a thread's share
    flat, means, squares = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    groups = [(0, 39_000, 1e-2, 0.1), (39_000, 900, 3e-3, 0.0)]
    leaves = [start[at : at + n].clone().requires_grad_() for at, n, _, _ in groups]
    optimizer = torch.optim.AdamW(
        [
            {"params": [leaf], "lr": rate, "weight_decay": decay}
            for leaf, (_, _, rate, decay) in zip(leaves, groups, strict=True)
        ],
        betas=(0.8, 0.95),
        eps=1e-6,
    )
    starts, lengths, rates, decays = map(list, zip(*groups, strict=True))
    for step in range(1, 6):
        gradients = torch.randn(40_000, generator=g, dtype=dtype)
        for leaf, (at, n, _, _) in zip(leaves, groups, strict=True):
            leaf.grad = gradients[at : at + n].clone()
        optimizer.step()
        NATIVE.adamw(
            *(flat, gradients, means, squares, starts, lengths, rates, decays),
            *(0.8, 0.95, 1e-6, step),
        )
    for leaf, (at, n, _, _) in zip(leaves, groups, strict=True):
        tolerance = {torch.float64: 1e-14, torch.float32: 1e-6}[dtype]
        torch.testing.assert_close(flat[at : at + n], leaf.detach(), rtol=0.0, atol=tolerance)
    assert torch.equal(flat[39_900:], start[39_900:])  # in no range
    assert not squares[39_900:].any()


def test_wrong_tensors_are_refused_by_name() -> None:
    net = Net(3, torch.float32)
    net.rng = net.rng[:2]
    with pytest.raises(RuntimeError, match=r"rng must be contiguous int64 \[3, 3, 2\], however"):
        net.forward(NATIVE.mlp_forward)
    net = Net(1, torch.float32)
    net.biases[1] = net.biases[1][:5]
    with pytest.raises(RuntimeError, match=r"biases must have a number for each unit, 33"):
        net.forward(NATIVE.mlp_forward)
    net.a = [1.0, 1.0]
    with pytest.raises(RuntimeError, match=r"a must be 1 in number, however: it is 2"):
        net.forward(NATIVE.mlp_forward)
    flat = torch.zeros(10)
    with pytest.raises(RuntimeError, match=r"ranges must lie in 10 parameters.*7 from 4"):
        NATIVE.adamw(*[flat.clone() for _ in range(4)], [4], [7], [0.1], [0.0], 0.9, 0.99, 1e-8, 1)
    with pytest.raises(RuntimeError, match=r"step must be at least 1, however: step=0"):
        NATIVE.adamw(*[flat.clone() for _ in range(4)], [0], [7], [0.1], [0.0], 0.9, 0.99, 1e-8, 0)
    for wrong in (-1, 3):
        with pytest.raises(RuntimeError, match=rf"target must be in \[0, 3\), however: {wrong}"):
            NATIVE.softmax_loss(
                *(torch.zeros(3, 1), torch.tensor([[wrong]]), 0.0),
                *(torch.zeros(3, 1), torch.zeros(1, 1)),
            )
    with pytest.raises(RuntimeError, match="must be float64 or float32"):
        NATIVE.softmax_loss(
            *(torch.zeros(3, 1).half(), torch.tensor([[0]]), 0.0),
            *(torch.zeros(3, 1).half(), torch.zeros(1, 1).half()),
        )
