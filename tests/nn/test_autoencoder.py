"""Autoencoders: moments at the start as predicted, the bound in closed form, refusals."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, distributions

from selfnorm import nn, theory
from selfnorm.errors import DomainError


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def moments_by_layer(net: nn.SNNAutoencoder, x: Tensor) -> list[tuple[float, float]]:
    """Mean and variance of what leaves each hidden layer and each head."""
    found: list[tuple[float, float]] = []

    def note(_: Any, __: Any, out: Tensor) -> None:
        found.append((out.double().mean().item(), out.double().var().item()))

    layers = [*net.encoder.hidden, net.encoder.head, *net.decoder.hidden, net.decoder.head]
    handles = [layer.register_forward_hook(note) for layer in layers]
    with torch.no_grad():
        net.eval()(x)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("var", [1.0, 0.3])
def test_moments_at_the_start_are_those_predicted(var: float) -> None:
    """Six layers, a code, six layers, an output; the standard errors are theory's own."""
    net = nn.SNNAutoencoder(200, 150, width=180, depth=6, var=var, generator=seeded(0))
    found = moments_by_layer(net, torch.randn(300, 200, generator=seeded(1)))
    constants = theory.solve(0.0, var)
    f = theory.activation("selu", alpha=constants.alpha, scale=constants.scale)
    path = theory.predict([theory.Layer(f)] * 12, 0.0, var, width=180)
    assert path.var_se is not None
    hidden = found[:6] + found[7:13]
    for (mean, variance), predicted, se in zip(hidden, path.var, path.var_se, strict=True):
        assert predicted == pytest.approx(var, abs=1e-9)
        # Four standard errors: a false alarm in 16,000, twelve times.
        assert variance == pytest.approx(var, abs=4 * se)
        assert mean == pytest.approx(0.0, abs=4 * math.sqrt(var / 180))
    for _, variance in (found[6], found[13]):  # code and output
        assert variance == pytest.approx(1.0, abs=0.35)


def test_conic_widths_are_mirrored() -> None:
    net = nn.SNNAutoencoder(40, 5, width=80, depth=3, shape="conic")
    sizes = [block.out_features for block in [*net.encoder.hidden, *net.decoder.hidden]]
    # 80 (5/80)^(k/3) = 80, 31.7, 12.6
    assert sizes == [80, 32, 13, 13, 32, 80]
    assert net.decoder.hidden[0].in_features == 5
    assert net.decoder.head.out_features == 40


def test_depth_matched_reckons_with_both_parts() -> None:
    net = nn.SNNAutoencoder(5, 2, width=4, depth=30, var="depth-matched")
    assert net.var == theory.match_depth(60).var < theory.match_depth(30).var < 1.0


def test_a_drawn_code_starts_with_variance_1() -> None:
    net = nn.SNNAutoencoder(90, 70, width=100, depth=2, variational=True, generator=seeded(2))
    x = torch.randn(400, 90, generator=seeded(3))
    with torch.no_grad():
        mean, log_var = net.posterior(x)
    assert torch.equal(log_var, torch.full_like(log_var, math.log(0.5)))
    # Over twelve seeds the variance was 0.483 to 0.526.
    assert mean.var().item() == pytest.approx(0.5, abs=0.06)
    torch.testing.assert_close(net.encode(x), mean)


def test_deterministic_in_evaluation_and_drawn_in_training() -> None:
    net = nn.SNNAutoencoder(8, 3, width=16, depth=2, variational=True, generator=seeded(4))
    x = torch.randn(5, 8, generator=seeded(5))
    with torch.random.fork_rng():
        assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net.decode(net.encode(x)))
    plain = nn.SNNAutoencoder(8, 3, width=16, depth=2, generator=seeded(4))
    assert torch.equal(plain(x), plain.decode(plain.encode(x)))


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_elbo_equals_torch_distributions(likelihood: Any) -> None:
    net = nn.SNNAutoencoder(
        7, 3, width=12, depth=1, variational=True, generator=seeded(6), dtype=torch.float64
    )
    with torch.no_grad():
        net.encoder.head.weight.normal_(generator=seeded(7))  # log-variances that differ
    x = torch.rand(11, 7, generator=seeded(8), dtype=torch.float64)
    got = net.elbo(x, likelihood=likelihood, noise_var=0.3, beta=1.7, generator=seeded(9))
    mean, log_var = net.posterior(x)
    q = distributions.Normal(mean, (log_var / 2).exp())
    noise = torch.randn(11, 3, generator=seeded(9), dtype=torch.float64)
    out = net.decoder(q.loc + q.scale * noise)
    p: Any = (
        distributions.Normal(out, math.sqrt(0.3))
        if likelihood == "gaussian"
        else distributions.ContinuousBernoulli(logits=out)
    )
    if likelihood == "gaussian":
        want = -p.log_prob(x).sum(1).mean()
    else:
        share = torch.sigmoid(out)
        want = -(x * share.log() + (1 - x) * (1 - share).log()).sum(1).mean()
    torch.testing.assert_close(got.reconstruction, want)
    prior = distributions.Normal(torch.zeros(3).double(), torch.ones(3).double())
    divergence = distributions.kl_divergence(q, prior).sum(1).mean()
    torch.testing.assert_close(got.divergence, divergence)
    torch.testing.assert_close(got.loss, want + 1.7 * divergence)


