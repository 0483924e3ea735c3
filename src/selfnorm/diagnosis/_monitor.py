"""Watch a net while it trains: moments, weight sums and gradients by layer, at little cost."""

from __future__ import annotations

import functools
import warnings
from collections import deque
from types import TracebackType
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from selfnorm.diagnosis._drift import drift_of, word_of
from selfnorm.diagnosis._exchange import ACTIVATIONS
from selfnorm.diagnosis._listed import is_scripted
from selfnorm.diagnosis._monitor_calls import Called, CallWatcher
from selfnorm.diagnosis._monitor_log import Log, Record, log_of
from selfnorm.diagnosis._records import Finding
from selfnorm.errors import DomainError
from selfnorm.nn import SELU, LinearSELU
from selfnorm.nn._row_norms import rows_of

__all__ = ["Monitor"]

_WATCHED: Final = (*ACTIVATIONS, nn.SELU, SELU, nn.Tanh, nn.Sigmoid)


class Monitor:
    """Log a net's moments, weight sums and gradient norms by layer during training.

    A context manager. Call `step` once per training step, after ``backward`` and before the
    gradients are zeroed, or give the optimiser, which then calls it before each of its steps.

    Parameters
    ----------
    model : torch.nn.Module
        The net in training.
    every : int
        Measure every so many steps, beginning with the first.
    log : callable, path, SummaryWriter, optional
        Where records go: a function that takes the record as a dict; a file, to which each record
        is appended as a line of JSON; or anything with TensorBoard's ``add_scalar``. The latest
        ``keep`` records are in `records` in any case.
    optimizer : torch.optim.Optimizer, optional
        Calls `step` by itself.
    rows : int
        How many rows of a batch are measured, at most.
    keep : int
        How many records `records` holds.
    warn : bool
        Whether the first drift of each layer out of the range in which its activation normalises
        itself is told as a warning. It is in `findings` in any case.

    Attributes
    ----------
    records : collections.deque of dict
        The latest records: ``step``, ``layers`` and ``findings``. A layer has ``layer`` (path),
        ``mean`` and ``var`` with ``of`` (``"activation"``: of its activation's output;
        ``"pre-activation"``: of its own, where no activation follows that is known), ``activation``
        (class of the module, or name of the function), ``weight_sum`` and ``weight_sumsq`` (means
        over its units), ``weight_sumsq_low`` and ``weight_sumsq_high`` (smallest and largest) and
        ``gradient_norm`` (Euclidean, of the weight).
    findings : list of Finding
        What was found, once per layer.

    Raises
    ------
    DomainError
        If an argument lies outside its domain.

    Notes
    -----
    Between two measurements no hook is registered, and nothing is computed. A measurement takes a
    pass over the activations' first rows and over the weights, as long as 1.1 to 1.6 training steps
    of eager nets (measured: ``python -m benchmarks monitor``), so that ``every=100`` costs 1.1 to
    1.6 %. Training is left as it is, bit for bit: nothing is drawn at random, no gradient or
    buffer is written.

    Modules inside a compiled or scripted model do not run hooks: there, weights and gradients are
    logged alone. With several forward passes per step the last one is measured.

    Examples
    --------
    >>> import torch
    >>> from selfnorm.diagnosis import Monitor
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.SELU(), torch.nn.Linear(8, 1))
    >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    >>> with Monitor(net, every=2, optimizer=optimizer, warn=False) as monitor:
    ...     for _ in range(3):
    ...         optimizer.zero_grad()
    ...         net(torch.ones(5, 3)).sum().backward()
    ...         optimizer.step()
    >>> [record["step"] for record in monitor.records]
    [1, 3]
    >>> [layer["layer"] for layer in monitor.records[0]["layers"]]
    ['0', '2']
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        every: int = 100,
        log: Log = None,
        optimizer: torch.optim.Optimizer | None = None,
        rows: int = 256,
        keep: int = 1000,
        warn: bool = True,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise DomainError(
                f"model must be a torch.nn.Module, however: a {type(model).__name__}; pass the "
                "instance in training"
            )
        for name, value in (("every", every), ("rows", rows), ("keep", keep)):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
                raise DomainError(
                    f"{name} must be an integer, 1 or more, however: {name}={value!r}; "
                    "every=100 costs little"
                )
        if optimizer is not None and not hasattr(optimizer, "register_step_pre_hook"):
            raise DomainError(
                f"optimizer must be a torch.optim.Optimizer, however: optimizer={optimizer!r}; "
                "leave it out, and call step() once per training step"
            )
        self.records: deque[Record] = deque(maxlen=keep)
        self.findings: list[Finding] = []
        self._model: nn.Module = getattr(model, "_orig_mod", model)
        # New hooks would make torch.compile compile anew.
        self._compiled = self._model is not model or model._compiled_call_impl is not None
        self._every, self._rows, self._warn = every, rows, warn
        self._write, self._end = log_of(log)
        self._layers = {
            id(module): path
            for path, module in self._model.named_modules()
            if rows_of(module) is not None
        }
        self._hooks: list[Any] = []
        self._steps = 0
        self._closed = False
        self._told: set[str] = set()
        self._seen: dict[str, _Seen] = {}
        self._last = ""
        self._call: tuple[str, Tensor] | None = None
        # Whoever compiles a part would compile it anew under a mode; what torch.nn and this library
        # have of modules calls no activation beside its own.
        modules = list(self._model.modules())
        self._calls = not any(map(_is_compiled, modules)) and not all(map(_is_known, modules))
        self._optimizer: Any = None
        if optimizer is not None:
            self._optimizer = optimizer.register_step_pre_hook(self._before_step)
        self._listen()

    # ---- use --------------------------------------------------------------------------------

    def __enter__(self) -> Monitor:
        """Return the monitor."""
        self._check_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove every hook and close the file."""
        self.close()

    def step(self) -> Record | None:
        """Count a training step; measure if it is time.

        Returns
        -------
        dict or None
            The record, if this step was measured.

        Raises
        ------
        DomainError
            If the monitor was closed.
        """
        self._check_open()
        self._steps += 1
        measured = bool(self._hooks)
        if not measured:
            if self._steps % self._every == 0:
                self._listen()
            return None
        self._deafen()
        record = self._measure()
        if self._every == 1 or self._steps % self._every == 0:
            self._listen()
        return record

    def _check_open(self) -> None:
        if self._closed:
            raise DomainError(
                "a monitor must be open to measure, however: this one is closed, by close() or at "
                "the end of its with; make a new Monitor(model, …), the old one's records stay"
            )

    def _before_step(self, *_: Any) -> None:
        # What such a hook returns would replace the optimiser's arguments.
        self.step()

    def close(self) -> None:
        """Remove every hook and close the file; the records stay."""
        self._closed = True
        self._deafen()
        if self._optimizer is not None:
            self._optimizer.remove()
            self._optimizer = None
        self._end()

    # ---- the forward pass -------------------------------------------------------------------

    def _listen(self) -> None:
        self._seen, self._last, self._call = {}, "", None
        watcher = CallWatcher(self._function)
        for module in () if self._compiled else self._model.modules():
            if is_scripted(module):
                continue  # takes no hooks
            if id(module) in self._layers:
                path = self._layers[id(module)]
                self._hooks.append(module.register_forward_pre_hook(self._begin))
                self._hooks.append(
                    module.register_forward_hook(functools.partial(self._layer, path))
                )
            elif isinstance(module, _WATCHED):
                self._hooks.append(module.register_forward_hook(self._activation))
            elif self._calls and next(module.children(), None) is not None:
                self._hooks += watcher.hook(module)
        if not self._hooks:
            self._hooks.append(_NoHook())

    def _deafen(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._call = [], None

    def _begin(self, *_: Any) -> None:
        # What a layer calls inside is no activation of the layer before it.
        self._last, self._call = "", None

    def _layer(self, path: str, module: nn.Module, _: Any, output: Any) -> None:
        self._last = path
        if isinstance(output, Tensor) and self._model.training:
            fused = module if isinstance(module, LinearSELU) else None
            self._seen[path] = _Seen(*self._moments(output), fused)

    def _activation(self, module: nn.Module, _: Any, output: Any) -> None:
        # Only the first activation after a layer is that layer's own.
        if self._last and isinstance(output, Tensor) and self._model.training:
            self._seen[self._last] = _Seen(*self._moments(output), module)
            self._last = ""
        elif self._call is not None and self._call[1] is output:
            # The call was the module's: its class says more.
            self._seen[self._call[0]] = self._seen[self._call[0]]._replace(activation=module)
            self._call = None

    def _function(self, called: Called, output: Tensor) -> None:
        if self._last and self._model.training:
            self._seen[self._last] = _Seen(*self._moments(output), called)
            self._call = self._last, output
            self._last = ""

    def _moments(self, output: Tensor) -> tuple[Tensor, Tensor]:
        part = output.detach()[: self._rows]
        if part.dtype in (torch.bfloat16, torch.float16):
            part = part.float()
        var, mean = torch.var_mean(part, correction=0)
        return mean, var

    # ---- the record -------------------------------------------------------------------------

    @torch.no_grad()
    def _measure(self) -> Record:
        names: list[tuple[str, str]] = []
        values: list[Tensor] = []

        def add(path: str, **numbers: Tensor) -> None:
            for name, value in numbers.items():
                names.append((path, name))
                values.append(value.float().reshape(()))

        modules = dict(self._model.named_modules())
        for path in self._layers.values():
            layer = modules[path]
            seen = self._seen.get(path)
            if seen is not None:
                add(path, mean=seen.mean, var=seen.var)
            rows = rows_of(layer)
            assert rows is not None
            squares = torch.linalg.vector_norm(rows, dim=1).square()
            low, high = squares.aminmax()
            add(
                path,
                weight_sum=rows.sum() / len(rows),
                weight_sumsq=squares.mean(),
                weight_sumsq_low=low,
                weight_sumsq_high=high,
            )
            weight = layer.weight
            if isinstance(weight, Tensor) and weight.grad is not None:
                add(path, gradient_norm=torch.linalg.vector_norm(weight.grad))
        layers: dict[str, dict[str, Any]] = {
            path: {"layer": path, "activation": _name(self._seen.get(path))}
            for path in self._layers.values()
        }
        # One copy from the device for all numbers.
        for path, seen in self._seen.items():
            layers[path]["of"] = "pre-activation" if seen.activation is None else "activation"
        for (path, name), number in zip(names, _numbers(values), strict=True):
            layers[path][name] = number
        found = self._drifts(layers)
        record: Record = {
            "step": self._steps,
            "layers": list(layers.values()),
            "findings": [one.to_dict() for one in found],
        }
        self.records.append(record)
        if self._write is not None:
            self._write(record)
        for one in found:
            self.findings.append(one)
            if self._warn:
                warnings.warn(str(one), stacklevel=3)
        return record

    def _drifts(self, layers: dict[str, dict[str, Any]]) -> list[Finding]:
        found = []
        for path, layer in layers.items():
            seen = self._seen.get(path)
            if path in self._told or seen is None or seen.activation is None:
                continue
            one = drift_of(path, layer["weight_sumsq"], seen.activation)
            if one is not None:
                self._told.add(path)
                found.append(one)
        return found


class _Seen(NamedTuple):
    """What a forward pass showed of a layer."""

    mean: Tensor
    var: Tensor
    activation: nn.Module | Called | None


class _NoHook:
    """Stands for the hooks of a model that has nothing to hook."""

    def remove(self) -> None:
        """Do nothing."""


def _name(seen: _Seen | None) -> str:
    return "" if seen is None or seen.activation is None else word_of(seen.activation)


def _is_compiled(module: nn.Module) -> bool:
    return hasattr(module, "_orig_mod") or module._compiled_call_impl is not None


def _is_known(module: nn.Module) -> bool:
    return type(module).__module__.startswith(("torch.nn.modules.", "selfnorm.nn."))


def _numbers(values: list[Tensor]) -> list[float]:
    if not values:
        return []
    devices = {value.device for value in values}
    if len(devices) > 1:
        return [float(value) for value in values]
    numbers: list[float] = torch.stack(values).tolist()
    return numbers
