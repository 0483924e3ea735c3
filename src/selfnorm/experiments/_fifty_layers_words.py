"""What the page of the fifty-layers experiment says, computed from its record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from selfnorm.constants import ALPHA01, LAMBDA01
from selfnorm.experiments._arms import LECTURE_ARMS
from selfnorm.experiments._words import chance_limit, listed, outcome, percent, trains_from
from selfnorm.report import format_number

__all__ = [
    "outcome_of",
    "protocol",
    "reading_of_table",
    "see_accuracy",
    "see_gradient",
    "see_table",
    "see_variance",
    "verdict",
]

Record = Mapping[str, Any]

# Gradient norms below this in all hidden layers are called faint. Nets that train begin near 1.
_FAINT: Final = 1e-3


def outcome_of(arm: Record, config: Record) -> str:
    """Return how an arm ended, in two or three words."""
    limit = chance_limit(config["chance"], config["test_size"])
    return outcome(arm["accuracy"][-1], arm["diverged"], config["seeds"], limit)


def verdict(record: Record) -> str:
    """Return the answer at the head of the page."""
    arms, config = record["arms"], record["config"]
    parts = [] if record["complete"] else ["Not finished: the arms done so far are shown."]
    for words, many in (
        ("trains", "train"),
        ("learns little", "learn little"),
        ("stays at chance", "stay at chance"),
        ("diverges", "diverge"),
    ):
        group = [arm for arm in arms if outcome_of(arm, config).startswith(words)]
        if group:
            names = listed(arm["name"] for arm in group)
            text = f"{names} {words if len(group) == 1 else many}"
            if words == "trains":
                accuracies = [percent(arm["accuracy"][-1]) for arm in group]
                text += f" ({listed(accuracies)} of the test images right)"
            parts.append(f"{text}.")
    return " ".join(parts)


def protocol(config: Record) -> str:
    """Return what all arms have in common."""
    seeds = config["seeds"]
    return (
        f"{config['depth']} hidden layers of {config['width']} units, {config['train_size']:,} "
        f"training and {config['test_size']:,} test images, SGD with momentum {config['momentum']}"
        f", learning rate {config['lr']} for every arm, batches of {config['batch_size']}, "
        f"{config['epochs']} epochs. "
        + (
            f"Lines are means over {seeds} seeds, bands reach from the worst seed to the best."
            if seeds > 1
            else "One seed."
        )
    )


def reading_of_table(config: Record) -> list[str]:
    """Return how to read the table, and what the default initialisation means here."""
    limit = chance_limit(config["chance"], config["test_size"])
    texts = [
        f"“Stays at chance” is an accuracy of at most {percent(limit)}: guessing the commonest "
        f"class gives {percent(config['chance'])} and exceeds that limit about once in a thousand "
        f"times. “Trains” is an accuracy of at least {percent(trains_from(limit))}. One learning "
        "rate serves all arms, as in the lecture: an arm that fails here may do better at another.",
    ]
    # Second moments of SELU with independent weights grow by scale²(1 + alpha²)/2 per layer near 0
    # and by scale²/2 far away; between the inverses lies an attracting positive second moment.
    low, high = 2 / (LAMBDA01**2 * (1 + ALPHA01**2)), 2 / LAMBDA01**2
    needed = (
        "With independent weights SELU holds a positive variance only if the squares of a unit's "
        f"weights sum to something between {format_number(low, 3)} and {format_number(high, 3)}; "
    )
    size = config["width"] * 0.05**2 / 3
    kind = "" if low < size < high else ", outside that range"
    return [
        *texts,
        {
            "torch": needed + "PyTorch's default initialisation makes that sum 1/3, LeCun's 1.",
            "glorot": "Default initialisation means Glorot uniform here, Keras' own. Between layers"
            " of equal width it has the variance of LeCun's, so std-selu is expected to train.",
            "uniform05": needed + "uniform weights in ±0.05 make that sum "
            f"{format_number(size, 3)} at this width{kind}, LeCun's 1.",
        }[config["default_init"]],
    ]


def see_accuracy(arms: Sequence[Record], config: Record) -> str:
    """Say who wins, and by how much among the lecture's arms."""
    known = [arm for arm in arms if arm["accuracy"][-1] is not None]
    if not known:
        return "No arm ended with a finite loss."
    ranked = sorted(known, key=lambda arm: arm["accuracy"][-1], reverse=True)
    texts = [f"{arm['name']} ends at {percent(arm['accuracy'][-1])}" for arm in ranked]
    if len(ranked) == 1:
        return f"{texts[0]} after {config['epochs']} epochs."
    lecture = [index for index, arm in enumerate(ranked) if arm["name"] in LECTURE_ARMS]
    if len(lecture) < 2:
        return f"{texts[0]}, {texts[-1]}."
    first, second = lecture[:2]
    head = "" if first == 0 else f"{texts[0]}; "
    next_best = ranked[second]
    return (
        f"{head}among the lecture's arms {texts[first]}, the next best "
        f"({next_best['name']}) at {percent(next_best['accuracy'][-1])}."
    )


