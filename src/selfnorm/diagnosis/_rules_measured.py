"""Findings of a measurement: what left its range on real data."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterator, Sequence
from typing import Final

from selfnorm.diagnosis._context import Context
from selfnorm.diagnosis._fixes import STANDARDISE, init_fix
from selfnorm.diagnosis._probe import Measured
from selfnorm.diagnosis._records import Finding, LayerMoments, finding
from selfnorm.diagnosis._rules_size import for_depth_fix, neutral_dropout_fix
from selfnorm.diagnosis._rules_weights import looks_drawn

__all__ = ["measured_findings"]

# A trained network is told of only where the next layer sees little but a constant, or two lines.
_FAINT: Final = 1e-2
_LOUD: Final = 1e2
_GRADIENT: Final = 100.0  # factor of squared gradients over the whole depth, either way
_TAU: Final = 0.2  # of the logarithm of a sum of squares: 1.0716 a layer is SELU's own growth
_SHARE: Final = 0.5  # of saturated outputs, or of dead units, that is worth a finding


def measured_findings(
    context: Context, measured: Measured, layers: Sequence[LayerMoments]
) -> Iterator[Finding]:
    """Yield what the moments and gradients of the layers show."""
    if measured.not_finite is not None:
        yield finding(
            "not-finite",
            measured.not_finite,
            "The activations are infinite or not numbers from here on.",
            "check the input for NaN, then lower the learning rate",
        )
        return
    yield from _variance(context, layers)
    yield from _shares(layers)
    yield from _gradients(context, measured, layers)
    yield from _mismatch(layers)


def _variance(context: Context, layers: Sequence[LayerMoments]) -> Iterator[Finding]:
    bad = [one for one in layers if not one.ok and one.target_var]
    if not bad:
        return
    factors = [one.var / (one.target_var or 1.0) for one in bad]
    worst = max(range(len(bad)), key=lambda k: abs(math.log(max(factors[k], 1e-300))))
    one = bad[worst]
    extreme = not _FAINT <= factors[worst] <= _LOUD
    trained = _is_trained(context)
    if trained and not extreme:
        return
    yield finding(
        "variance-off",
        one.place,
        f"{len(bad)} of {sum(1 for x in layers if x.target_var)} SELUs are off, this one most: "
        f"mean {one.mean:.3g} and variance {one.var:.3g}, where {one.target_mean:.3g} and "
        f"{one.target_var:.3g} are kept.",
        "selfnorm.nn.keep_row_norms(model, optimizer)"
        if trained
        else f"{STANDARDISE}  # once the other findings are mended",
        severity="warning" if trained or not extreme else None,
        mean=one.mean,
        var=one.var,
        layers=len(bad),
    )


def _is_trained(context: Context) -> bool:
    facts = [context.weights(op) for op in context.selu_layers]
    known = [one for one in facts if one is not None and one.finite]
    return bool(known) and not all(looks_drawn(one) for one in known)


def _shares(layers: Sequence[LayerMoments]) -> Iterator[Finding]:
    selus = [one for one in layers if one.kind == "selu"]
    for code, name, words in (
        ("saturated-units", "saturated_share", "of its outputs lie at SELU's saturation value"),
        ("dead-units", "dead_share", "of its units give the same output for all rows"),
    ):
        found = [one for one in selus if getattr(one, name) > _SHARE and one.rows > 1]
        if found:
            one = max(found, key=lambda layer: float(getattr(layer, name)))
            share = float(getattr(one, name))
            yield finding(
                code,
                one.place,
                f"{share:.0%} {words}.",
                "standardise the input and take a lower learning rate; a network that is not "
                "trained yet also needs selfnorm.init.initialize_",
                share=share,
                layers=len(found),
            )


def _gradients(
    context: Context, measured: Measured, layers: Sequence[LayerMoments]
) -> Iterator[Finding]:
    selus = _longest_path(context, measured, layers)
    if len(selus) < 2:
        return
    log = sum(_log_gain(one) for one in selus)
    if abs(log) <= math.log(_GRADIENT):
        return
    known = [one.predicted_gradient_gain for one in selus]
    theirs = math.prod(g for g in known if g) if all(known) else math.nan
    yield finding(
        "gradient-growth",
        selus[0].place,
        f"Squared gradients are multiplied by {math.exp(log):.3g} over {len(selus)} layers on "
        f"their way back (theory: {theirs:.3g}).",
        _gradient_fix(context, log),
        growth=math.exp(log),
        predicted=theirs,
        layers=len(selus),
    )


def _longest_path(
    context: Context, measured: Measured, layers: Sequence[LayerMoments]
) -> list[LayerMoments]:
    """Return the SELUs on the way that changes squared gradients most; branches are ways apart."""
    ways: dict[int, tuple[float, list[LayerMoments]]] = {}
    ancestors = context.graph.ancestors

    def last(those: list[int]) -> tuple[float, list[LayerMoments]]:
        """Return the way that changes most among those that lead to no other of them."""
        passed = functools.reduce(operator.or_, (ancestors[k] for k in those), 0)
        ends = [ways[k] for k in those if not (passed >> k) & 1]
        return max(ends, key=lambda way: abs(way[0]), default=(0.0, []))

    for site, one in zip(measured.sites.values(), layers, strict=True):
        if one.kind == "selu" and one.gradient_gain is not None:
            earlier = ancestors[site.op.index]
            log, before = last([k for k in ways if (earlier >> k) & 1])
            ways[site.op.index] = log + _log_gain(one), [*before, one]
    return last(list(ways))[1]


def _log_gain(one: LayerMoments) -> float:
    return math.log(max(one.gradient_gain or 0.0, 1e-300))


def _gradient_fix(context: Context, log: float) -> str:
    """Return the line for gradients that grow or fade: weights first, then depth, then dropout."""
    rows = [(op, facts) for op in context.selu_layers if (facts := context.weights(op)) is not None]
    wrong = [
        op
        for op, facts in rows
        if abs(math.log(max(facts.tau, 1e-30))) > _TAU and log * (facts.tau - 1.0) > 0
    ]
    if 2 * len(wrong) > len(rows):
        if all(looks_drawn(facts) for _, facts in rows):
            return init_fix(context, wrong)
        return "selfnorm.nn.keep_row_norms(model, optimizer)"
    if log > 0.0:
        return for_depth_fix(context, max(context.free_depth))
    return neutral_dropout_fix(context) or init_fix(context, [op for op, _ in rows])


def _mismatch(layers: Sequence[LayerMoments]) -> Iterator[Finding]:
    """Tell where one layer's theory fails: inputs far from independent, sparse, or padded."""
    for one in layers:
        if one.kind != "selu" or not one.predicted_var or not one.var > 0.0:
            continue
        ratio = one.var / one.predicted_var
        error = 3.0 * 1.5 / math.sqrt(max(one.units, 1)) + 3.0 / math.sqrt(max(one.rows, 1))
        if not 1.0 / (2.0 + error) <= ratio <= 2.0 + error:
            yield finding(
                "prediction-off",
                one.place,
                f"The variance is {one.var:.3g}; theory predicts {one.predicted_var:.3g} from "
                "these weights. The layer's inputs are correlated, sparse or padded.",
                "",
                var=one.var,
                predicted_var=one.predicted_var,
            )
            return
