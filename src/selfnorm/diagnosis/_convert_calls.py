"""Conversion of calls inside a forward."""

from __future__ import annotations

from torch import fx, nn

from selfnorm.diagnosis._convert_parts import rate_for
from selfnorm.diagnosis._convert_work import Work
from selfnorm.diagnosis._exchange import Known
from selfnorm.diagnosis._module_graph import in_code
from selfnorm.diagnosis._rewrite import Call, ScaledSum, calls_to_replace, rewritten
from selfnorm.nn import SELU, AlphaDropout

__all__ = ["rewrite_calls"]


def rewrite_calls(
    work: Work, names: dict[object, Known], rate: float | None, allowed: bool, inplace: bool
) -> None:
    found = [
        call
        for part in work.regions
        for call in calls_to_replace(part)
        if not work.is_locked(call.owner)
    ]
    remedies = {
        "activation": "make it a module: self.act = selfnorm.nn.SELU(), and call self.act(x)",
        "dropout": "make it a module: selfnorm.nn.AlphaDropout(p)",
        "residual": "write (x + f(x)) * 0.5**0.5",
        "normalisation": "remove it by hand, or make it a module",
        "gate": "none needed; expect a smaller variance behind it",
    }
    always = {
        "normalisation": "a normalisation that a forward calls by itself is not removed",
        "gate": "a product of two branches has no fixed point of the variance",
    }
    for call in found:
        why = always.get(call.kind, "" if allowed else "it is a call in a forward, rewrite=False")
        if _is_answer(work, call):
            why = "it gives the model's answer"
        if why and call.kind in remedies:
            place = call.code or call.owner
            what = f"{call.name} in {call.owner or 'the model'}"
            work.refuse(place, what, why, remedies[call.kind])
    found = [call for call in found if call.kind not in always and not _is_answer(work, call)]
    if not allowed:
        return
    owners = {call.owner for call in found if call.kind in ("activation", "dropout", "residual")}
    for path in sorted(owners, key=lambda one: (-one.count("."), not one, one)):
        calls = [call for call in found if call.owner == path]
        _rewrite_owner(work, path, calls, names, rate, inplace)


def _is_answer(work: Work, call: Call) -> bool:
    return call.kind == "activation" and (call.owner, call.code) in work.outputs


def _rewrite_owner(
    work: Work,
    path: str,
    calls: list[Call],
    names: dict[object, Known],
    rate: float | None,
    inplace: bool,
) -> None:
    owner = work.model.get_submodule(path)
    rates: dict[str, float] = {}

    def make(kind: str, name: str, node: fx.Node) -> nn.Module | None:
        if (path, in_code(node)) not in {(call.owner, call.code) for call in calls}:
            return None
        if kind == "activation":
            return SELU()
        if kind == "residual":
            return ScaledSum()
        if kind == "dropout":
            p = node.kwargs.get("p", node.args[1] if len(node.args) > 1 else 0.5)
            if isinstance(p, int | float):
                code = in_code(node)
                rates[code] = rate_for(float(p), rate, names.get((path, code)))
                return AlphaDropout(rates[code])
        return None

    new, reason = (None, "inplace=True cannot replace the model itself")
    if path or not inplace:
        new, reason = rewritten(owner, make)
    if new is None:
        for call in calls:
            work.refuse(
                call.code or path,
                f"{call.name} in {path or 'the model'}",
                f"the forward of {type(owner).__name__} cannot be rewritten: {reason}",
                "replace it by hand",
            )
        return
    if path:
        work.replace(owner, new)
    else:
        work.model = new
    for call in calls:
        after = {
            "activation": "SELU()",
            "dropout": f"AlphaDropout(p={rates.get(call.code, 0.0):g})",
            "residual": "ScaledSum()",
        }
        why = {
            "activation": "SELU draws mean and variance to 0 and 1",
            "dropout": "dropping to 0 changes mean and variance",
            "residual": "a sum of two branches of variance 1 has variance 2, block after block",
        }
        work.change(
            path,
            call.kind,
            f"{call.name} at {call.code or 'its forward'}",
            after[call.kind],
            f"{why[call.kind]}; {type(owner).__name__}.forward was rewritten",
        )
