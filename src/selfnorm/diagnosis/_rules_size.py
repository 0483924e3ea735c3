"""Rules on depth, width, the input and the optimizer."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any, Final

from torch import nn

from selfnorm import theory
from selfnorm.diagnosis._context import Context, code_path, fixed_point_of, join_places
from selfnorm.diagnosis._fixes import STANDARDISE, names_of, replace_fix
from selfnorm.diagnosis._graph import PASSING, Op
from selfnorm.diagnosis._records import Finding, finding

__all__ = ["depth", "for_depth_fix", "input_moments", "neutral_dropout_fix", "optimizer", "width"]

# Squared gradients over the whole depth; 50 SELUs give 32, and train.
_GRADIENT: Final = 100.0
# Standard error of the variance, in units of the variance, beyond which "about 1" is luck.
_FLUCTUATION: Final = 0.5
_LEAST_LAYERS: Final = 3
# Beyond these the moments of an input are not "mean 0 and variance 1": a quarter of the way to
# where the certified box [-.1, .2] x [.39, 2.3] ends would be pedantic, twice it is not.
_MEAN: Final = 0.3
_VAR: Final = (0.4, 2.5)
_SPARSE: Final = 0.95
_BINARY: Final = 0.75
_FEATURES: Final = 4
_STEPS: Final = 10_000


def depth(context: Context) -> Iterator[Finding]:
    """Yield a depth at which gradients grow or fade by much."""
    if context.attends or not context.selus:
        return
    factor = _gradient_factor(context)
    count = max(context.free_depth)
    if 1.0 / _GRADIENT <= factor <= _GRADIENT:
        return
    last = context.selus[-1]
    if factor > 1.0:
        words = f"{count} SELUs in a row multiply squared gradients by {factor:.3g}."
        fix = for_depth_fix(context, count)
    else:
        words = f"{count} SELUs with alpha dropout multiply squared gradients by {factor:.3g}."
        fix = neutral_dropout_fix(context)
    yield finding("too-deep", last.place, words, fix, depth=count, gradient_factor=factor)


def for_depth_fix(context: Context, count: int) -> str:
    """Return the line for gradients that grow over so many SELUs: a fixed point nearer to 0."""
    var = float(theory.match_depth(count).var)
    new = f"selfnorm.nn.SELU.for_depth({count})"
    line = _everywhere(context, context.selus, new, "var", var)
    return f"{line}  # inputs times {math.sqrt(var):.3g}"


def neutral_dropout_fix(context: Context) -> str:
    """Return the line for gradients that fade: the rate at which dropout cancels SELU's growth."""
    drops = [op for op in context.graph.of("alpha_dropout") if op.facts.get("p")]
    fused = [op for op in context.selus if op.facts.get("p")]
    if not drops and not fused:
        return ""
    before = fused if not drops else context.last_activation(drops[0])
    constants = [(op.facts["alpha"], op.facts["scale"]) for op in before if op.name == "selu"]
    point = fixed_point_of(*constants[0]) if constants else None
    mean, var = (round(x, 9) + 0.0 for x in point or (0.0, 1.0))
    rate = theory.gradient_neutral_dropout(mean, var)
    given = [f"{rate:.3g}", f"mean={mean:.6g}" * (mean != 0.0), f"var={var:.6g}" * (var != 1.0)]
    new = f"selfnorm.nn.AlphaDropout({', '.join(filter(None, given))})"
    return _everywhere(context, drops or fused, new, "dropout", rate)


def _everywhere(context: Context, ops: list[Op], new: str, attribute: str, value: float) -> str:
    """Return the line that puts a module in the place of others.

    Of our layers that do several things at once it sets an attribute; for functions it is the
    module alone, which has to be called instead.
    """
    if all(op.by_module for op in ops):
        modules = [context.modules.get(op.place) for op in ops]
        if {type(one).__name__ for one in modules} <= {"SELU", "AlphaDropout"}:
            return replace_fix(context, ops, new)
        if all(isinstance(getattr(one, attribute, None), float) for one in modules):
            names = names_of(context, ops)
            return f"for name in {names}: model.get_submodule(name).{attribute} = {value:.3g}"
    return new


def _gradient_factor(context: Context) -> float:
    """Multiply the factors of squared gradients along the longest path of SELUs."""
    log = [0.0] * len(context.graph.ops)
    skipped = any(op.kind == "add" for op in context.graph.ops)
    for op in context.graph.ops:
        best = max((log[k] for k in op.inputs if k >= 0), key=abs, default=0.0)
        if op.kind in ("norm", "recurrent"):
            best = 0.0
        gain = 0.0
        if op.kind == "activation" and op.name == "selu":
            gain = math.log(_gain(op.facts["alpha"], op.facts["scale"], op.facts.get("p") or 0.0))
        elif op.kind == "alpha_dropout" and op.facts.get("training") and op.facts.get("p"):
            before = context.last_activation(op)
            if before and before[0].name == "selu" and op.facts["p"] < 1.0:
                alpha, scale = before[0].facts["alpha"], before[0].facts["scale"]
                gain = math.log(_gain(alpha, scale, op.facts["p"]) / _gain(alpha, scale, 0.0))
        log[op.index] = best + gain
    if skipped and any(op.kind == "add" and len(set(op.inputs)) == 2 for op in context.graph.ops):
        return 1.0  # skip connections carry gradients past the SELUs
    return math.exp(max(-700.0, min(700.0, max(log, key=abs))))


