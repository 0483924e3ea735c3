"""From an estimator's parameters to what the engine is asked for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from selfnorm import theory, train
from selfnorm.errors import BackendError, DomainError
from selfnorm.tabular._defaults import defaults_for
from selfnorm.train._checks import check_choice, check_count, check_number

if TYPE_CHECKING:
    from selfnorm.tabular._estimator import Estimator
    from selfnorm.train._losses import Loss

__all__ = ["Plan", "check_parameters", "plan_for", "seeds_for"]

SCHEDULES: Final = ("adaptive", "constant", "cosine")
SOLVERS: Final = ("adamw", "sgd")
_MOMENTUM: Final = 0.9  # Nesterov's, as MLPClassifier has it
# scikit-learn's "adaptive": a fifth of the rate after n_iter_no_change epochs without gain.
_ADAPTIVE_FACTOR: Final = 0.2
# Hidden layers from which the standard SELU's gradients grow threefold and more (1.0716^16 = 3.02).
_DEEP: Final = 16


@dataclasses.dataclass(frozen=True)
class Plan:
    """One member's training. Members may differ in the last four fields and train together."""

    architecture: train.Architecture
    loss: Loss
    solver: str
    schedule: train.Constant | train.Cosine | train.Plateau
    epochs: int
    batch_size: int
    clip_norm: float | None
    early_stopping: train.EarlyStopping | None
    device: Any
    verbose: bool
    dropout: float
    learning_rate: float
    weight_decay: float
    seed: int

    @property
    def adaptive(self) -> bool:
        """Whether the rate falls on plateaus."""
        return isinstance(self.schedule, train.Plateau)

    def shared(self) -> Plan:
        """Return what members must have in common to train together."""
        return dataclasses.replace(self, dropout=0.0, learning_rate=1.0, weight_decay=0.0, seed=0)

    def optimizer(self, plans: Sequence[Plan]) -> train.AdamW | train.SGD:
        """Return one optimiser for the members."""
        rates = tuple(plan.learning_rate for plan in plans)
        decays = tuple(plan.weight_decay for plan in plans)
        if self.solver == "sgd":
            return train.SGD(lr=rates, momentum=_MOMENTUM, weight_decay=decays, nesterov=True)
        return train.AdamW(lr=rates, weight_decay=decays)


def check_parameters(estimator: Estimator) -> None:
    """Refuse parameters that no data could make sense of."""
    given = estimator.get_params(deep=False)
    layers = given["hidden_layer_sizes"]
    if not _auto(layers):
        for size in hidden_sizes(layers):
            check_count("hidden_layer_sizes", size, 1)
    counts = {"n_members": 1, "batch_size": 1, "max_iter": 1}
    for name, least in counts.items():
        if not _auto(given[name]):
            check_count(name, given[name], least)
    if not _auto(given["bins"]) and given["bins"] != 1:
        check_count("bins", given["bins"], 0)
    elif given["bins"] == 1:
        raise DomainError("bins must be 0 or at least 2, however: bins=1; one bin is the column")
    check_count("n_iter_no_change", given["n_iter_no_change"], 1)
    for name, high in (("dropout", 1.0), ("weight_decay", math.inf), ("label_smoothing", 1.0)):
        if name in given and not _auto(given[name]):
            check_number(name, given[name], 0.0, high)
    if not _auto(given["learning_rate_init"]):
        check_number("learning_rate_init", given["learning_rate_init"], 0.0, open_low=True)
    check_number("tol", given["tol"], 0.0)
    check_number("validation_fraction", given["validation_fraction"], 0.0, 1.0, open_low=True)
    check_choice("learning_rate", given["learning_rate"], SCHEDULES)
    check_choice("solver", given["solver"], SOLVERS)
    for name in ("early_stopping", "warm_start", "calibrate", "linear"):
        value = given.get(name, True)
        free = name in ("calibrate", "linear") and _auto(value)
        if not isinstance(value, bool | np.bool_) and not free:
            raise DomainError(f"{name} must be True or False, however: {name}={value!r}")
    if given["n_jobs"] is not None:
        check_count("n_jobs", given["n_jobs"], 1, "None leaves torch's number of threads as it is")


def _auto(value: object) -> bool:
    return isinstance(value, str) and value == "auto"


def hidden_sizes(layers: Any) -> tuple[int, ...]:
    """Return the units of each hidden layer; a number means one layer."""
    if isinstance(layers, int | np.integer):
        return (int(layers),)
    if isinstance(layers, str) or not np.iterable(layers):
        raise DomainError(
            "hidden_layer_sizes must be 'auto' or the units of each hidden layer, however: "
            f"hidden_layer_sizes={layers!r}; give a tuple such as (256, 256)"
        )
    return tuple(layers)


