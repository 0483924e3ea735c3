"""Measure a network on data, compare it with theory, and say whether it normalises itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from torch import Tensor, nn

from selfnorm.diagnosis._batches import Batch, batches_of
from selfnorm.diagnosis._check import check_model
from selfnorm.diagnosis._context import Context, fixed_point_of
from selfnorm.diagnosis._graph import Op
from selfnorm.diagnosis._outline import outline
from selfnorm.diagnosis._path import paths
from selfnorm.diagnosis._predict import (
    Link,
    activation_of,
    band,
    domain_distance,
    dropout_gain,
    step,
)
from selfnorm.diagnosis._probe import Measured, Probe, Site, chain
from selfnorm.diagnosis._records import (
    Diagnosis,
    LayerMoments,
    sorted_findings,
)
from selfnorm.diagnosis._rules_measured import measured_findings
from selfnorm.diagnosis._state import unchanged
from selfnorm.diagnosis._trace import tensors_in
from selfnorm.errors import DataError, DomainError

__all__ = ["diagnose", "run"]

_MEAN: Final = 0.5  # in standard deviations of the target


def diagnose(
    model: nn.Module,
    data: Any,
    *,
    loss: Callable[[Any, Any], Tensor] | None = None,
    optimizer: Any = None,
    training: bool = True,
    backward: bool = True,
    per_unit: bool = False,
    tolerance: float = 3.0,
    batch_size: int = 256,
    max_rows: int | None = 4096,
    random_state: int = 0,
) -> Diagnosis:
    """Measure a network on data and compare it, layer by layer, with what theory predicts.

    Parameters
    ----------
    model : torch.nn.Module
        Any network.
    data : torch.Tensor, array, tuple, mapping or iterable
        A tensor or array of rows; a tuple ``(X, y)``, or of several inputs; a mapping of keyword
        arguments; or a list, DataLoader or iterator of batches of these. What ``forward`` does not
        need is the target.
    loss : callable, optional
        ``loss(output, target)``, a scalar, for the gradients. Without it the gradient of a random
        projection of the outputs is taken.
    optimizer : torch.optim.Optimizer, optional
        Its weight decay is checked too.
    training : bool
        Measure as in training: dropout on, batch norm by batch. Otherwise as in evaluation.
    backward : bool
        Measure gradients too. Without, no graph is kept.
    per_unit : bool
        Keep mean and variance of each unit as well.
    tolerance : float
        Factor, above 1, by which a SELU's variance may differ from its target, up and down, before
        an untrained network fails; the fluctuation of finite width comes on top. Trained ones fail
        below 0.01 and above 100 times the target.
    batch_size : int
        Rows at a time, for data that do not come in batches.
    max_rows : int or None
        After how many rows to stop; None takes all.
    random_state : int
        Seed of dropout and of the random projection.

    Returns
    -------
    Diagnosis
        Findings of :func:`check` and of the measurement, and the moments by layer.

    Raises
    ------
    DomainError
        If ``model`` is not a module or an option lies outside its domain.
    DataError
        If there are no rows, no targets for a loss, or the model raises an exception on them.

    Notes
    -----
    One forward and one backward pass. The memory is that of one batch with its graph, and of the
    sums by unit; weights are not copied. The model is left exactly as it was: modes, buffers,
    gradients, hooks and the state of random numbers, after an exception as well. The band around
    a prediction is that of one input row; the average over many rows varies less.

    References
    ----------
    Klambauer, Unterthiner, Mayr, Hochreiter, "Self-Normalizing Neural Networks", NeurIPS 2017,
    arXiv:1706.02515; Schoenholz, Gilmer, Ganguli, Sohl-Dickstein, "Deep Information Propagation",
    ICLR 2017, arXiv:1611.01232.

    Examples
    --------
    >>> import torch
    >>> from selfnorm.diagnosis import diagnose
    >>> from selfnorm.nn import SNN
    >>> seed = torch.Generator().manual_seed(0)
    >>> X = torch.randn(500, 30, generator=seed)
    >>> found = diagnose(SNN(30, 2, width=128, depth=4, generator=seed), X)
    >>> found.healthy, [round(layer.var, 1) for layer in found.layers]
    (True, [1.0, 1.0, 1.0, 1.0])
    """
    if not isinstance(model, nn.Module):
        raise DomainError(
            f"model must be a torch.nn.Module, however: a {type(model).__name__} came; pass the "
            "network itself"
        )
    if not (isinstance(tolerance, int | float) and tolerance > 1.0):
        raise DomainError(
            f"tolerance must be a factor above 1, however: tolerance={tolerance!r}; 3 is usual"
        )
    for name, value in (("batch_size", batch_size), ("max_rows", max_rows)):
        if value is not None and not (type(value) is int and value > 0):
            raise DomainError(
                f"{name} must be a whole number of at least 1, however: {name}={value!r}; "
                "256 rows at a time are usual"
            )
    if loss is not None and not callable(loss):
        raise DomainError(
            f"loss must be a callable loss(output, target), however: loss={loss!r}; "
            "torch.nn.functional.mse_loss is one"
        )
    if any(p.is_meta for p in model.parameters()):
        raise DataError(
            "diagnose needs real weights, however: the model lies on the meta device; "
            "selfnorm.check(model) applies the rules that need no numbers"
        )
    probe = Probe(model, loss=loss, backward=backward)
    with unchanged(model, seed=random_state):
        (model.train if training else model.eval)()
        inputs = run(probe, batches_of(model, data, batch_size=batch_size, max_rows=max_rows))
    measured = probe.measured
    context = Context(model, measured.graph, inputs, optimizer)
    _enter(measured)
    links = _links(measured)
    layers = _layers(context, measured, links, tolerance, per_unit)
    found = [*check_model(context), *measured_findings(context, measured, layers)]
    return Diagnosis(
        model=type(getattr(model, "_orig_mod", model)).__name__,
        findings=tuple(sorted_findings(found)),
        layers=tuple(layers),
        rows=measured.rows,
        input_mean=measured.input.mean,
        input_var=measured.input.var,
        tolerance=float(tolerance),
        structure=outline(context, {site.op.index: site for site in measured.sites.values()}),
    )


def run(probe: Probe, batches: Iterable[Batch]) -> list[Tensor]:
    """Let a probe see all batches; return the tensors of the first."""
    inputs: list[Tensor] = []
    for batch in batches:
        probe.check_target(batch)
        tensors = [t.detach().clone() for t in tensors_in((batch.args, batch.kwargs))]
        inputs = inputs or tensors
        try:
            probe.add(batch)
        except Exception as error:
            raise DataError(
                f"the model must run on the data, however: {type(error).__name__}: {error} "
                f"(shapes {[tuple(t.shape) for t in tensors]}); give batches as the model takes "
                "them"
            ) from error
    return inputs


def _enter(measured: Measured) -> None:
    """Let the rules on inputs see the moments of all rows."""
    for index, moments in measured.entering.items():
        if index < len(measured.graph.ops) and moments.units:
            facts = measured.graph.ops[index].facts
            facts["in_mean"], facts["in_var"] = moments.mean, moments.var
            facts["in_shape"] = (measured.rows, *facts.get("in_shape", ())[1:])


def _links(measured: Measured) -> dict[int, Link]:
    graph = measured.graph
    ops = [site.op for site in measured.sites.values() if site.op.index < len(graph.ops)]
    ops = [op for op in ops if graph.ops[op.index] is op]
    links = {}
    for op, layer, previous in chain(graph, ops):
        links[op.index] = Link(op, layer, previous, _dropout(measured, layer, previous))
    return links


def _dropout(measured: Measured, layer: Op | None, previous: Op | None) -> tuple[str, float]:
    """Return what dropout stands between an activation and the next layer."""
    if layer is None or previous is None:
        return "", 0.0
    if previous.facts.get("p"):
        return "alpha_dropout", float(previous.facts["p"])
    graph, k = measured.graph, layer.inputs[0]
    while k >= 0 and graph.ops[k] is not previous:
        op = graph.ops[k]
        if op.kind in ("dropout", "alpha_dropout") and op.facts.get("training"):
            return op.kind, float(op.facts.get("p") or 0.0)
        if not op.inputs:
            break
        k = op.inputs[0]
    return "", 0.0


def _layers(
    context: Context,
    measured: Measured,
    links: dict[int, Link],
    tolerance: float,
    per_unit: bool,
) -> list[LayerMoments]:
    sites = list(measured.sites.values())
    flows = paths(context, measured)
    by_op = {site.op.index: site for site in sites}
    result = []
    for site in sites:
        link = links.get(site.op.index)
        facts = context.weights(link.layer) if link is not None and link.layer else None
        entering = measured.entering.get(link.layer.index) if link and link.layer else None
        act = activation_of(site.op)
        one = (
            step(act, facts, entering.mean, entering.var)
            if act is not None and facts is not None and entering is not None
            else None
        )
        flow = flows.get(site.op.index)
        along = flow.pooled if flow is not None else None
        error = flow.error if flow is not None else math.nan
        limits = band(along[1], error) if along is not None else None
        target = _target(site.op)
        gain = predicted_gain = None
        previous = by_op.get(link.previous.index) if link and link.previous else None
        if previous is not None and link is not None and one is not None:
            gain = _ratio(previous, site)
            before = activation_of(previous.op)
            # The gradient is taken after an operator's own dropout, before that of a module.
            own = float(site.op.facts.get("p") or 0.0)
            fused = bool(previous.op.facts.get("p"))
            factor = dropout_gain("alpha_dropout", own, act, site.output.mean, site.output.var) * (
                1.0
                if fused
                else dropout_gain(*link.dropout, before, previous.output.mean, previous.output.var)
            )
            predicted_gain = _finite(one.gradient_gain * factor)
        quantiles = _quantiles(facts.sumsq) if facts is not None else (None, None)
        result.append(
            LayerMoments(
                place=site.key,
                kind=site.op.name,
                layer=link.layer.place if link and link.layer else "",
                units=site.output.units,
                fan_in=round(facts.fan_in) if facts is not None else 0,
                rows=site.output.count,
                mean=site.output.mean,
                var=site.output.var,
                preactivation_mean=site.before.mean,
                preactivation_var=site.before.var,
                predicted_mean=one.mean if one else None,
                predicted_var=one.var if one else None,
                predicted_mean_path=along[0] if along else None,
                predicted_var_path=along[1] if along else None,
                var_low=limits[0] if limits else None,
                var_high=limits[1] if limits else None,
                weight_sum=float(facts.sums.mean()) if facts is not None else None,
                weight_sum_sd=float(facts.sums.std()) if facts is not None else None,
                weight_sumsq=facts.tau if facts is not None else None,
                weight_sumsq_low=quantiles[0],
                weight_sumsq_high=quantiles[1],
                dead_share=site.output.dead_share,
                saturated_share=site.saturated / max(1, site.output.count * site.output.units),
                gradient=_gradient(site),
                gradient_gain=gain,
                predicted_gradient_gain=predicted_gain,
                correlation=site.output.correlation,
                domain_distance=(
                    domain_distance(entering.mean, entering.var, facts)
                    if target == (0.0, 1.0) and entering is not None and facts is not None
                    else None
                ),
                target_mean=target[0] if target else None,
                target_var=target[1] if target else None,
                unit_mean=tuple(site.output.unit_mean.tolist()) if per_unit else None,
                unit_var=tuple(site.output.unit_var.tolist()) if per_unit else None,
                ok=_is_ok(site, target, tolerance, error / along[1] if along and along[1] else 0.0),
            )
        )
    return result


def _target(op: Op) -> tuple[float, float] | None:
    if op.name != "selu":
        return None
    return fixed_point_of(op.facts["alpha"], op.facts["scale"])


def _is_ok(site: Site, target: tuple[float, float] | None, tolerance: float, error: float) -> bool:
    """Compare with the target; ``error`` is that of the predicted variance, relatively."""
    if target is None:
        return site.output.finite
    spread = 3.0 * target[1] * min(error, 1.0)
    mean, var = site.output.mean, site.output.var
    low = min(target[1] / tolerance, target[1] - spread)
    high = max(target[1] * tolerance, target[1] + spread)
    limit = _MEAN * math.sqrt(target[1]) * max(1.0, tolerance / 3.0)
    return low <= var <= high and abs(mean - target[0]) <= limit + spread


def _gradient(site: Site) -> float | None:
    if not site.gradient_rows:
        return None
    return _finite(math.sqrt(site.squared_gradient / site.gradient_rows))


def _ratio(previous: Site, site: Site) -> float | None:
    if not (previous.gradient_rows and site.gradient_rows and site.squared_gradient > 0.0):
        return None
    return _finite(previous.squared_gradient / site.squared_gradient)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _quantiles(values: Any) -> tuple[float, float]:
    low, high = torch.from_numpy(values).quantile(torch.tensor([0.05, 0.95]).double()).tolist()
    return float(low), float(high)