@functools.lru_cache(maxsize=256)
def _gain(alpha: float, scale: float, p: float) -> float:
    point = fixed_point_of(alpha, scale) or (0.0, 1.0)
    act = theory.activation("selu", alpha=alpha, scale=scale)
    return float(theory.gradient_gain(act, *point, dropout=min(p, 0.999)))


def width(context: Context) -> Iterator[Finding]:
    """Yield a network most of whose SELU layers are so narrow that moments are luck."""
    layers = [op for op in context.selu_layers if _units(context, op) and not _is_conv(op)]
    if len(layers) < _LEAST_LAYERS or context.attends:
        return
    narrow = [op for op in layers if _fluctuation(_units(context, op)) > _FLUCTUATION]
    if 2 * len(narrow) <= len(layers):
        return
    least = min(_units(context, op) for op in narrow)
    error = _fluctuation(least)
    needed = 1 << math.ceil(math.log2(least * (error / 0.2) ** 2))
    yield finding(
        "narrow-layers",
        join_places(op.place for op in narrow),
        f"{len(narrow)} of {len(layers)} SELU layers are narrow, down to {least} units: the "
        f"variance of a row differs from 1 by {error:.2g} (standard error) by chance alone.",
        f"use a width of {needed} or more",
        units=least,
        standard_error=error,
        count=len(narrow),
    )


def _units(context: Context, op: Op) -> int:
    facts = context.weights(op)
    return facts.units if facts is not None else 0


def _is_conv(op: Op) -> bool:
    return "kernel" in op.facts  # its units are many places too


@functools.lru_cache(maxsize=256)
def _fluctuation(units: int) -> float:
    """Return the standard error of the variance over units, deep in a network of this width."""
    if units < 2:
        return math.inf
    return _unit_fluctuation() / math.sqrt(units)


@functools.lru_cache(maxsize=1)
def _unit_fluctuation() -> float:
    path = theory.predict([theory.Layer("selu")] * 8, 0.0, 1.0, width=256)
    assert path.var_se is not None
    return float(path.var_se[-1]) * math.sqrt(256.0)


# ---- the input --------------------------------------------------------------------------------


def input_moments(context: Context) -> Iterator[Finding]:
    """Yield what enters: not finite, not standardised, or nearly all one value."""
    if not context.inputs or not context.selus:
        return
    first = [op for op in context.selu_layers if _is_first(context, op)]
    finite = [op for op in first if math.isfinite(op.facts.get("in_mean") or 0.0)]
    sparse = [op for op in finite if _is_sparse(op)]
    if sparse:
        share = float(sparse[0].facts["in_share"])
        yield finding(
            "sparse-input",
            join_places(op.place for op in sparse),
            f"{share:.1%} of the input's values are one and the same.",
            f"{STANDARDISE}  # or torch.nn.Embedding for categories",
            share=share,
        )
        return
    for op in first:
        mean, var = op.facts.get("in_mean"), op.facts.get("in_var")
        if mean is None or var is None:
            continue
        if not math.isfinite(mean) or not math.isfinite(var):
            yield finding(
                "not-finite",
                op.place,
                "The input holds infinite values or values that are not numbers.",
                "leave these rows out, or fill them: x = x.nan_to_num(0.0, 0.0, 0.0)",
                mean=float(mean),
                var=float(var),
            )
            return
        if _is_off(context, op):
            yield _not_standardised(context, op, "layer", STANDARDISE)
            return
    for op in context.selu_layers:
        if _is_behind_foreign(context, op) and _is_off(context, op):
            fix = _standardise_features(context, op)
            yield _not_standardised(context, op, "SELU layer", fix)
            return


def _is_off(context: Context, op: Op) -> bool:
    """Tell a layer whose input has neither about mean 0 nor about the variance that SELU keeps."""
    mean, var = op.facts.get("in_mean"), op.facts.get("in_var")
    if mean is None or var is None or not math.isfinite(mean) or not math.isfinite(var):
        return False
    rows = int((op.facts.get("in_shape") or (1,))[0])
    target = _target(context, op)
    if _is_summand(context, op):
        # As a time that is added to what it belongs to: its second moment is what the SELU gets.
        mean, var = 0.0, var + mean**2
    mean, var = mean / math.sqrt(target), var / target
    # The mean of few rows strays: three standard errors, taking a row's values as dependent.
    strayed = 3.0 * math.sqrt(max(var, 1.0) / max(rows, 1)) if rows < 30 else 0.0
    low, high = _VAR
    if rows < 30:
        low, high = low / 2.0, high * 2.0
    return abs(mean) > _MEAN + strayed or not low <= var <= high