def seeds_for(random_state: Any, count: int) -> list[int]:
    """Return a seed for each of ``count`` members; those of different states are unrelated.

    None takes fresh entropy from the operating system, a RandomState or Generator gives a number.
    """
    if isinstance(random_state, np.random.RandomState):
        entropy: int | None = int(random_state.randint(np.iinfo(np.int32).max))
    elif isinstance(random_state, np.random.Generator):
        entropy = int(random_state.integers(np.iinfo(np.int32).max))
    elif random_state is None:
        entropy = None
    else:
        entropy = check_count(
            "random_state", random_state, 0, "None, a RandomState and a Generator are fine too"
        )
    return [int(s) for s in np.random.SeedSequence(entropy).generate_state(count)]


def plan_for(
    estimator: Estimator, rows: int, features: int, outputs: int, loss: Loss
) -> tuple[Plan, int]:
    """Return a member's plan (its seed still 0), and the number of members."""
    regression = not isinstance(loss, train.Softmax | train.Binary)
    given = estimator.get_params(deep=False)
    rule = defaults_for(rows, features, outputs, "regression" if regression else "classification")

    def choose(name: str, default: Any) -> Any:
        return default if _auto(given[name]) else given[name]

    hidden = (rule.width,) * rule.depth
    if not _auto(given["hidden_layer_sizes"]):
        hidden = hidden_sizes(given["hidden_layer_sizes"])
    point = given["fixed_point"]
    if _auto(point):
        point = rule.fixed_point
        if given["activation"] != "selu":
            point = (0.0, 1.0)
        elif len(hidden) >= _DEEP:
            point = "depth-matched"
    if isinstance(point, list):
        point = tuple(point)
    architecture = train.Architecture(
        (features, *hidden, outputs), activation=given["activation"], fixed_point=point
    )
    dropout = choose("dropout", min(rule.dropout, _bearable_rate(architecture)))
    # A step moves every layer: in deeper networks smaller ones, and more of them.
    deeper = max(1.0, len(hidden) / rule.depth)
    epochs = choose("max_iter", round(rule.epochs * math.sqrt(deeper)))
    schedule: train.Constant | train.Cosine | train.Plateau = train.Cosine()
    if given["learning_rate"] == "constant":
        schedule = train.Constant()
    elif given["learning_rate"] == "adaptive":
        schedule = train.Plateau(factor=_ADAPTIVE_FACTOR, patience=given["n_iter_no_change"])
    stopping = None
    if given["early_stopping"]:
        stopping = train.EarlyStopping(given["n_iter_no_change"], min_delta=given["tol"])
    if isinstance(loss, train.Softmax | train.Binary):
        smoothing = float(choose("label_smoothing", rule.label_smoothing))
        loss = dataclasses.replace(loss, label_smoothing=smoothing)
    plan = Plan(
        architecture=architecture,
        loss=loss,
        solver=given["solver"],
        schedule=schedule,
        epochs=int(epochs),
        batch_size=min(int(choose("batch_size", rule.batch_size)), max(1, rows)),
        clip_norm=rule.clip_norm,
        early_stopping=stopping,
        device=device_of(given["device"]),
        verbose=bool(given["verbose"]),
        dropout=float(dropout),
        learning_rate=float(choose("learning_rate_init", rule.learning_rate / deeper)),
        weight_decay=float(choose("weight_decay", rule.weight_decay)),
        seed=0,
    )
    return plan, int(choose("n_members", rule.n_members))


def _bearable_rate(architecture: train.Architecture) -> float:
    """Return the rate of alpha dropout above which deep networks would strangle gradients.

    Dropout at rate p multiplies squared gradients by v / (v + p (s - m)²) a layer, where the SELU
    keeps mean m and variance v and saturates at s, and the SELU by its chi: the product is 1 at
    p = (chi - 1) v / (s - m)². The standard SELU in few layers bears any rate.
    """
    point = architecture.fixed_point
    mean, var = (0.0, 1.0) if isinstance(point, str) else point
    deep = len(architecture.hidden) >= _DEEP
    if architecture.activation != "selu" or not (deep or var < 1.0):
        return math.inf
    selu = theory.solve(mean, var)
    chi = selu.chi * var / (var + mean**2)  # with the gain of the weights that keeps the mean
    return max(0.0, (chi - 1.0) * var / (selu.saturation - mean) ** 2)


def device_of(device: Any) -> Any:
    """Return the torch device; refuse one that is not there."""
    import torch

    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise DomainError(
            f"device must be 'cpu', 'cuda' or 'cuda:N', however: device={device!r}"
        ) from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise BackendError(
            f"device must be there, however: device={device!r} and torch sees no CUDA device; "
            "take device='cpu'"
        )
    return found
