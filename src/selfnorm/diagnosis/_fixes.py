"""The lines of code that mend a fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrize import is_parametrized

from selfnorm import nn as our_nn
from selfnorm.diagnosis._context import Context, code_path
from selfnorm.diagnosis._graph import Op

__all__ = ["STANDARDISE", "init_fix", "names_of", "replace_fix"]

STANDARDISE: Final = "x = (x - x_train.mean(0)) / x_train.std(0).clamp_min(1e-6)"

_SPELLED: Final = 8  # modules that a line names one by one

_REFUSED: Final = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
_SMALL: Final = 0.05  # a sum of squares that nobody has by default


def init_fix(context: Context, ops: Sequence[Op], how: str = "") -> str:
    """Return the shortest line that initialises these layers and spoils no other."""
    modules = context.modules
    paths = list(dict.fromkeys(op.place for op in ops))
    known = all(
        path in modules and isinstance(getattr(modules[path], "weight", None), nn.Parameter)
        for path in paths
    )
    if not known:
        return _fix_of_no_parameter(context, ops, paths)
    whole = _common_root(paths, modules)
    if whole is not None and _may_initialise(context, modules[whole], whole, paths):
        return f"selfnorm.init.initialize_({code_path(whole)}{how})"
    if len(paths) == 1:
        return f"selfnorm.init.initialize_({code_path(paths[0])}{how})"
    one = f"model.get_submodule(name){how}"
    return f"for name in {tuple(paths)!r}: selfnorm.init.initialize_({one})"


def _fix_of_no_parameter(context: Context, ops: Sequence[Op], paths: Sequence[str]) -> str:
    """Return the line for weights that are computed, or that a forward uses without a layer."""
    modules = context.modules
    computed = [p for p in paths if p in modules and is_parametrized(modules[p], "weight")]
    plain = [p for p in paths if p in modules and isinstance(modules[p], nn.Linear | _ConvNd)]
    if computed and plain == paths:
        remove, start = "remove_parametrizations", "selfnorm.init.initialize_"
        one = "model.get_submodule(name)"
        return (
            f"[torch.nn.utils.parametrize.{remove}({one}, 'weight') for name in {tuple(computed)!r}"
            f"]; [{start}({one}) for name in {tuple(paths)!r}]  # remove the parametrisation first"
        )
    own = {
        (p.data_ptr(), shape): f"model.get_parameter({name!r}){turn}"
        for name, p in context.model.named_parameters()
        if p.dim() == 2 and not p.is_meta
        for shape, turn in ((p.t().stride(), ".t()"), (p.stride(), ""))
    }
    weights = [op.facts.get("weight") for op in ops]
    keys = [(w.data_ptr(), w.stride()) for w in weights if isinstance(w, Tensor) and not w.is_meta]
    if len(keys) == len(ops) and all(key in own for key in keys):
        each = ", ".join(dict.fromkeys(own[key] for key in keys))
        return f"[selfnorm.init.lecun_normal_(w) for w in ({each},)]"
    return (
        f"draw the weights of {', '.join(path or 'the model' for path in paths)} with variance "
        "1/fan_in, as selfnorm.init.lecun_normal_ does; where they are computed (weight_norm, "
        "spectral_norm, pruning), remove that first"
    )


def _common_root(paths: Sequence[str], modules: dict[str, nn.Module]) -> str | None:
    """Return the path of the smallest module that contains all of these."""
    parts = [path.split(".") if path else [] for path in paths]
    common: list[str] = []
    for step in zip(*parts, strict=False):
        if len(set(step)) > 1:
            break
        common.append(step[0])
    root = ".".join(common)
    return root if root in modules else None


def _may_initialise(context: Context, module: nn.Module, root: str, paths: Sequence[str]) -> bool:
    """Tell whether nothing but SELU layers and linear heads would be drawn anew."""
    if any(isinstance(one, _REFUSED) for one in module.modules()):
        return False
    ours = set(paths) | {op.place for op in context.selu_layers} | _heads(context)
    has_weights: Callable[[nn.Module], Any] = lambda m: (  # noqa: E731
        isinstance(getattr(m, "weight", None), nn.Parameter) and m.weight.dim() > 1  # type: ignore
    )
    inside = [
        (f"{root}.{name}" if root and name else root or name)
        for name, one in module.named_modules()
        if has_weights(one)
    ]
    return all(name in ours for name in inside)


def _heads(context: Context) -> set[str]:
    """Weight layers that feed no activation: the outputs, unless they start small on purpose."""
    return {
        op.place
        for op in context.graph.of("weight")
        if not _is_small(context, op)
        and all(
            after is None or after.kind != "activation" or after.name in ("sigmoid", "tanh")
            for after, _ in context.graph.after(op)
        )
    }


def _is_small(context: Context, op: Op) -> bool:
    """Tell the last layer of a policy, or one of zeros: torch's default has sums of 1/3."""
    facts = context.weights(op)
    return facts is not None and facts.tau < _SMALL


# ---- the line that replaces ----------------------------------------------------------------


def replace_fix(context: Context, ops: Sequence[Op], new: str, *, initialise: bool = False) -> str:
    """Return a line that puts another module in the place of these.

    With ``initialise`` it draws the weights anew as well, unless their sums of squares are right.
    """
    if "Dropout" in new:
        new += ".train(model.training)"  # a module is made in training mode
    paths = list(dict.fromkeys(op.place for op in ops))
    also = initialise and not _starts_right(context)
    if len(paths) == 1:
        line = f"model.set_submodule({paths[0]!r}, {new})"
    elif also:
        line = f"[model.set_submodule(name, {new}) for name in {names_of(context, ops)}]"
    else:
        line = f"for name in {names_of(context, ops)}: model.set_submodule(name, {new})"
    return f"{line}; selfnorm.init.initialize_(model)" if also else line


def names_of(context: Context, ops: Sequence[Op]) -> str:
    """Write the modules' paths as Python code; many of one type that are all there are, by it."""
    paths = tuple(dict.fromkeys(op.place for op in ops))
    kinds = {type(context.modules.get(path)) for path in paths}
    kind = kinds.pop()
    library = {"selfnorm": our_nn, "torch": nn}.get(kind.__module__.partition(".")[0])
    if len(paths) > _SPELLED and not kinds and getattr(library, kind.__name__, None) is kind:
        alike = {path for path, one in context.modules.items() if type(one) is kind}
        if alike == set(paths):
            name = "selfnorm.nn" if library is our_nn else "torch.nn"
            name = f"{name}.{kind.__name__}"
            return f"[k for k, m in model.named_modules() if type(m) is {name}]"
    return repr(paths)


def _starts_right(context: Context) -> bool:
    """Tell whether all weights but those of the last layers keep a variance of 1."""
    ops = [op for op in context.graph.of("weight") if context.graph.descendants[op.index]]
    known = [facts for op in ops if (facts := context.weights(op)) is not None]
    inner = [
        facts
        for op, facts in zip(ops, known, strict=False)
        if any(one is not None and one.kind == "activation" for one, _ in context.graph.after(op))
    ]
    return bool(inner) and all(facts.finite and facts.is_near(1.0) for facts in inner)
