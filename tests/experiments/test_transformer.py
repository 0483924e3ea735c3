"""The transformer experiment: nets, the prediction of their blocks, the page."""

from __future__ import annotations

import html

import pytest
import torch

from selfnorm.errors import DomainError
from selfnorm.experiments import transformer
from selfnorm.experiments._random import generator_for
from selfnorm.experiments._transformer_nets import (
    TRANSFORMER_ARMS,
    build_transformer,
    predict_blocks,
    probe_blocks,
)

SIZE = {"width": 64, "depth": 3}


@pytest.mark.parametrize("arm", TRANSFORMER_ARMS)
def test_nets_are_of_the_generator_alone_and_see_all_tokens(arm):
    state = torch.get_rng_state()
    first, second = (
        build_transformer(arm, 5, 7, 3, **SIZE, generator=generator_for("net")) for _ in range(2)
    )
    assert torch.equal(torch.get_rng_state(), state)
    x = torch.randn(4, 5, 7, generator=generator_for("x"))
    out = first(x)
    assert out.shape == (4, 3)
    assert torch.equal(out, second(x))
    changed = x.clone()
    changed[:, 2] += 1.0
    token, other = (first.blocks[0](first.embedding(one))[:, 0] for one in (x, changed))
    assert not torch.allclose(token, other)
    norms = sum(isinstance(module, torch.nn.LayerNorm) for module in first.modules())
    assert norms == {"gelu-ln": 7, "gelu": 4, "selu-ln": 6, "selu": 3, "selu-free": 0}[arm]


@pytest.mark.parametrize("arm", ["gelu", "selu", "selu-free"])
def test_blocks_have_the_variance_that_theory_expects(arm):
    x = 6.0 * torch.randn(60, 5, 7, generator=generator_for("x"))
    for seed in range(3):
        net = build_transformer(arm, 5, 7, 3, **SIZE, generator=generator_for(seed))
        found, foreseen = probe_blocks(net, x), predict_blocks(arm, net, x)
        for layer, expected in zip(found, foreseen, strict=True):
            # Over 108 such ratios: 0.999 ± 0.045, none beyond 0.13.
            assert layer["var"] / expected["predicted_var"] == pytest.approx(1.0, abs=0.2)


def test_plain_sums_grow_where_scaled_ones_do_not():
    x = torch.randn(60, 5, 7, generator=generator_for("x"))
    plain, scaled = (
        probe_blocks(build_transformer(arm, 5, 7, 3, **SIZE, generator=generator_for(0)), x)
        for arm in ("gelu", "selu")
    )
    assert plain[-1]["var"] > 3.0 * plain[0]["var"]
    assert scaled[-1]["var"] < 1.2


def test_the_page(tmp_path):
    result = transformer(
        depths=[1, 2],
        arms=["gelu-ln", "selu"],
        lrs=[0.003],
        width=8,
        epochs=1,
        seeds=2,
        train_size=150,
        out=tmp_path,
    )
    page = html.unescape(result.report_path.read_text())
    assert "Variance of the stream, block by block, at 2 blocks" in page
    assert "8 tokens, the rows of an image (digits)" in page
    assert "--depths 1,2 --arms gelu-ln,selu" in page
    assert len(result.rows) == 4
    by_arm = {cell["arm"]: cell["layers"] for cell in result.record["arms"]}
    assert "predicted_var" in by_arm["selu"][0]
    assert "predicted_var" not in by_arm["gelu-ln"][0]


def test_refusals():
    with pytest.raises(DomainError, match=r"width must be a multiple of 4.*width=30"):
        transformer(width=30)
    with pytest.raises(DomainError, match=r"batch_size must be at most \d+, the training rows"):
        transformer(train_size=40)
