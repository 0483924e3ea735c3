"""When a member has stopped getting better."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from selfnorm.errors import DomainError
from selfnorm.train._checks import check_choice, check_count, check_number
from selfnorm.train._losses import Binary, Loss, Softmax

__all__ = ["EarlyStopping", "Metric"]

Metric = Callable[[Tensor, Tensor], float]


@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """Stop each member when its validation metric has not improved for a while.

    Each member keeps the weights of its best epoch and costs nothing once it has stopped.

    Parameters
    ----------
    patience : int
        Epochs without a new best value after which a member stops; at least 1.
    metric : {"loss", "accuracy"} or callable
        What is watched on the held-out rows. A callable gets outputs (n, outputs) and targets as
        they were given, and returns a number.
    mode : {"min", "max"}, optional
        Whether smaller or larger is better. Default: max for accuracy, else min.
    min_delta : float
        By how much a value must beat the best one; 0 or more.

    Raises
    ------
    DomainError
        If an argument lies outside its domain.

    Examples
    --------
    >>> EarlyStopping(patience=5, metric="accuracy").mode
    'max'
    """

    patience: int = 10
    metric: Literal["loss", "accuracy"] | Metric = "loss"
    mode: Literal["min", "max"] | None = None
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        check_count("patience", self.patience, 1)
        check_number("min_delta", self.min_delta, 0.0)
        if not callable(self.metric):
            check_choice("metric", self.metric, ("loss", "accuracy"))
        mode = self.mode or ("max" if self.metric == "accuracy" else "min")
        object.__setattr__(self, "mode", check_choice("mode", mode, ("min", "max")))

    def check(self, loss: Loss) -> None:
        """Refuse a metric that this loss has not."""
        if self.metric == "accuracy" and not isinstance(loss, Softmax | Binary):
            raise DomainError(
                f"accuracy needs classes, however: metric='accuracy', loss={loss!r}; take "
                "metric='loss'"
            )

    def value(self, outputs: Tensor, y: Tensor, loss: float) -> float:
        """Return the metric of one member; ``loss`` is its validation loss."""
        if callable(self.metric):
            return float(self.metric(outputs, y))
        if self.metric == "loss":
            return loss
        if outputs.shape[-1] == 1 or y.dim() == 2:
            hits = (outputs > 0.0) == (y.view_as(outputs) > 0.5)
        else:
            hits = outputs.argmax(-1) == y
        return float(hits.to(torch.float64).mean())

    def better(self, value: float, best: float | None) -> bool:
        """Tell whether a value beats the best one so far; NaN never does."""
        if best is None:
            return value == value
        gain = best - value if self.mode == "min" else value - best
        return gain > self.min_delta
