"""What a conversion did, what it refused, and both nets side by side."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

if TYPE_CHECKING:
    from selfnorm.diagnosis._records import Diagnosis

__all__ = ["Change", "Conversion", "Refusal", "outline"]

Keeps = Literal["function", "moments", "neither"]


@dataclasses.dataclass(frozen=True)
class Change:
    """One thing that `convert` changed.

    Attributes
    ----------
    place : str
        Module path, as ``model.get_submodule`` takes it; empty for the model itself.
    kind : str
        ``activation``, ``dropout``, ``normalisation``, ``residual``, ``weights``, ``bias``,
        ``padding`` or ``input``.
    before, after : str
        What stood there, and what stands there now.
    why : str
        The reason, in a sentence.
    keeps : {"function", "moments", "neither"}
        ``function``: in evaluation mode the model computes what it did, but for rounding.
        ``moments``: the part now keeps mean 0 and variance 1. ``neither``: it does not by itself.
    """

    place: str
    kind: str
    before: str
    after: str
    why: str
    keeps: Keeps


@dataclasses.dataclass(frozen=True)
class Refusal:
    """One thing that `convert` found and left as it was.

    Attributes
    ----------
    place : str
        Module path, or ``file:line`` for a call in the code of a module.
    what : str
        What stands there.
    reason : str
        Why it was left.
    remedy : str
        What the user can do.
    """

    place: str
    what: str
    reason: str
    remedy: str


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What `convert` returns.

    Attributes
    ----------
    model : torch.nn.Module
        The converted model; after a dry run the original, untouched.
    changes : tuple of Change
        What was changed (after a dry run: would be), in the order of the work.
    refused : tuple of Refusal
        What was found and left, with reasons.
    weights : {"new", "keep"}
        Whether weights were drawn anew or kept.
    weights_reason : str
        Why, if it was left to `convert` to decide.
    before, after : Diagnosis or None
        `diagnose` of the original and of the converted model, if data were given.
    outlines : tuple of (tuple of str)
        The module tree before and after, a line each module.
    """

    model: nn.Module
    changes: tuple[Change, ...]
    refused: tuple[Refusal, ...]
    weights: Literal["new", "keep"]
    weights_reason: str
    before: Diagnosis | None = None
    after: Diagnosis | None = None
    outlines: tuple[tuple[str, ...], tuple[str, ...]] = dataclasses.field(
        default=((), ()), repr=False
    )

    def diff(self) -> str:
        """Return the change of the module tree as a unified diff.

        Returns
        -------
        str
            One line per module, with a comment where its numbers were changed; empty if
            nothing was.
        """
        old, new = self.outlines
        return "\n".join(difflib.unified_diff(old, new, "before", "after", lineterm="", n=2))

    def __str__(self) -> str:
        """Return changes and refusals, those of one kind in one line."""
        groups: dict[tuple[str, ...], list[str]] = {}
        for change in self.changes:
            kept = "neither" if change.keeps == "neither" else f"the {change.keeps}"
            text = f"{change.before} → {change.after} (keeps {kept}): {change.why}"
            groups.setdefault((text,), []).append(change.place or "model")
        for one in self.refused:
            text = f"left: {one.what}: {one.reason}; {one.remedy}"
            groups.setdefault((text,), []).append(one.place or "model")
        lines = [f"{_places(places)}: {text}" for (text,), places in groups.items()]
        return "\n".join(lines) if lines else "nothing to change"

    def to_dict(self) -> dict[str, Any]:
        """Return changes and refusals as plain dicts, as JSON takes them.

        Returns
        -------
        dict
            ``weights``, ``weights_reason``, ``changes`` and ``refused``.
        """
        return {
            "weights": self.weights,
            "weights_reason": self.weights_reason,
            "changes": [dataclasses.asdict(change) for change in self.changes],
            "refused": [dataclasses.asdict(one) for one in self.refused],
        }


def outline(model: nn.Module, comments: Mapping[str, list[str]] | None = None) -> tuple[str, ...]:
    """Return a line for each module: indented name, type, settings, comments."""
    lines = []
    for path, module in model.named_modules(remove_duplicate=False):
        depth = path.count(".") + 1 if path else 0
        words = f"{path.rpartition('.')[2]}: " if path else ""
        text = f"{'  ' * depth}{words}{type(module).__name__}({module.extra_repr()})"
        told = (comments or {}).get(path, [])
        lines.append(text + (f"  # {'; '.join(told)}" if told else ""))
    return tuple(lines)


def _places(places: list[str]) -> str:
    """Name three places at most."""
    few = ", ".join(places[:3])
    return few if len(places) <= 3 else f"{few} and {len(places) - 3} more"
