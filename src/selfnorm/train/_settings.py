"""The settings of a training, checked."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from selfnorm.errors import DomainError
from selfnorm.train._architecture import Architecture
from selfnorm.train._checkpoint import Checkpoint
from selfnorm.train._checks import check_choice, check_count, check_number, per_member
from selfnorm.train._early_stopping import EarlyStopping, Metric
from selfnorm.train._losses import Loss
from selfnorm.train._optimizers import SGD, AdamW, Optimizer
from selfnorm.train._records import Callback
from selfnorm.train._schedules import Constant, Cosine, Plateau, Schedule

__all__ = ["Settings", "seeds_of"]

# What may differ between the sittings of one training.
_FREE = (
    "checkpoint",
    "callbacks",
    "progress",
    "device",
    "epochs",
    "moments",
    "cuda_graph",
    "distributed",
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What `Trainer` was asked for; one number for each member where members may differ."""

    architecture: Architecture
    members: int
    loss: Loss
    optimizer: Optimizer
    schedule: Schedule
    epochs: int
    batch_size: int
    dropout: tuple[float, ...]
    clip_norm: float | None
    early_stopping: EarlyStopping | None
    metric: Literal["loss", "accuracy"] | Metric | None
    average: float | None
    shuffle: Literal["member", "shared"]
    on_divergence: Literal["raise", "stop", "halve"]
    seeds: tuple[int, ...]
    checkpoint: Checkpoint | None
    callbacks: tuple[Callback, ...]
    progress: bool | None
    device: torch.device
    moments: bool
    cuda_graph: bool
    distributed: Literal["auto", "off"]
    shuffle_rows: int | None

    def __post_init__(self) -> None:
        check_count("epochs", self.epochs, 1)
        check_count("batch_size", self.batch_size, 1)
        for name, value, kinds in (
            ("optimizer", self.optimizer, (SGD, AdamW)),
            ("schedule", self.schedule, (Constant, Cosine, Plateau)),
            ("early_stopping", self.early_stopping, (EarlyStopping, type(None))),
            ("checkpoint", self.checkpoint, (Checkpoint, type(None))),
        ):
            if not isinstance(value, kinds):
                words = " or ".join(k.__name__ for k in kinds if k is not type(None))
                raise DomainError(f"{name} must be a {words}, however: {name}={value!r}")
        for rate in self.dropout:
            check_number("dropout", rate, 0.0, 1.0, open_high=False)
        if self.clip_norm is not None:
            check_number("clip_norm", self.clip_norm, 0.0, open_low=True)
        if self.average is not None:
            check_number("average", self.average, 0.0, 1.0, open_low=True)
        check_choice("shuffle", self.shuffle, ("member", "shared"))
        check_choice("on_divergence", self.on_divergence, ("raise", "stop", "halve"))
        if self.shuffle_rows is not None:
            check_count("shuffle_rows", self.shuffle_rows, 1)
        check_choice("distributed", self.distributed, ("auto", "off"))
        if self.early_stopping is not None and self.metric is not None:
            raise DomainError(
                "the metric must be that of early stopping where there is one, however: "
                f"metric={self.metric!r}; give it to EarlyStopping"
            )
        if self.watched is not None:
            self.watched.check(self.loss)
        for name in ("lr", "weight_decay", "momentum"):
            per_member(name, getattr(self.optimizer, name, 0.0), self.members)
        for callback in self.callbacks:
            if not callable(callback):
                raise DomainError(f"callbacks must be callable, however: {callback!r} came")
        if self.cuda_graph and self.device.type != "cuda":
            raise DomainError(
                f"cuda_graph needs a CUDA device, however: device={self.device}; leave it False"
            )

    @property
    def watched(self) -> EarlyStopping | None:
        """What is measured on held-out rows beside the loss, and which way is better."""
        if self.metric is None:
            return self.early_stopping
        return EarlyStopping(metric=self.metric)

    def identity(self) -> dict[str, str]:
        """Return as text what must be the same for a training to be resumed."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: _text(value) for name, value in fields.items() if name not in _FREE}


def _text(value: Any) -> str:
    if dataclasses.is_dataclass(value):
        inside = {f.name: _text(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return json.dumps({type(value).__name__: inside}, sort_keys=True)
    # The repr of a function has its address in it.
    return getattr(value, "__qualname__", None) or repr(value)


def seeds_of(random_state: int | Sequence[int], members: int) -> tuple[int, ...]:
    """Return a seed for each member: those given, or consecutive ones from one number."""
    if isinstance(random_state, int | np.integer):
        first = check_count("random_state", random_state, 0)
        return tuple(range(first, first + members))
    if not isinstance(random_state, Sequence) or isinstance(random_state, str):
        raise DomainError(
            "random_state must be an integer, or one for each member, however: "
            f"random_state={random_state!r}"
        )
    if len(random_state) != members:
        raise DomainError(
            f"random_state must be an integer or one for each of members={members}, however: "
            f"{len(random_state)} came"
        )
    return tuple(check_count("random_state", seed, 0) for seed in random_state)
