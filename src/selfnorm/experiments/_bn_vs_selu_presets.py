"""Options of the bn-vs-selu experiment that suit a data set and a time."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from selfnorm.experiments._training import Schedule

__all__ = ["MODELS", "PRESETS", "Preset", "preset_for"]

MODELS: Final = ("mlp", "cnn")
PRESETS: Final = ("quick", "paper", "paper-small")
_ALL: Final = ("selu", "selu-matched", "ws-selu", "elu", "relu-bn", "relu-ln", "relu")


@dataclasses.dataclass(frozen=True)
class Preset:
    """Defaults; None for ``width`` means as wide as the input, for the sizes all rows."""

    arms: tuple[str, ...]
    depths: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    lrs: tuple[float, ...]
    width: int | None
    stages: int
    epochs: int
    small_epochs: int
    seeds: int
    train_size: int | None
    test_size: int | None
    momentum: float
    schedule: Schedule
    summed: bool
    norm_after: bool


_QUICK: Final = Preset(
    arms=_ALL,
    depths=(8, 16, 32),
    batch_sizes=(1, 4, 16, 128),
    # Half decades. Measured, ELU wants 0.003 at 32 layers and batch norm 0.3 at 8.
    lrs=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
    width=64,
    stages=2,
    epochs=20,
    small_epochs=3,
    seeds=3,
    train_size=None,
    test_size=None,
    momentum=0.9,
    schedule="cosine",
    summed=False,
    norm_after=False,
)
# Figure 1 of the paper: SGD, rate 1e-5 on the summed loss, batches of 128, as wide as the input,
# batch norm behind the activation, 2,000 epochs.
_PAPER: Final = dataclasses.replace(
    _QUICK,
    arms=("selu", "relu-bn"),
    batch_sizes=(128,),
    lrs=(1e-5,),
    width=None,
    epochs=2000,
    seeds=1,
    momentum=0.0,
    schedule="constant",
    summed=True,
    norm_after=True,
)
_SMALL_CNN: Final = {
    "width": 8,
    "depths": (8,),
    "stages": 3,
    "batch_sizes": (4, 128),
    "lrs": (0.003, 0.01, 0.03, 0.1, 0.3),
    "epochs": 4,
    "small_epochs": 1,
    "seeds": 2,
    "train_size": 3000,
}
_SMALL_MLP: Final = {
    "width": 128,
    "epochs": 4,
    "small_epochs": 1,
    "batch_sizes": (4, 128),
    "train_size": 6000,
}
_QUICK_CHANGES: Final[dict[tuple[str, str], dict[str, Any]]] = {
    ("digits", "mlp"): {},
    ("mnist", "mlp"): _SMALL_MLP,
    ("cifar10", "mlp"): _SMALL_MLP,
    ("digits", "cnn"): _SMALL_CNN | {"depths": (8, 16), "stages": 2, "train_size": None},
    ("mnist", "cnn"): _SMALL_CNN,
    ("cifar10", "cnn"): _SMALL_CNN,
}


def preset_for(name: str, data: str, model: str) -> Preset:
    """Return the defaults of a preset for a data set and a model."""
    stages = 2 if data == "digits" else 3
    if name == "paper":
        return dataclasses.replace(_PAPER, stages=stages, width=None if model == "mlp" else 16)
    if name == "paper-small":
        return dataclasses.replace(
            _PAPER, stages=stages, width=128 if model == "mlp" else 8, epochs=100, train_size=5000
        )
    base = dataclasses.replace(_QUICK, test_size=None if data == "digits" else 2000)
    return dataclasses.replace(base, **_QUICK_CHANGES[data, model])
