"""The state of a conversion: the model in work, how its parts are joined, what was done."""

from __future__ import annotations

from collections.abc import Iterator

from torch import fx, nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize

from selfnorm.diagnosis._conversion import Change, Keeps, Refusal
from selfnorm.diagnosis._exchange import ACTIVATIONS
from selfnorm.diagnosis._listed import is_scripted
from selfnorm.diagnosis._module_graph import (
    Region,
    calls_of,
    in_code,
    is_container,
    regions,
    trace_alone,
)
from selfnorm.diagnosis._rewrite import has_attention, kind_of

__all__ = ["Work"]

_ATTENTION = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)
_THROUGH = (nn.Identity, nn.Flatten, nn.Dropout)


class Work:
    """A conversion in work.

    Parameters
    ----------
    model : torch.nn.Module
        The model that is changed.

    Attributes
    ----------
    changes, refused : list
        What was done and left so far.
    comments : dict of str to list of str
        What the outline of the converted model says of a module whose numbers were changed.
    regions : list of Region
        The traced parts.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.changes: list[Change] = []
        self.refused: list[Refusal] = []
        self.comments: dict[str, list[str]] = {}
        self.regions = list(regions(model))
        self.calls = calls_of(self.regions)
        self._locked = dict(self._find_locked())
        for path, (what, reason, remedy) in self._locked.items():
            self.refused.append(Refusal(path, what, reason, remedy))
        for part in self.regions:
            if part.graph is None and part.reason and not self.is_locked(part.path):
                self.refused.append(
                    Refusal(
                        part.path,
                        f"the forward of {type(part.module).__name__}",
                        f"it cannot be traced ({part.reason}), so that what it calls besides its "
                        "modules is not known",
                        "look through it for calls of activations, dropout and sums",
                    )
                )
        self.outputs = self._output_activations()

    # ---- records ----------------------------------------------------------------------------

    def change(
        self,
        place: str,
        kind: str,
        before: str,
        after: str,
        why: str,
        keeps: Keeps = "moments",
        comment: str = "",
    ) -> None:
        """Note a change."""
        self.changes.append(Change(place, kind, before, after, why, keeps))
        if comment:
            self.comments.setdefault(place, []).append(comment)

    def refuse(self, place: str, what: str, reason: str, remedy: str) -> None:
        """Note something that stays."""
        self.refused.append(Refusal(place, what, reason, remedy))

    # ---- the model --------------------------------------------------------------------------

    def modules(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield path and module of all that may be touched, each module once."""
        for path, module in list(self.model.named_modules()):
            if not self.is_locked(path):
                yield path, module

    def paths_of(self, module: nn.Module) -> list[str]:
        """Return every path under which a module is registered."""
        return [p for p, m in self.model.named_modules(remove_duplicate=False) if m is module]

    def replace(self, old: nn.Module, new: nn.Module) -> None:
        """Put a module where another is registered, at each of its places."""
        new.train(old.training)
        if old is self.model:
            self.model = new
            return
        for path in self.paths_of(old):
            parent, _, name = path.rpartition(".")
            self.model.get_submodule(parent)._modules[name] = new

    def is_locked(self, path: str) -> bool:
        """Tell whether a path lies in a part that is left alone."""
        return any(path == at or at == "" or path.startswith(f"{at}.") for at in self._locked)

    def shared(self, module: nn.Module) -> bool:
        """Tell whether a module is called more than once in a pass, or registered twice."""
        return self.calls[id(module)] > 1 or len(self.paths_of(module)) > 1

    def nodes(self) -> Iterator[tuple[Region, fx.Node, nn.Module]]:
        """Yield every traced call of a module."""
        for part in self.regions:
            for node in part.graph.nodes if part.graph is not None else ():
                module = part.called(node)
                if module is not None:
                    yield part, node, module

    # ---- what is left alone -----------------------------------------------------------------

    def _find_locked(self) -> Iterator[tuple[str, tuple[str, str, str]]]:
        frozen = _is_frozen(self.model)
        told: str | None = None  # the part that was told last, with all that lies in it
        for path, module in self.model.named_modules():
            inside = told is not None and (not told or path.startswith(f"{told}."))
            if not frozen and not inside and _is_frozen(module):
                told = path
                yield (
                    path,
                    (
                        f"frozen {type(module).__name__}",
                        "none of its weights is trained, so that no training would make up for "
                        "other weights or activations",
                        "set requires_grad_(True) on it first; standardise what it gives",
                    ),
                )
                continue
            if is_scripted(module):
                if inside:
                    continue
                told = path
            found = _why_to_leave(module)
            if found is not None:
                # The block around attention, its normalisation included, belongs together.
                yield _parent(path) if isinstance(module, nn.MultiheadAttention) else path, found

    def _output_activations(self) -> set[object]:
        """Return the activations whose result is the model's answer: ids, or owner and code."""
        found: set[object] = set()
        for part in self.regions:
            if part.path or part.graph is None:
                continue
            last = next(node for node in reversed(part.graph.nodes) if node.op == "output")
            waiting = list(last.all_input_nodes)
            while waiting:
                node = waiting.pop()
                module = part.called(node)
                if isinstance(module, ACTIVATIONS):
                    found.add(id(module))
                elif kind_of(node)[0] == "activation":
                    found.add((part.owner(node), in_code(node)))
                elif isinstance(module, _THROUGH) or node.op == "call_method":
                    waiting.extend(node.all_input_nodes)
        return found


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _is_frozen(module: nn.Module) -> bool:
    """Tell a module that has weights, of which none is trained."""
    weights = list(module.parameters())
    return bool(weights) and not any(weight.requires_grad for weight in weights)


def _why_to_leave(module: nn.Module) -> tuple[str, str, str] | None:
    """Return what a module is, why it is left alone, and the remedy."""
    name = type(module).__name__
    if is_scripted(module):
        return (
            f"TorchScript ({getattr(module, 'original_name', name)})",
            "its code is fixed",
            "convert the module before torch.jit.script or torch.jit.trace",
        )
    if isinstance(module, _ATTENTION) or _computes_attention(module):
        return (
            f"attention ({name})",
            "a softmax average shrinks the variance by a factor that depends on the data, so that "
            "no weights restore it; layer normalisation belongs there",
            "convert the feed-forward parts by themselves",
        )
    if isinstance(module, _RECURRENT):
        return (
            f"recurrent layer ({name})",
            "its gates are not SELU's: sigmoid and tanh bound them",
            "none needed; standardise its input",
        )
    if any(isinstance(one, UninitializedParameter) for one in module.parameters(recurse=False)):
        return (
            f"lazy module ({name})",
            "its weights have no shape yet",
            "run one batch through the model first",
        )
    if hasattr(module, "_orig_mod"):
        return (
            "compiled module",
            "its code is fixed",
            "give what was compiled (model._orig_mod), and compile the result afterwards",
        )
    if parametrize.is_parametrized(module):
        return (
            f"parametrised {name}",
            "its weight is computed by a parametrisation, which would overwrite it",
            "remove the parametrisation first, or leave it",
        )
    return None


def _computes_attention(module: nn.Module) -> bool:
    if not is_container(module) or type(module).forward is nn.Module.forward:
        return False
    try:
        return has_attention(trace_alone(module))
    except Exception:  # noqa: BLE001 - any code of the model's author runs here
        return False  # told as a forward that cannot be traced