def see_table(arms: Sequence[Record]) -> str:
    """Say how long the arms took."""
    seconds = [arm["seconds"] for arm in arms]
    return (
        f"Training took {format_number(sum(seconds), 3)} seconds in all, "
        f"{format_number(min(seconds), 2)} to {format_number(max(seconds), 2)} an arm."
    )


def see_variance(arms: Sequence[Record]) -> str:
    """Say where the images' differences survive, and how good the prediction is."""
    groups: dict[str, list[str]] = {"kept": [], "lost": [], "grown": []}
    for arm in arms:
        change = _ratio(arm["layers"][-1]["signal_var"], arm["layers"][0]["signal_var"])
        if change is None or change > 10:
            groups["grown"].append(arm["name"])
        else:
            groups["kept" if change >= 0.1 else "lost"].append(arm["name"])
    parts = [
        f"{text} in {listed(groups[key])}"
        for key, text in (
            ("kept", "stays within a factor of ten of the first layer's"),
            ("lost", "shrinks more than tenfold"),
            ("grown", "grows more than tenfold"),
        )
        if groups[key]
    ]
    name, distance = _worst_prediction(arms)
    return (
        f"Up to the last layer, the variance between images {'; it '.join(parts)}. Measured and "
        f"predicted variance differ at most by a factor of {format_number(distance, 2)} ({name})."
    )


def see_gradient(arms: Sequence[Record]) -> str:
    """Compare the first hidden layer with the last."""
    shown = []
    for arm in arms:
        ratio = _ratio(arm["layers"][0]["grad_norm"], arm["layers"][-1]["grad_norm"])
        shown.append(f"{'none' if ratio is None else format_number(ratio, 2)} in {arm['name']}")
    largest = {
        arm["name"]: max(layer["grad_norm"] or 0.0 for layer in arm["layers"]) for arm in arms
    }
    faint = [
        f"{format_number(value, 2)} in {name}" for name, value in largest.items() if value < _FAINT
    ]
    text = (
        "Norm in the first hidden layer divided by that in the last: "
        f"{listed(shown)}. Near 1 all layers learn at one pace; near 0 the first layers stand still"
        ", and at large values they are the first to diverge."
    )
    if faint:
        text += f" No hidden layer's norm exceeds {listed(faint)}."
    return text


def _worst_prediction(arms: Sequence[Record]) -> tuple[str, float]:
    """Return the arm and the largest ratio, either way, of measured and predicted variance."""
    worst, distance = arms[0]["name"], 1.0
    for arm in arms:
        for layer in arm["layers"]:
            ratio = _ratio(layer["var"], layer["predicted_var"])
            away = max(ratio, 1 / ratio) if ratio else math.inf
            if away > distance:
                worst, distance = arm["name"], away
    return worst, distance


def _ratio(numerator: float | None, denominator: float | None) -> float | None:
    if numerator is None or not denominator:
        return None
    return numerator / denominator
