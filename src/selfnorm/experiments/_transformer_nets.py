"""Small transformers, with and without layer normalisation before their MLP blocks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Final, Literal

import torch
from torch import Tensor, nn

from selfnorm import theory
from selfnorm.experiments._uses import moments_of
from selfnorm.init import lecun_normal_

__all__ = ["TRANSFORMER_ARMS", "build_transformer", "predict_blocks", "probe_blocks"]

_HEADS: Final = 4
_EXPANSION: Final = 4  # units of an MLP block per unit of the stream


@dataclasses.dataclass(frozen=True)
class _Recipe:
    """Activation of the MLP blocks, what is normalised, and how branches are added."""

    activation: Literal["gelu", "selu"]
    attention_norm: bool
    mlp_norm: bool
    scaled: bool  # sqrt(1 - s²) branch + s stream, instead of stream + branch


_RECIPES: Final = {
    "gelu-ln": _Recipe("gelu", attention_norm=True, mlp_norm=True, scaled=False),
    "gelu": _Recipe("gelu", attention_norm=True, mlp_norm=False, scaled=False),
    "selu-ln": _Recipe("selu", attention_norm=True, mlp_norm=True, scaled=True),
    "selu": _Recipe("selu", attention_norm=True, mlp_norm=False, scaled=True),
    "selu-free": _Recipe("selu", attention_norm=False, mlp_norm=False, scaled=True),
}
TRANSFORMER_ARMS: Final = tuple(_RECIPES)


class _Attention(nn.Module):
    """Self-attention of four heads over all tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mixed = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.mixed(x).unflatten(-1, (3, _HEADS, -1)).permute(2, 0, 3, 1, 4)
        found = nn.functional.scaled_dot_product_attention(*heads)
        y: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return y


class _Branch(nn.Module):
    """A branch and how it joins the stream."""

    def __init__(self, branch: nn.Module, skip: float | None) -> None:
        super().__init__()
        self.branch, self.skip = branch, skip

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.branch(x)
        return x + y if self.skip is None else self.skip * x + math.sqrt(1 - self.skip**2) * y


class _Transformer(nn.Module):
    """Tokens with learned places, blocks, and a linear head on the mean over the tokens."""

    def __init__(self, recipe: _Recipe, tokens: int, inputs: int, outputs: int, **size: int):
        from selfnorm.nn import LinearSELU

        super().__init__()
        width, depth = size["width"], size["depth"]
        # Each sum takes 1/depth from its branch: the first tokens keep e^-2 of the last variance.
        skip = math.sqrt(1.0 - 1.0 / max(2, depth)) if recipe.scaled else None
        self.embedding = nn.Linear(inputs, width)
        self.places = nn.Parameter(torch.empty(tokens, width))
        self.blocks = nn.ModuleList()
        for _ in range(depth):
            attention: list[nn.Module] = [nn.LayerNorm(width)] if recipe.attention_norm else []
            mlp: list[nn.Module] = [nn.LayerNorm(width)] if recipe.mlp_norm else []
            hidden = _EXPANSION * width
            mlp += (
                [LinearSELU(width, hidden)]
                if recipe.activation == "selu"
                else [nn.Linear(width, hidden), nn.GELU()]
            )
            self.blocks += [
                _Branch(nn.Sequential(*attention, _Attention(width)), skip),
                _Branch(nn.Sequential(*mlp, nn.Linear(hidden, width)), skip),
            ]
        self.norm = nn.Identity() if recipe.scaled else nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        # Pixels and places weigh alike: variance 1 together.
        h = (self.embedding(x) + self.places) * math.sqrt(0.5)
        for block in self.blocks:
            h = block(h)
        out: Tensor = self.head(self.norm(h).mean(1))
        return out


def build_transformer(
    arm: str,
    tokens: int,
    inputs: int,
    outputs: int,
    *,
    width: int,
    depth: int,
    generator: torch.Generator,
) -> nn.Module:
    """Return a net of one of ``TRANSFORMER_ARMS`` whose weights come from ``generator`` alone.

    All weights are LeCun normal, all biases zero, places standard normal.
    """
    from selfnorm.nn import LinearSELU

    with torch.device("meta"):
        net = _Transformer(_RECIPES[arm], tokens, inputs, outputs, width=width, depth=depth)
    net.to_empty(device="cpu")
    for module in net.modules():
        if isinstance(module, nn.LayerNorm):
            module.reset_parameters()
        elif isinstance(module, nn.Linear | LinearSELU):
            lecun_normal_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.normal_(net.places, generator=generator)
    return net


def probe_blocks(model: nn.Module, x: Tensor) -> list[dict[str, float]]:
    """Return the moments of the stream after each MLP block."""
    return _watch(model, x, lambda block, before, after: moments_of(after.flatten(0, 1)))


def predict_blocks(arm: str, model: nn.Module, x: Tensor) -> list[dict[str, float]]:
    """Return what theory expects of each MLP block for the moments that enter it.

    The first layer of a block without normalisation gets a second moment q of each token; its
    units are normal with variance q over random weights, so the branch has that of the activation.
    """
    recipe = _RECIPES[arm]
    if recipe.mlp_norm:
        return []

    def one(block: _Branch, before: Tensor, after: Tensor) -> dict[str, float]:
        tokens = before.double().square().mean(-1).flatten()
        mean = before.double().mean().item()
        found = theory.moments(recipe.activation, 0.0, tokens.numpy())
        branch = float((found.var + found.mean**2).mean())
        s = block.skip
        kept, added = (1.0, 1.0) if s is None else (s**2, 1.0 - s**2)
        return {"predicted_var": kept * (tokens.mean().item() - mean**2) + added * branch}

    return _watch(model, x, one)


def _watch(
    model: nn.Module, x: Tensor, see: Callable[[_Branch, Tensor, Tensor], dict[str, float]]
) -> list[dict[str, float]]:
    assert isinstance(model, _Transformer)
    found: list[dict[str, float]] = []
    handles = [
        block.register_forward_hook(lambda one, came, out: found.append(see(one, came[0], out)))
        for block in list(model.blocks)[1::2]
    ]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found