def _is_summand(context: Context, op: Op) -> bool:
    """Tell a layer whose result is added to another layer's before the next SELU."""
    return any(
        context.graph.ops[k].kind == "add" and len(set(context.graph.ops[k].inputs)) > 1
        for k in context.graph.users[op.index]
    )


def _not_standardised(context: Context, op: Op, what: str, fix: str) -> Finding:
    mean, var = float(op.facts["in_mean"]), float(op.facts["in_var"])
    return finding(
        "input-not-standardised",
        op.place,
        f"What reaches the first {what} has mean {mean:.3g} and variance {var:.3g}, where mean 0 "
        f"and variance {_target(context, op):.3g} are needed.",
        fix,
        mean=mean,
        var=var,
    )


def _target(context: Context, op: Op) -> float:
    selu = context.next_selu(op)
    if selu is None:
        return 1.0
    point = fixed_point_of(selu.facts["alpha"], selu.facts["scale"])
    return point[1] if point is not None and point[1] > 0.0 else 1.0


def _is_first(context: Context, op: Op) -> bool:
    return any(
        before is None and "norm" not in passed for before, passed in context.graph.before(op)
    )


def _is_behind_foreign(context: Context, op: Op) -> bool:
    """Tell a first SELU layer behind another activation, a recurrent part or a pool.

    In a network with attention that is the first one behind the last normalisation.
    """
    earlier = context.graph.ancestors[op.index]
    if any(
        one.index != op.index
        and (earlier >> one.index) & 1
        and not (context.attends and context.free_depth[op.index] == 0)
        for one in context.selu_layers
    ):
        return False
    before_norm = context.graph.before(op, PASSING - {"norm"})
    if any(
        one is not None and one.kind == "norm" and "pool" in passed for one, passed in before_norm
    ):
        return True
    return any(
        before is not None
        and "norm" not in passed
        and (before.kind in ("activation", "recurrent") or "pool" in passed)
        for before, passed in context.graph.before(op)
    )


def _standardise_features(context: Context, op: Op) -> str:
    """Return the line that puts a batch norm without scale before a layer, where one fits."""
    norms = {nn.Linear: (2, "BatchNorm1d"), nn.Conv1d: (3, "BatchNorm1d")}
    norms |= {nn.Conv2d: (4, "BatchNorm2d"), nn.Conv3d: (5, "BatchNorm3d")}
    shape: tuple[int, ...] = op.facts.get("in_shape") or ()
    dims, norm = norms.get(type(context.modules.get(op.place)), (0, ""))
    if op.place and op.by_module and dims == len(shape):
        new = f"torch.nn.{norm}({shape[1]}, affine=False)"
        whole = f"torch.nn.Sequential({new}, {code_path(op.place)})"
        whole += ".train(model.training)"  # a module is made in training mode
        return f"model.set_submodule({op.place!r}, {whole})"
    return (
        "x = selfnorm.nn.StandardizedInput.from_data(features)(x)  # features: x of training rows"
    )


def _is_sparse(op: Op) -> bool:
    share, values = op.facts.get("in_share", 0.0), op.facts.get("in_values", 0)
    if not share or (op.facts.get("in_shape") or (0,))[-1] < _FEATURES:
        return False
    return bool(share >= (_BINARY if values <= 2 else _SPARSE))


# ---- the optimizer ----------------------------------------------------------------------------


def optimizer(context: Context) -> Iterator[Finding]:
    """Yield weight decay that pulls weights out of SELU's range within some thousand steps."""
    groups = getattr(context.optimizer, "param_groups", None)
    if not groups or not context.selu_layers:
        return
    weights = {id(op.facts.get("weight")): op for op in context.selu_layers}
    low = _low()
    for group in groups:
        decay = float(group.get("weight_decay") or 0.0)
        rate = float(group.get("lr") or 0.0)
        ops = [weights[id(p)] for p in group["params"] if id(p) in weights]
        if not ops or decay <= 0.0 or rate <= 0.0:
            continue
        # Sums of squares fall like exp(-2 lr decay step) where the gradient does not hold them.
        steps = math.log(1.0 / low) / (2.0 * rate * decay)
        if steps >= 10 * _STEPS:
            continue
        yield finding(
            "weight-decay-drift",
            join_places(op.place for op in ops),
            f"weight_decay={decay:g} at lr={rate:g} would take a unit's squared weights from 1 to "
            f"{low:.3g}, below which SELU no longer holds the variance, in {steps:,.0f} steps.",
            f"optimizer.param_groups[{groups.index(group)}]['weight_decay'] = 0.0",
            severity=None if steps < _STEPS else "note",
            weight_decay=decay,
            lr=rate,
            steps=round(steps),
        )


def _low() -> float:
    found: Any = theory.weight_scale_range("selu")
    return float(found.low)
