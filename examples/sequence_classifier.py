"""Classify sequences by their first token, which a recurrent SELU net has to remember.

python examples/sequence_classifier.py            # about half a minute
python examples/sequence_classifier.py --quick    # a few seconds
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

import selfnorm as sn

VOCABULARY, CLASSES = 30, 4


def sequences(n: int, longest: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens (n, longest), lengths (n,) from half the longest on, and classes (n,).

    The first token, one of the first four, is the class; all others are noise.
    """
    tokens = torch.randint(CLASSES, VOCABULARY, (n, longest), generator=generator)
    classes = torch.randint(CLASSES, (n,), generator=generator)
    tokens[:, 0] = classes
    lengths = torch.randint(longest // 2, longest + 1, (n,), generator=generator)
    return tokens, lengths, classes


def moments(net: sn.nn.SNNSequenceClassifier, tokens: Tensor) -> list[tuple[float, float]]:
    """Mean and variance of the state after each step, over sequences and units."""
    with torch.no_grad():
        states, _ = net.recurrent(net.embedding(tokens))
    return [(h.mean().item(), h.var().item()) for h in states.unbind(1)]


def main(arguments: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--length", type=int, default=120)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="shorter sequences, fewer steps")
    options = parser.parse_args(arguments)
    if options.quick:
        options.length, options.steps = 24, 80

    generator = torch.Generator().manual_seed(options.seed)
    net = sn.nn.SNNSequenceClassifier(
        16, CLASSES, width=options.width, vocabulary=VOCABULARY, generator=generator
    )
    tokens, lengths, classes = sequences(1000, options.length, generator)
    theory = net.recurrent.cells[0].predict(options.length)
    start = moments(net, tokens)

    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    for _ in range(options.steps):
        x, n, y = sequences(64, options.length, generator)
        loss = torch.nn.functional.cross_entropy(net(x, n), y)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    end = moments(net, tokens)
    with torch.no_grad():
        accuracy = (net(tokens, lengths).argmax(1) == classes).float().mean().item()

    print("mean and variance of the state by step")
    print(" step   theory            start             trained")
    for k in sorted({0, 1, 4, options.length // 4, options.length // 2, options.length - 1}):
        cells = [(theory.mean[k], theory.var[k]), start[k], end[k]]
        print(f"{k + 1:5}  " + "  ".join(f"{mean:7.3f} {var:7.3f}" for mean, var in cells))
    print(f"test accuracy {accuracy:.4f}; guessing gets {1 / CLASSES:.2f}")
    return {
        "accuracy": accuracy,
        "start variance": max(abs(var - 1.0) for _, var in start),
        "end variance": max(var for _, var in end),
    }


if __name__ == "__main__":
    main()
