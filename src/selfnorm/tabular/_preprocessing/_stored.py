"""The stored form of a preprocessing: what goes to JSON, and what is refused when it comes back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from selfnorm.errors import DataError
from selfnorm.tabular._bins import Bins
from selfnorm.tabular._preprocessing._columns import (
    CategoryColumn,
    NumberColumn,
    column_from_state,
    take,
)

if TYPE_CHECKING:
    from selfnorm.tabular._preprocessing._preprocessor import Preprocessor

__all__ = ["Stored", "read_state", "state_of"]

_FORMAT: Final = "selfnorm.tabular.Preprocessor"
_VERSION: Final = 1


@dataclasses.dataclass(frozen=True)
class Stored:
    """What a description said.

    Attributes
    ----------
    parameters : dict
        Those of the preprocessor.
    columns : tuple of NumberColumn and CategoryColumn
        What was learnt of each input column.
    names : list of str or None
        The columns' names where X had such.
    bins : Bins or None
        Those that were added.
    """

    parameters: dict[str, Any]
    columns: tuple[NumberColumn | CategoryColumn, ...]
    names: list[str] | None
    bins: Bins | None

    def check_bins(self, width: int) -> None:
        """Refuse bins of outputs beyond the first ``width``, which the columns give."""
        most = max(self.bins.columns, default=0) if self.bins is not None else 0
        if most >= width:
            raise DataError(
                f"the stored bins must be of stored columns, however: column {most} of {width}; "
                "the file is damaged, save the model again"
            )


def state_of(preprocessor: Preprocessor) -> dict[str, Any]:
    """Return all that was learnt: strings, numbers, lists and dicts."""
    given = preprocessor.categorical_features
    if given is not None and not isinstance(given, str):
        given = [c.index for c in preprocessor.columns if isinstance(c, CategoryColumn)]
    names = getattr(preprocessor, "feature_names_in_", None)
    bins = preprocessor.bins
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "categorical_features": given,
        "max_one_hot": preprocessor.max_one_hot,
        "random_state": preprocessor.random_state,
        "feature_names_in": None if names is None else names.tolist(),
        "columns": [column.to_state() for column in preprocessor.columns],
        "bins": None if bins is None else bins.to_state(),
    }


def read_state(state: Mapping[str, Any]) -> Stored:
    """Read what `state_of` wrote; refuse anything else."""
    if take(state, "format") != _FORMAT or take(state, "version") != _VERSION:
        raise DataError(
            f"the stored preprocessing must be of format {_FORMAT!r}, version {_VERSION}, "
            f"however: format={state['format']!r}, version={state['version']!r}; "
            "a newer selfnorm may read it"
        )
    columns, names = take(state, "columns"), take(state, "feature_names_in")
    if not isinstance(columns, list) or not columns:
        raise DataError(
            "the stored preprocessing must list its columns, however: "
            f"columns={columns!r:.80}; the file is damaged, save the model again"
        )
    learnt = tuple(column_from_state(column) for column in columns)
    labels = [column.name for column in learnt]
    if [c.index for c in learnt] != list(range(len(learnt))) or names not in (None, labels):
        raise DataError(
            "the stored columns must be in their order and bear the stored names, however: "
            f"feature_names_in={names!r:.80}; the file is damaged, save the model again"
        )
    parameters = {
        name: take(state, name) for name in ("categorical_features", "max_one_hot", "random_state")
    }
    bins = state.get("bins")  # the first version had none
    return Stored(parameters, learnt, names, None if bins is None else Bins.from_state(bins))