def test_generator_is_the_only_source() -> None:
    state = torch.get_rng_state()
    first = nn.SNNAutoencoder(6, 2, width=5, depth=2, variational=True, generator=seeded(10))
    first.elbo(torch.zeros(2, 6), generator=seeded(11))
    assert first.sample(3, generator=seeded(12)).shape == (3, 6)
    assert torch.equal(torch.get_rng_state(), state)
    second = nn.SNNAutoencoder(6, 2, width=5, depth=2, variational=True, generator=seeded(10))
    for mine, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_it_learns_a_plane() -> None:
    """Rows on a plane in eight dimensions: a code of two features is enough, one is not."""
    basis, _ = torch.linalg.qr(torch.randn(8, 2, generator=seeded(13)))
    x = torch.randn(300, 2, generator=seeded(14)) @ basis.T
    x = (x - x.mean(0)) / x.std(0)
    errors = []
    for code in (1, 2):
        net = nn.SNNAutoencoder(8, code, width=32, depth=2, generator=seeded(15))
        optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
        for _ in range(150):
            optimizer.zero_grad()
            loss = (net(x) - x).square().mean()
            loss.backward()
            optimizer.step()
        errors.append(loss.item())
    assert errors[1] < 0.03 < 0.1 < errors[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.SNNAutoencoder(0, 3), "in_features=0"),
        (lambda: nn.SNNAutoencoder(4, 0), "code_features=0"),
        (lambda: nn.SNNAutoencoder(4, 3, var="x"), "var='x'"),
        (lambda: nn.SNNAutoencoder(4, 3, var=-1.0), "var"),
        (lambda: nn.SNNAutoencoder(4, 30, width=8, shape="conic"), "width=8"),
        (lambda: nn.SNNAutoencoder(4, 3)(torch.zeros(5, 6)), r"\(N, 4\).*\(5, 6\)"),
        (lambda: nn.SNNAutoencoder(4, 3).decode(torch.zeros(5, 4)), r"code must.*\(N, 3\)"),
        (lambda: nn.SNNAutoencoder(4, 3).posterior(torch.zeros(5, 4)), "variational=True"),
        (
            lambda: nn.SNNAutoencoder(4, 3, variational=True).elbo(torch.zeros(1, 4), noise_var=0),
            "noise_var=0",
        ),
        (
            lambda: nn.SNNAutoencoder(4, 3, variational=True).elbo(torch.zeros(1, 4), beta=-1.0),
            "beta=-1",
        ),
        (
            lambda: nn.SNNAutoencoder(4, 3, variational=True).elbo(
                torch.zeros(1, 4),
                likelihood="x",  # type: ignore[arg-type]
            ),
            "likelihood='x'",
        ),
        (lambda: nn.SNNAutoencoder(4, 3, variational=True).sample(0), "n=0"),
    ],
)
def test_refusals(make: Any, message: str) -> None:
    with pytest.raises(DomainError, match=message):
        make()


@pytest.mark.parametrize("var", [1.0, 0.4])
def test_moments_of_images_at_the_start(var: float) -> None:
    """Two halvings and back; positions share their weights, so that 64 channels are what counts."""
    net = nn.SNNAutoencoder((3, 16, 8), 100, width=64, depth=5, var=var, generator=seeded(20))
    x = torch.randn(60, 3, 16, 8, generator=seeded(21))
    found = moments_by_layer(net, x)
    assert len(found) == 12
    hidden = found[:5] + found[6:11]
    for mean, variance in hidden:
        assert variance == pytest.approx(var, rel=0.35)
        assert mean == pytest.approx(0.0, abs=0.2 * math.sqrt(var))
    # The mean over the layers scatters less.
    assert sum(v for _, v in hidden) / 10 == pytest.approx(var, rel=0.15)
    assert found[5][1] == pytest.approx(1.0, abs=0.3)
    assert found[11][1] == pytest.approx(1.0, abs=0.35)


@pytest.mark.parametrize(("depth", "halvings"), [(1, 0), (1, 1), (3, 2), (4, 2), (3, 3)])
def test_maps_shrink_and_grow_back(depth: int, halvings: int) -> None:
    net = nn.SNNAutoencoder(
        (2, 16, 8), 5, width=4, depth=depth, halvings=halvings, variational=True
    )
    x = torch.zeros(3, 2, 16, 8)
    sizes: list[tuple[int, ...]] = []
    for layer in [*net.encoder.hidden, *list(net.decoder.hidden)[1:]]:
        layer.register_forward_hook(lambda _, __, out: sizes.append(tuple(out.shape[2:])))
    assert net.eval()(x).shape == x.shape
    inward, outward = sizes[:depth], sizes[depth:]
    assert inward[-1] == (16 >> halvings, 8 >> halvings)
    assert len(set(inward) | {(16, 8)}) == halvings + 1
    # The decoder's layers see the maps of the encoder's in reverse order.
    assert outward == list(reversed(inward))[1:]
    assert net.encode(x).shape == (3, 5)
    assert net.elbo(x, generator=seeded(22)).loss.shape == ()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.SNNAutoencoder((3, 8), 2), r"\(3, 8\)"),  # type: ignore[arg-type]
        (lambda: nn.SNNAutoencoder((3, 12, 6), 2), r"multiples of 4.*\(3, 12, 6\)"),
        (lambda: nn.SNNAutoencoder((3, 16, 16), 2, depth=1), "halvings=2, depth=1"),
        (lambda: nn.SNNAutoencoder((3, 8, 8), 2, shape="conic"), "shape='conic'"),
        (
            lambda: nn.SNNAutoencoder((3, 8, 8), 2)(torch.zeros(5, 3, 8, 4)),
            r"\(N, 3, 8, 8\).*\(5, 3, 8, 4\)",
        ),
    ],
)
def test_refused_images(make: Any, message: str) -> None:
    with pytest.raises(DomainError, match=message):
        make()
