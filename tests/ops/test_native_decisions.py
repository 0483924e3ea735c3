"""The decisions of the native kernels: bit for bit those of the specification."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from selfnorm import ops
from selfnorm.ops import _reference

_BACKEND = ops.backends()["cpu"]
pytestmark = pytest.mark.skipif(_BACKEND.name != "native", reason=_BACKEND.reason)

OPS = torch.ops.selfnorm
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
ALPHA, SCALE, A, B = 1.4680598705305, 1.0409573375386, 0.87, 0.31
SELU = (ALPHA, SCALE, A, B)
RNG = (0x123456789ABCDEF, 0x7FEDCBA987654321)


def key(*numbers: int) -> Tensor:
    return torch.tensor(numbers or RNG)


def normal(*shape: int, seed: int) -> Tensor:
    return 2.0 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def masks(shape: tuple[int, ...], p: float, rng: Tensor, dtype: torch.dtype) -> Iterator[Tensor]:
    """Yield what each operator dropped."""
    x = torch.ones(shape, dtype=dtype)
    bias = torch.zeros(shape[-1], dtype=torch.promote_types(dtype, torch.float32))
    yield OPS.alpha_dropout(x, rng, p, 0.5, 0.25, -2.0) < 0
    for added in (None, bias):
        yield OPS.selu(x, added, rng, p, *SELU) < 0
        yield OPS.selu_grad(x, x, added, rng, p, ALPHA, SCALE, A) == 0


def assert_masks(shape: tuple[int, ...], p: float, rng: Tensor, dtype: torch.dtype) -> None:
    expected = _reference.drop_mask(rng, shape, p)
    for got in masks(shape, p, rng, dtype):
        assert torch.equal(got, expected), (shape, p, int((got != expected).sum()))


@pytest.mark.parametrize("p", [0.0, 1e-10, 0.05, 0.37, 0.5, 1.0])
def test_decisions_equal_the_specification(p: float) -> None:
    for size in (*range(1, 41), 1023, 1024, 1025, 100_001):
        assert_masks((size,), p, key(), torch.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(7, 11, 13), (3, 1025), (1025, 3), (40, 257), (1, 9)])
def test_decisions_count_along_rows_in_every_type(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    assert_masks(shape, 0.37, key(), dtype)


@pytest.mark.parametrize("number", [0, 1, -1, 2**32 - 1, 2**32, 2**63 - 1, -(2**63)])
def test_decisions_for_extreme_keys_and_offsets(number: int) -> None:
    for rng in (key(number, 5), key(5, number), key(number, number)):
        assert_masks((3001,), 0.5, rng, torch.float32)


def test_ties_are_resolved_by_the_second_block() -> None:
    # p is put just beside the half-words that occur, so that the lower 16 bits decide.
    size = 2500
    block = torch.arange(-(-size // 8))
    words = torch.tensor([[n & 0xFFFFFFFF, n >> 32] for n in RNG])
    counter = torch.stack([block, block * 0, *(n.expand_as(block) for n in words[1])])
    half = _reference._half_words(_reference.philox(counter, words[0]))
    counter[3] ^= 1 << 31
    second = _reference._half_words(_reference.philox(counter, words[0]))
    # Places in the first tile, across vectors, in the last block, beside the last element.
    for place in (0, 1, 7, 8, 1023, 1024, 2047, 2304, size - 1):
        upper, lower = int(half[place]), int(second[place])
        for threshold, dropped in ((lower, False), (lower + 1, True)):
            if not 0 < threshold < 2**16:
                continue
            # p is rounded to the nearest multiple of 2**-32.
            p = (upper * 2**16 + threshold + (-0.4 if dropped else 0.4)) / 2.0**32
            assert bool(_reference.drop_mask(key(), (size,), p)[place]) == dropped
            assert_masks((size,), p, key(), torch.float32)


def test_golden_decisions() -> None:
    # Known answer of Philox4x32-10 for counter 0 and key 0, from the authors' Random123 1.14
    # (tests/kat_vectors): 6627e8d5 e169c58d bc57ac4c 9b00dbd8; low halves first.
    half = [0xE8D5, 0x6627, 0xC58D, 0xE169, 0xAC4C, 0xBC57, 0xDBD8, 0x9B00]
    for place, number in enumerate(half):
        for upper, dropped in ((number, False), (number + 1, True)):
            for got in masks((8,), upper / 2.0**16, key(0, 0), torch.float32):
                assert bool(got[place]) == dropped


@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(300_001,), (333, 901), (100_003, 3)])
def test_threads_change_nothing(shape: tuple[int, ...], p: float) -> None:
    x, grad = normal(*shape, seed=8), normal(*shape, seed=9)
    bias = normal(shape[-1], seed=10)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            y = OPS.selu(x, bias, key(), p, *SELU)
            over = x.clone()
            OPS.selu.out(over, bias, key(), p, *SELU, out=over)
            assert torch.equal(over, y)
            dx = OPS.selu_grad(grad, x, bias, key(), p, ALPHA, SCALE, A)
            from_y = OPS.selu_grad_from_output(grad, y, *SELU)
            results.append((y, dx, from_y, OPS.alpha_dropout(x, key(), p, A, B, -1.7)))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            assert torch.equal(first, second)
