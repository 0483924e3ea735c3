"""Conversion of calls inside a forward."""

from __future__ import annotations

from typing import Final

from torch import fx, nn

from selfnorm.diagnosis._convert_parts import rate_for
from selfnorm.diagnosis._convert_work import Work
from selfnorm.diagnosis._exchange import Known
from selfnorm.diagnosis._module_graph import in_code
from selfnorm.diagnosis._rewrite import Call, ScaledSum, calls_to_replace, rewritten
from selfnorm.nn import SELU, AlphaDropout

__all__ = ["rewrite_calls"]

_REMEDIES: Final = {
    "activation": "make it a module: self.act = selfnorm.nn.SELU(), and call self.act(x)",
    "attention": "leave it",
    "dropout": "make it a module: selfnorm.nn.AlphaDropout(p)",
    "normalisation": "remove it by hand",
    "residual": "write (x + f(x)) * 0.5**0.5",
}


def rewrite_calls(
    work: Work,
    names: dict[object, Known],
    rate: float | None,
    allowed: bool,
    inplace: bool,
    new_weights: bool,
) -> None:
    found = [
        call
        for part in work.regions
        for call in calls_to_replace(part)
        if not work.is_locked(call.owner)
    ]
    for call in found:
        why, remedy = _why_to_leave(work, call, new_weights)
        if not why and not allowed:
            why = "it is a call in a forward, rewrite=False"
        if why:
            place = call.code or call.owner
            what = f"{call.name} in {call.owner or 'the model'}"
            work.refuse(place, what, why, remedy or _REMEDIES[call.kind])
    found = [call for call in found if not _why_to_leave(work, call, new_weights)[0]]
    if not allowed:
        return
    kinds = ("activation", "dropout", "residual", "normalisation")
    owners = {call.owner for call in found if call.kind in kinds}
    for path in sorted(owners, key=lambda one: (-one.count("."), not one, one)):
        calls = [call for call in found if call.owner == path]
        _rewrite_owner(work, path, calls, names, rate, inplace)


def _why_to_leave(work: Work, call: Call, new_weights: bool) -> tuple[str, str]:
    """Return why a call stays, empty if it may go, and the remedy."""
    if call.kind == "gate":
        why = "a product of two branches has no fixed point of the variance"
        return why, "none needed; expect a smaller variance behind it"
    if call.kind == "normalisation":
        if call.name == "normalize":
            why = "it sets the length of each row, which may be what the answer needs"
            return why, "leave it at an output; inside, remove it by hand"
        if call.at_input:
            why = "it standardises the model's input"
            return why, "leave it, or put selfnorm.nn.StandardizedInput.from_data(x) in its place"
        if not new_weights:
            why = "the weights were trained with it, and it is no module that could be folded"
            return why, "make it a module, or draw the weights anew with weights='new'"
    if _is_answer(work, call):
        return "it gives the model's answer", _REMEDIES["activation"]
    return "", ""


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
    meant = {(call.kind, call.name, call.code) for call in calls}

    def make(kind: str, name: str, node: fx.Node) -> nn.Module | None:
        if (kind, name, in_code(node)) not in meant:
            return None
        if kind == "activation":
            return SELU()
        if kind == "residual":
            return ScaledSum()
        if kind == "normalisation":
            return nn.Identity()
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
            "normalisation": "Identity()",
        }
        why = {
            "activation": "SELU draws mean and variance to 0 and 1",
            "dropout": "dropping to 0 changes mean and variance",
            "residual": "a sum of two branches of variance 1 has variance 2, block after block",
            "normalisation": "beside SELU it hides what the weights do",
        }
        work.change(
            path,
            call.kind,
            f"{call.name} at {call.code or 'its forward'}",
            after[call.kind],
            f"{why[call.kind]}; {type(owner).__name__}.forward was rewritten",
        )
