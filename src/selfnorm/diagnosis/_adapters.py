"""Monitors for those who leave the training loop to somebody else."""

from __future__ import annotations

import functools
import importlib
import sys
import warnings
from typing import Any

from selfnorm.diagnosis._drift import drift_of
from selfnorm.diagnosis._monitor import Monitor
from selfnorm.diagnosis._monitor_log import Log, Record, flat, log_of
from selfnorm.diagnosis._records import Finding
from selfnorm.errors import DomainError, MissingDependencyError
from selfnorm.nn import SELU

__all__ = ["engine_monitor", "lightning_monitor", "skorch_monitor", "transformers_monitor"]


def lightning_monitor(*, every: int = 100, log: Log = None, **options: Any) -> Any:
    """Make a Lightning callback that monitors the module in training.

    Parameters
    ----------
    every : int
        Measure every so many optimiser steps.
    log : callable, path, SummaryWriter, optional
        Where records go, see `Monitor`. By default each number goes to the trainer's logger, under
        ``selfnorm/<layer>/<what>``.
    **options
        What `Monitor` takes besides: ``rows``, ``keep``, ``warn``.

    Returns
    -------
    lightning.pytorch.Callback
        To be put into ``Trainer(callbacks=[…])``; its ``monitor`` is the `Monitor` of the last fit.

    Raises
    ------
    MissingDependencyError
        If neither lightning nor pytorch-lightning is installed.

    Notes
    -----
    The base class is taken from whichever of the two packages is already imported.

    Examples
    --------
    >>> from selfnorm.diagnosis import lightning_monitor
    >>> trainer = Trainer(callbacks=[lightning_monitor(every=50)])  # doctest: +SKIP
    """
    return _lightning()(every=every, log=log, **options)


def transformers_monitor(*, every: int = 100, log: Log = None, **options: Any) -> Any:
    """Make a Hugging Face ``TrainerCallback`` that monitors the model in training.

    Parameters
    ----------
    every : int
        Measure every so many optimiser steps.
    log : callable, path, SummaryWriter, optional
        Where records go, see `Monitor`. By default they are kept in ``monitor.records``.
    **options
        What `Monitor` takes besides: ``rows``, ``keep``, ``warn``.

    Returns
    -------
    transformers.TrainerCallback
        To be put into ``Trainer(callbacks=[…])``; its ``monitor`` is the `Monitor` of the last
        training.

    Raises
    ------
    MissingDependencyError
        If transformers is not installed.

    Examples
    --------
    >>> from selfnorm.diagnosis import transformers_monitor
    >>> callback = transformers_monitor(log="run.jsonl")  # doctest: +SKIP
    >>> trainer = Trainer(model, callbacks=[callback])  # doctest: +SKIP
    """
    return _transformers()(every=every, log=log, **options)


def skorch_monitor(*, every: int = 100, log: Log = None, **options: Any) -> Any:
    """Make a skorch callback that monitors the module in training.

    Parameters
    ----------
    every : int
        Measure every so many batches.
    log : callable, path, SummaryWriter, optional
        Where records go, see `Monitor`. By default the latest one is written into the net's
        history at the end of each epoch, as ``selfnorm``.
    **options
        What `Monitor` takes besides: ``rows``, ``keep``, ``warn``.

    Returns
    -------
    skorch.callbacks.Callback
        To be put into ``NeuralNet(callbacks=[…])``; its ``monitor_`` is the `Monitor` of the last
        fit.

    Raises
    ------
    MissingDependencyError
        If skorch is not installed.

    Examples
    --------
    >>> from selfnorm.diagnosis import skorch_monitor
    >>> net = NeuralNetClassifier(Net, callbacks=[skorch_monitor()])  # doctest: +SKIP
    """
    return _skorch()(every=every, log=log, options=options)


def engine_monitor(log: Log = None, *, warn: bool = True) -> EngineMonitor:
    """Make a callback for `selfnorm.train.Trainer`, called once an epoch.

    Parameters
    ----------
    log : callable, path, SummaryWriter, optional
        Where records go, see `Monitor`.
    warn : bool
        Whether the first drift of each layer is told as a warning.

    Returns
    -------
    EngineMonitor
        To be put into ``Trainer(callbacks=[…], moments=True)``; it has ``records`` and
        ``findings``.

    Notes
    -----
    The engine measures its moments itself, once an epoch, if ``moments=True``. Layers are called
    ``<member>.<number>``; the range is that of the published SELU.

    Examples
    --------
    >>> import torch
    >>> from selfnorm import nn, train
    >>> from selfnorm.diagnosis import engine_monitor
    >>> monitor = engine_monitor()
    >>> trainer = train.Trainer(
    ...     nn.SNN(3, 1, width=8, depth=2), loss="squared", epochs=2, moments=True,
    ...     callbacks=[monitor], progress=False,
    ... )
    >>> result = trainer.fit(torch.randn(40, 3), torch.randn(40))
    >>> [layer["layer"] for layer in monitor.records[-1]["layers"]]
    ['0.0', '0.1', '0.2']
    """
    return EngineMonitor(log, warn)


