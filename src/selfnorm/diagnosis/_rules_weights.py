"""Rules on weights: initialisation, scale, drift."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from selfnorm import theory
from selfnorm.diagnosis._context import Context, code_path, join_places, scale_range
from selfnorm.diagnosis._fixes import init_fix
from selfnorm.diagnosis._graph import Op
from selfnorm.diagnosis._records import Finding, finding
from selfnorm.diagnosis._weights import TRUNCATED_VAR, WeightFacts

__all__ = ["activation_constants", "initialisation", "looks_drawn"]

# A network of trained weights is told of when the variance that theory predicts for it leaves
# this range somewhere: the next layer then sees little but a constant, or SELU's two lines.
_FAINT: Final = 1e-2
_LOUD: Final = 1e2
_SIGMAS: Final = 5.0  # standard errors beyond which something is not chance
_ENOUGH: Final = 64  # weights by which a distribution can be told
_ROUNDING: Final = 2.0**-8  # of a bound in bfloat16, and of the weights in it


class _Known(NamedTuple):
    """An initialisation that people use by name."""

    code: str
    tau: float
    shapes: tuple[str, ...]
    words: str


# Sums of squares: fan_in times the variance. He: 2/fan_in. Uniform in ±1/sqrt(fan_in): 1/3.
_KNOWN: Final = (
    _Known("default-init", 1.0 / 3.0, ("uniform",), "PyTorch's default initialisation"),
    _Known(
        "gain-three-quarters",
        9.0 / 16.0,
        ("normal", "uniform"),
        "gain 3/4, which is calculate_gain('selu')",
    ),
    _Known("he-init", 2.0, ("normal", "uniform", "truncated"), "He initialisation"),
    _Known(
        "truncated-init",
        TRUNCATED_VAR,
        ("truncated",),
        "a truncated normal whose variance was not corrected",
    ),
)


def initialisation(context: Context) -> Iterator[Finding]:
    """Yield what is wrong with the weights of the layers before SELUs."""
    rows = [
        (op, facts)
        for op in context.selu_layers
        if (facts := context.weights(op)) is not None and not _exempt(context, op)
    ]
    broken = [op for op, facts in rows if not facts.finite]
    if broken:
        yield finding(
            "not-finite",
            join_places(op.place for op in broken),
            f"{_count(broken)} infinite weights or weights that are not numbers.",
            "load the last checkpoint before this happened, and lower the learning rate",
            layers=len(broken),
        )
    rows = [(op, facts) for op, facts in rows if facts.finite]
    shared = _shared(context)
    faulty: set[int] = set()
    for known in _KNOWN:
        # Two layers whose sum has the right variance are as they should be, unless by accident.
        alone = [
            (op, facts)
            for op, facts in rows
            if op.index not in faulty and (op.index not in shared or known.code == "default-init")
        ]
        if any(_is(known, facts) for _, facts in alone):
            # Beside a layer that is beyond doubt, one too small to tell alone counts as well.
            found = [(op, facts) for op, facts in alone if _may_be(known, facts)]
            faulty |= {op.index for op, _ in found}
            yield _named(context, known, found)
    rows = [(op, facts) for op, facts in rows if op.index not in faulty | shared]
    orthogonal = [one for one in rows if _is_off_orthogonal(one[1])]
    # With gain 1, too, more units than inputs have short rows; the layers after mend that.
    far = [
        facts.units <= facts.fan_in
        for op, facts in orthogonal
        if not _range(context.next_selu(op))[0] < facts.tau < _range(context.next_selu(op))[1]
    ]
    if any(far) and 2 * len(far) >= len(rows):
        faulty |= {op.index for op, _ in orthogonal}
        yield _orthogonal(context, orthogonal)
    rest = [(op, facts) for op, facts in rows if op.index not in faulty]
    yield from _unnamed(context, rest, bool(faulty))


def _shared(context: Context) -> set[int]:
    """Find layers whose sum is what a SELU gets, and whose sums of squares together are right."""
    found: set[int] = set()
    for selu in context.selus:
        parts = [
            one
            for one, passed in context.graph.before(selu)
            if one is not None and one.kind == "weight" and "add" in passed
        ]
        known = [facts for op in parts if (facts := context.weights(op)) is not None]
        low, high = _range(selu)
        if len(known) > 1 and low < sum(facts.tau for facts in known) < high:
            found |= {op.index for op in parts}
    return found


def activation_constants(context: Context) -> Iterator[Finding]:
    """Yield SELUs whose constants have no attracting fixed point of positive variance."""
    for op in context.selus:
        alpha, scale = op.facts["alpha"], op.facts["scale"]
        if scale_range(alpha, scale) is None:
            yield finding(
                "activation-constants",
                op.place,
                f"alpha={alpha:.6g} and scale={scale:.6g} have no attracting fixed point.",
                f"{code_path(op.place)} = selfnorm.nn.SELU()",
                alpha=alpha,
                scale=scale,
            )


def _exempt(context: Context, op: Op) -> bool:
    """Tell layers in which the scale of the weights does no harm.

    Between two normalisations (a transformer's feed-forward part) one SELU has no depth over which
    a variance could die out.
    """
    selu = context.next_selu(op)
    if selu is None:
        return True
    return context.is_alone(selu)


def _is(known: _Known, facts: WeightFacts) -> bool:
    """Tell beyond doubt: near the known sum of squares, nearer than to any other, not near 1."""
    if not _may_be(known, facts) or facts.is_near(1.0):
        return False
    if known.code != "default-init" and not looks_drawn(facts):
        return False  # trained weights may have any sum of squares
    nearest = min(_KNOWN, key=lambda one: abs(math.log(facts.tau / one.tau)))
    if nearest is not known:
        return facts.init.shape in known.shapes and facts.init.shape not in nearest.shapes
    return facts.count >= _ENOUGH


def _may_be(known: _Known, facts: WeightFacts) -> bool:
    near = facts.tau > 0.0 and facts.init.shape in known.shapes and facts.is_near(known.tau)
    return near and not (known.code == "default-init" and _has_left_default(facts))


def _has_left_default(facts: WeightFacts) -> bool:
    """Tell weights with the variance of torch's default that do not fill ±1/sqrt(fan_in).

    A step of training takes some of the largest weights over the bound, weight decay takes them
    all below it. Of n uniform draws the largest is below 1 - 12/n once in exp(12) networks.
    """
    low = 1.0 - 12.0 / facts.count - _ROUNDING
    return not low <= facts.init.limit <= 1.0 + _ROUNDING


def _named(context: Context, known: _Known, found: Sequence[tuple[Op, WeightFacts]]) -> Finding:
    ops = [op for op, _ in found]
    tau = float(np.mean([facts.tau for _, facts in found]))
    depth = max(context.graph.selu_depth())
    selu = context.next_selu(ops[-1])
    low, high = _range(selu)
    return finding(
        known.code,
        join_places(op.place for op in ops),
        f"{_count(ops)} {known.words}: a unit's squared weights sum to {tau:.3g}, "
        f"SELU needs 1 (it holds a variance from {low:.3g} to {high:.3g}). "
        + _consequence(known.tau, min(depth, len(ops))),
        init_fix(context, ops),
        weight_sumsq=tau,
        expected_weight_sumsq=known.tau,
        low=low,
        high=high,
        layers=len(ops),
        selus=depth,
    )


def _is_off_orthogonal(facts: WeightFacts) -> bool:
    return facts.init.shape == "orthogonal" and not math.isclose(facts.tau, 1.0, rel_tol=0.05)


def _orthogonal(context: Context, found: Sequence[tuple[Op, WeightFacts]]) -> Finding:
    """Say that torch's orthogonal initialisation has gain, or more units than inputs."""
    ops, taus = [op for op, _ in found], [facts.tau for _, facts in found]
    low, high = _range(context.next_selu(ops[0]))
    span = f"{min(taus):.3g}" + (f" to {max(taus):.3g}" if max(taus) > 1.01 * min(taus) else "")
    ends = [float(theory.moments("selu", 0.0, tau).var) for tau in (min(taus), max(taus))]
    given = f"{ends[0]:.2g}" + (f" to {ends[1]:.2g}" if " to " in span else "")
    return finding(
        "weight-scale",
        join_places(op.place for op in ops),
        f"{_count(ops)} orthogonal initialisation whose rows are not of length 1: a unit's squared "
        f"weights sum to {span}, SELU needs 1 (it holds a variance from {low:.3g} to {high:.3g}). "
        f"Theory predicts that each alone turns variance 1 into {given}.",
        init_fix(context, ops, ", method='orthogonal'"),
        weight_sumsq_low=min(taus),
        weight_sumsq_high=max(taus),
        low=low,
        high=high,
        layers=len(ops),
    )


def _consequence(tau: float, depth: int) -> str:
    depth = max(depth, 1)
    var = float(theory.predict([theory.Layer("selu", weight_sumsq=tau)] * depth, 0.0, 1.0).var[-1])
    return f"Theory predicts the variance {var:.2g} after {depth} SELU{'s' * (depth > 1)}."


def _range(selu: Op | None, form: str = "mean_field") -> tuple[float, float]:
    constants = (selu.facts["alpha"], selu.facts["scale"]) if selu is not None else ()
    return scale_range(*constants, form=form) or (math.nan, math.nan)


def _count(ops: Sequence[Op]) -> str:
    return "The layer has" if len(ops) == 1 else f"{len(ops)} layers have"


def _unnamed(
    context: Context, rows: Sequence[tuple[Op, WeightFacts]], others: bool
) -> Iterator[Finding]:
    """Yield layers whose weights are far off without being a known initialisation."""
    far: list[tuple[Op, WeightFacts]] = []
    untrained: list[tuple[Op, WeightFacts]] = []
    for op, facts in rows:
        spread = float(np.square(facts.sums).mean()) / max(facts.tau, 1e-300)
        form = "centered" if spread < 0.5 else "mean_field"
        low, high = _range(context.next_selu(op), form)
        if low < facts.tau < high or facts.count < _ENOUGH or _scaled_nearby(context, op):
            continue
        (untrained if looks_drawn(facts) else far).append((op, facts))
    if others or not (untrained or far):
        return
    var = _extreme_variance(context)
    extreme = not _FAINT < var < _LOUD
    # One layer of another scale is mended by the next; most of them are not.
    if untrained and (extreme or 2 * len(untrained) > len(rows)):
        yield _scale_finding(context, untrained, "weight-scale", None)
    elif far and extreme:
        below = [(op, facts) for op, facts in far if facts.tau < 1.0]
        low_ones = bool(below) and var < 1.0
        code = "weight-decay-drift" if low_ones else "weight-scale"
        yield _scale_finding(context, below if low_ones else far, code, var)


def looks_drawn(facts: WeightFacts) -> bool:
    """Tell weights that come straight from a random number generator.

    Their distribution has a known shape, units differ in their sums of squares by chance alone,
    and biases are zero or PyTorch's own: uniform with variance 1/(3 fan_in). Training changes
    at least one of these.
    """
    if facts.init.shape in ("other", "zero"):
        return False
    if facts.init.shape == "uniform" and facts.is_near(1.0 / 3.0) and _has_left_default(facts):
        return False
    terms = facts.count / facts.units
    by_chance = (facts.kurtosis - 1.0) / terms  # relative variance of a unit's sum of squares
    spread = float(facts.sumsq.var()) / max(facts.tau, 1e-300) ** 2
    if spread > by_chance * (1.0 + _SIGMAS * math.sqrt(2.0 / facts.units)) + 1e-6:
        return False
    if facts.bias is None or not facts.bias.any():
        return True
    ratio = float(np.square(facts.bias).mean()) * 3.0 * facts.fan_in
    # E b^4 = 9/5 (E b^2)^2 for a uniform distribution.
    inside = bool(np.abs(facts.bias).max() * math.sqrt(facts.fan_in) <= 1.01)
    return inside and abs(ratio - 1.0) <= _SIGMAS * math.sqrt(0.8 / facts.units)


def _scaled_nearby(context: Context, op: Op) -> bool:
    """Tell a layer whose result is multiplied by a constant: then the two act together."""
    after = [context.graph.ops[k] for k in context.graph.users[op.index]]
    before = [context.graph.ops[k] for k in op.inputs if k >= 0]
    return any(one.kind == "scale" for one in (*after, *before))


def _extreme_variance(context: Context) -> float:
    """Return the predicted variance that is furthest from 1 along the layers."""
    layers = []
    for op in context.selu_layers:
        facts = context.weights(op)
        if facts is not None and facts.finite:
            bias = 0.0 if facts.bias is None else facts.bias
            layers.append(theory.Layer("selu", facts.sums, facts.sumsq, bias=bias))
    if not layers:
        return 1.0
    variances = theory.predict(layers, 0.0, 1.0).var
    distance = np.abs(np.log(np.maximum(variances, 1e-300)))
    return float(variances[int(np.argmax(distance))])


def _scale_finding(
    context: Context, found: Sequence[tuple[Op, WeightFacts]], code: str, var: float | None
) -> Finding:
    ops = [op for op, _ in found]
    taus = [facts.tau for _, facts in found]
    low, high = _range(context.next_selu(ops[0]))
    span = f"{min(taus):.3g}" + (f" to {max(taus):.3g}" if len(taus) > 1 else "")
    if var is None:
        after = _consequence(float(np.mean(taus)), min(len(ops), max(context.graph.selu_depth())))
        fix = init_fix(context, ops)
    elif code == "weight-decay-drift":
        after = f"Theory predicts variances down to {var:.2g}: weight decay, an L1 penalty or a "
        after += "start that was too small is the usual cause."
        fix = "for group in optimizer.param_groups: group['weight_decay'] = 0.0"
    else:
        after = f"Theory predicts variances of {var:.2g}; the weights have grown in training."
        fix = "use a lower learning rate or more weight decay"
    return finding(
        code,
        join_places(op.place for op in ops),
        f"{'The layer' if len(ops) == 1 else f'{len(ops)} layers'}: a unit's squared weights sum "
        f"to {span}, SELU needs 1 (it holds a variance from {low:.3g} to {high:.3g}). {after}",
        fix,
        severity=None if var is None else "warning",
        weight_sumsq_low=min(taus),
        weight_sumsq_high=max(taus),
        low=low,
        high=high,
        layers=len(ops),
        **({} if var is None else {"predicted_var": var}),
    )
