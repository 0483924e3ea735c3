"""The arms of the fifty-layers experiment."""

from __future__ import annotations

import dataclasses
from typing import Final, Literal

from selfnorm import theory
from selfnorm.experiments._data import Dataset
from selfnorm.experiments._nets import NetPlan

__all__ = ["ARMS", "LECTURE_ARMS", "Arm", "arm_named", "inputs_of", "plan_of"]


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way to set up a deep net.

    Attributes
    ----------
    name : str
        Name in options, records and reports.
    inputs : {"raw", "standardized", "scaled"}
        Pixels in [0, 1]; each pixel scaled to mean 0 and variance 1; or the latter multiplied so
        that the variance is the target variance of the activation.
    activation : {"relu", "selu", "depth-matched selu"}
        Activation of the hidden layers.
    init : {"default", "lecun", "he", "orthogonal"}
        Initialisation of the hidden layers; ``default`` is the framework's.
    batch_norm : bool
        Batch normalisation before each activation.
    """

    name: str
    inputs: Literal["raw", "standardized", "scaled"]
    activation: Literal["relu", "selu", "depth-matched selu"]
    init: Literal["default", "lecun", "he", "orthogonal"]
    batch_norm: bool = False


_ARMS: Final = {
    arm.name: arm
    for arm in (
        Arm("raw-relu", "raw", "relu", "default"),
        Arm("raw-selu", "raw", "selu", "default"),
        Arm("std-selu", "standardized", "selu", "default"),
        Arm("std-selu-lecun", "standardized", "selu", "lecun"),
        Arm("std-relu-lecun", "standardized", "relu", "lecun"),
        Arm("std-relu-he-batchnorm", "standardized", "relu", "he", batch_norm=True),
        Arm("depth-matched", "scaled", "depth-matched selu", "orthogonal"),
    )
}
ARMS: Final = tuple(_ARMS)
LECTURE_ARMS: Final = ARMS[:5]


def arm_named(name: str) -> Arm:
    """Return the arm of that name, one of ``ARMS``."""
    return _ARMS[name]


def plan_of(
    arm: Arm, *, n_features: int, n_classes: int, depth: int, width: int, default_init: str
) -> NetPlan:
    """Return the net that an arm stands for."""
    init = default_init if arm.init == "default" else arm.init
    matched = arm.activation == "depth-matched selu"
    return NetPlan(
        n_features=n_features,
        width=width,
        depth=depth,
        n_classes=n_classes,
        activation="relu" if arm.activation == "relu" else "selu",
        target_var=float(theory.match_depth(depth).var) if matched else 1.0,
        hidden_init=init,
        # Orthogonal rows serve the hidden layers; the head only has to begin with variance 1.
        head_init="lecun" if init == "orthogonal" else init,
        batch_norm=arm.batch_norm,
    )


def inputs_of(arm: Arm, data: Dataset, plan: NetPlan) -> Dataset:
    """Return the data as the arm wants them."""
    if arm.inputs == "raw":
        return data
    scaled = data.standardized()
    return scaled if arm.inputs == "standardized" else scaled.scaled(plan.target_var)