class EngineMonitor:
    """What `engine_monitor` returns: called with the record of each epoch."""

    def __init__(self, log: Log, warn: bool) -> None:
        self.records: list[Record] = []
        self.findings: list[Finding] = []
        self._warn = warn
        self._told: set[str] = set()
        self._write, _ = log_of(log)

    def __call__(self, epoch: Any) -> None:
        """Take an epoch's record."""
        if epoch.weight_sums is None:
            raise DomainError(
                "the trainer must measure moments, however: moments=False; write "
                "Trainer(…, moments=True)"
            )
        layers: list[dict[str, Any]] = []
        found: list[Finding] = []
        for member, sums in enumerate(epoch.weight_sums):
            for number, (omega, tau) in enumerate(sums or ()):
                path = f"{member}.{number}"
                layers.append({"layer": path, "weight_sum": omega, "weight_sumsq": tau})
                moments = epoch.moments[member]
                if number < len(moments):
                    layers[-1] |= {"mean": moments[number][0], "var": moments[number][1]}
                    one = None if path in self._told else drift_of(path, tau, SELU())
                    if one is not None:
                        self._told.add(path)
                        found.append(one)
        record = {
            "step": epoch.step,
            "epoch": epoch.epoch,
            "layers": layers,
            "findings": [one.to_dict() for one in found],
        }
        self.records.append(record)
        if self._write is not None:
            self._write(record)
        self.findings += found
        if self._warn:
            for one in found:
                warnings.warn(str(one), stacklevel=2)


def _base(*modules: str, package: str) -> Any:
    """Return the first of some modules that is imported already, else that can be."""
    for name in (*(name for name in modules if name in sys.modules), *modules):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise MissingDependencyError(package, extra="callbacks", purpose="this callback")


@functools.cache
def _lightning() -> Any:
    base = _base("lightning.pytorch", "pytorch_lightning", package="lightning").Callback

    class LightningMonitor(base):  # type: ignore[misc, valid-type]
        """A `Monitor` for as long as a fit lasts."""

        def __init__(self, **options: Any) -> None:
            self.options = options
            self.monitor: Monitor | None = None

        def __reduce__(self) -> tuple[Any, ...]:
            """Copy by the options: a fit's hooks are not part of the callback."""
            return functools.partial(lightning_monitor, **self.options), ()

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            """Begin."""
            options = dict(self.options)
            if options["log"] is None and trainer.logger is not None:
                options["log"] = lambda record: trainer.logger.log_metrics(
                    dict(flat(record)), step=trainer.global_step
                )
            self.monitor = Monitor(pl_module, **options)

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            """Count a step; gradients are complete and unscaled here."""
            if self.monitor is not None:
                self.monitor.step()

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            """End."""
            if self.monitor is not None:
                self.monitor.close()

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            """End."""
            self.on_train_end(trainer, pl_module)

    return LightningMonitor


@functools.cache
def _transformers() -> Any:
    base = _base("transformers", package="transformers").TrainerCallback

    class TransformersMonitor(base):  # type: ignore[misc, valid-type]
        """A `Monitor` for as long as a training lasts."""

        def __init__(self, **options: Any) -> None:
            self.options = options
            self.monitor: Monitor | None = None

        def __reduce__(self) -> tuple[Any, ...]:
            """Copy by the options: a training's hooks are not part of the callback."""
            return functools.partial(transformers_monitor, **self.options), ()

        def on_train_begin(
            self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
        ) -> None:
            """Begin."""
            self.monitor = Monitor(model, **self.options)

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Count a step."""
            if self.monitor is not None:
                self.monitor.step()

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """End."""
            if self.monitor is not None:
                self.monitor.close()

    return TransformersMonitor


@functools.cache
def _skorch() -> Any:
    base = _base("skorch.callbacks", package="skorch").Callback

    class SkorchMonitor(base):  # type: ignore[misc, valid-type]
        """A `Monitor` for as long as a fit lasts."""

        def __init__(
            self, every: int = 100, log: Log = None, options: dict[str, Any] | None = None
        ) -> None:
            # scikit-learn clones by the arguments, which must be attributes.
            self.every = every
            self.log = log
            self.options = options

        def __reduce__(self) -> tuple[Any, ...]:
            """Copy by the options: a fit's hooks are not part of the callback."""
            options = {"every": self.every, "log": self.log, **(self.options or {})}
            return functools.partial(skorch_monitor, **options), ()

        def on_train_begin(self, net: Any, **kwargs: Any) -> None:
            """Begin."""
            self.monitor_ = Monitor(
                net.module_, every=self.every, log=self.log, **(self.options or {})
            )

        def on_grad_computed(
            self, net: Any, named_parameters: Any, training: bool | None = None, **kwargs: Any
        ) -> None:
            """Count a step."""
            self.monitor_.step()

        def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
            """Write the latest record into the history."""
            if self.log is None and self.monitor_.records:
                net.history.record("selfnorm", self.monitor_.records[-1])

        def on_train_end(self, net: Any, **kwargs: Any) -> None:
            """End."""
            self.monitor_.close()

    return SkorchMonitor
