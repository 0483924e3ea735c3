"""A training from its first step to its last."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from selfnorm.errors import DomainError
from selfnorm.train._batches import Batches
from selfnorm.train._checkpoint import Checkpoint, save, save_or_warn
from selfnorm.train._data import Data
from selfnorm.train._divergence import Divergence, broken_members, locate, not_finite
from selfnorm.train._group import Group
from selfnorm.train._held import Held
from selfnorm.train._members import Member
from selfnorm.train._network import Step
from selfnorm.train._random import key_for
from selfnorm.train._ranks import Join, Ranks
from selfnorm.train._records import EpochRecord, Result
from selfnorm.train._schedules import Plateau
from selfnorm.train._settings import Settings
from selfnorm.train._stream import Stream
from selfnorm.train._threads import threads_for
from selfnorm.train._validation import Validation

__all__ = ["Run"]

_MOST_HALVINGS: Final = 20  # a millionth of the rate
_TRIES: Final = 1  # from one place, before the training begins anew
_PAUSE: Final = 0.5  # seconds between looks at what is due
_GOOD: Final = 10.0  # times the lowest loss so far: an epoch above is no state to go back to

Watcher = Callable[[EpochRecord], object]


class Run:
    """One training.

    Parameters
    ----------
    settings : Settings
        What to do.
    data : Data or Stream
        What to train on.
    held : Held or None
        What to validate on.
    checksum : str
        Of the data; in the checkpoint.
    initial : callable
        Returns each member's initial parameters.
    ranks : Ranks
        The processes that train together.
    """

    def __init__(
        self,
        settings: Settings,
        data: Data | Stream,
        held: Held | None,
        checksum: str,
        initial: Callable[[], Iterable[Tensor]],
        ranks: Ranks,
    ) -> None:
        self.settings = settings
        self._ranks = ranks
        # Rows are counted anew in each process, hence dropout of rank > 0 has keys of its own.
        self._own = settings
        if ranks.rank > 0:
            seeds = tuple(key_for(seed, "rank", ranks.rank) for seed in settings.seeds)
            self._own = dataclasses.replace(settings, seeds=seeds)
        self._data = data
        self._held = held
        self._checksum = checksum
        self._initial = initial
        self._epoch = 0  # finished epochs
        self._step = 0  # finished steps of the epoch at hand
        self._history: list[EpochRecord] = []
        self._members = [Member() for _ in range(settings.members)]
        self._snapshot: dict[str, Any] | None = None
        self._tries = 0  # from the snapshot
        self._before = 0.0  # seconds of former sittings
        self._started = self._saved = time.monotonic()
        self._saved_epoch = 0
        self._tick: Callable[[float], object] = lambda part: None

    # ---- beginning --------------------------------------------------------------------------

    def start(self) -> None:
        """Begin with the initial parameters."""
        self._epoch = self._step = 0
        self._snapshot = None
        self._history.clear()
        self._members = [Member() for _ in range(self.settings.members)]
        everyone = range(self.settings.members)
        self._gather(everyone, ((p,) for p in self._initial()), steps=0)
        assert self._group is not None
        self._ranks.spread([self._group.network.parameters])

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint; refuse that of another training."""
        for name, value in self.settings.identity().items():
            if state["settings"].get(name) != value:
                raise DomainError(
                    f"{name} must be what it was when the checkpoint was written, "
                    f"{state['settings'].get(name)}, however: {name}={value}"
                )
        if state["data"] != self._checksum:
            raise DomainError(
                "data, weights and validation must be those of the checkpoint, however: their "
                f"checksum is {self._checksum}, not {state['data']}"
            )
        self._before = state["seconds"]
        self._history = [EpochRecord(**fields) for fields in state["history"]]
        self._go_to(state)
        self._snapshot, self._tries = state["snapshot"], state["tries"]

    def where(self) -> dict[str, object]:
        """Return how far the training is, for comparison with other processes."""
        return {"epoch": self._epoch, "step": self._step}

    def _go_to(self, state: dict[str, Any]) -> None:
        """Go to a place in the training, forward or back."""
        self._epoch, self._step = state["epoch"], state["step"]
        del self._history[self._epoch :]
        self._members = [Member.of(fields, self.settings.device) for fields in state["members"]]
        group = state["group"]
        if group is None:
            self._group: Group | None = None
            self._log = state["log"]
            return
        self._gather(group["members"], [], group["steps"])
        assert self._group is not None
        self._group.restore(group)
        self._log[: self._step] = state["log"]

    def _gather(
        self, members: Sequence[int], buffers: Iterable[Iterable[Tensor]], steps: int
    ) -> None:
        """Put members into a group of their own."""
        settings = self.settings
        factors = [self._members[m].factor for m in members]
        self._group = Group(self._own, members, buffers, factors, steps)
        network = self._group.network
        self._join: Join | None = None
        if self._ranks.size > 1:
            # What is done to the gradient at the end must be done to the sum of all processes.
            self._join = self._ranks.joiner(network.gradients, len(members), network.finish)
            network.finish = []
        seeds = [settings.seeds[m] for m in members]
        if settings.shuffle == "shared":
            seeds = [settings.seeds[0]] * len(seeds)
        self._batches = Batches(
            self._data,
            members,
            seeds,
            settings.batch_size,
            settings.shuffle == "shared",
            network,
            self._ranks,
        )
        self._validation = None
        if self._held is not None:
            self._validation = Validation(self._held, network, members, settings.watched)
        shape = (self._batches.steps, len(members))
        self._log = torch.zeros(shape, dtype=network.parameters.dtype, device=settings.device)

    # ---- the loop ---------------------------------------------------------------------------

    def train(self, watchers: Sequence[Watcher], tick: Callable[[float], object]) -> Result:
        """Train to the end.

        ``watchers`` are told of each epoch; ``tick`` is told, now and then, how many epochs are
        done, fractions included.
        """
        self._started = time.monotonic()
        self._tick = tick
        checkpoint = self.settings.checkpoint
        if checkpoint is not None:
            # Before anything is computed: a folder that cannot be written, or a full disk, is
            # reported now. The file is as large as all later ones.
            self._ranks.first(lambda: save(checkpoint.path, self.state()))
        self._saved = self._started
        self._saved_epoch = self._epoch
        while self._group is not None and self._epoch < self.settings.epochs:
            if self.settings.on_divergence == "halve" and self._step == 0:
                self._remember()
            divergence = self._run_epoch(self._group)
            if divergence is not None:
                self._diverged(self._group, divergence)
                continue
            record = self._finish_epoch(self._group)
            for watcher in watchers:
                watcher(record)
            epochs = self._epoch - self._saved_epoch
            if checkpoint and checkpoint.unit == "epochs" and epochs >= checkpoint.every:
                self._save(checkpoint)
                self._saved_epoch = self._epoch
        if self._group is not None:
            self._release(self._group, range(len(self._group.members)))
            self._group = None
        if checkpoint is not None:
            self._save(checkpoint)
        return self._result()

    def _save(self, checkpoint: Checkpoint) -> None:
        if self._ranks.rank == 0:
            save_or_warn(checkpoint.path, self.state())

    def _run_epoch(self, group: Group) -> Divergence | None:
        """Take the steps of an epoch that are left; tell of a divergence."""
        largest = self.settings.batch_size * group.network.largest
        with torch.inference_mode(), threads_for(largest):
            return self._take_steps(group)

    def _take_steps(self, group: Group) -> Divergence | None:
        network, log, steps = group.network, self._log, self._batches.steps
        total, join = torch.sum, self._join
        # On the CPU the log can be looked at in every step for nothing.
        seen = log.numpy() if log.device.type == "cpu" else None
        single = seen[:, 0] if seen is not None and network.members == 1 else None
        slots = log.unbind()
        schedule, epochs = self.settings.schedule, self.settings.epochs
        number = self._epoch + 1
        step: Step | None = None
        due = time.monotonic() + _PAUSE
        for step in self._batches.of_epoch(number, self._step):
            for call in step.calls:
                call()
            total(step.values, 1, out=slots[self._step])
            if join is not None:
                join(slots[self._step])
            at = self._step
            if seen is not None and not math.isfinite(
                seen[at].sum() if single is None else single[at]
            ):
                bad = not_finite(log[self._step])
                if bad:
                    where = locate(network, bad[0], step)
                    return Divergence(bad, number, self._step + 1, where)
            group.update(schedule.at(group.steps, steps, epochs))
            self._step += 1
            if (now := time.monotonic()) >= due:
                due = now + _PAUSE
                self._pause(now)
        self._last = step
        for s, row in enumerate(log if seen is None else ()):
            if bad := not_finite(row):
                return Divergence(bad, number, s + 1, "the loss (on a GPU the layer is not kept)")
        whole = bool(torch.isfinite(network.parameters.sum()))
        if not whole and (bad := broken_members(network)):
            return Divergence(bad, number, steps, locate(network, bad[0], None))
        return None

    def _pause(self, now: float) -> None:
        """Save the state if it is time, and tell how far the training is."""
        self._tick(self._epoch + self._step / self._batches.steps)
        checkpoint = self.settings.checkpoint
        seconds = now - self._saved
        if checkpoint and checkpoint.unit == "seconds" and seconds >= checkpoint.every:
            self._save(checkpoint)
            self._saved = time.monotonic()

    def _diverged(self, group: Group, divergence: Divergence) -> None:
        """Raise, go on without them, or go back at half the rate: to the last good epoch."""
        if self.settings.on_divergence == "stop":
            self._drop(group, divergence)
            return
        numbers = [group.members[k] for k in divergence.members]
        worst = max(self._members[m].halvings for m in numbers)
        if self.settings.on_divergence == "raise" or worst >= _MOST_HALVINGS:
            rates = [group.flow.rates[k] for k in divergence.members]
            raise divergence.error(numbers, rates[0])
        halvings = [m.halvings + (k in numbers) for k, m in enumerate(self._members)]
        self._tries += 1
        # All go back: the others repeat what they did, since nothing random depends on the past.
        if self._tries > _TRIES or self._snapshot is None:
            self.start()
        else:
            self._go_to(self._snapshot)
        for member, often in zip(self._members, halvings, strict=True):
            member.factor *= 0.5 ** (often - member.halvings)
            member.halvings = often
        assert self._group is not None
        self._group.set_factors([self._members[m].factor for m in self._group.members])

    def _drop(self, group: Group, divergence: Divergence) -> None:
        """Go on without the members that diverged, from the step at hand."""
        for position in divergence.members:
            member = self._members[group.members[position]]
            member.stopped = divergence.epoch
            member.diverged = divergence.epoch, divergence.step
        self._release(group, divergence.members)
        self._keep(group, [k for k in range(len(group.members)) if k not in divergence.members])

    def _keep(self, group: Group, positions: Sequence[int]) -> None:
        """Train these members of the group alone from now on."""
        if not positions:
            self._group = None
            return
        log = self._log[: self._step, list(positions)]
        members = [group.members[k] for k in positions]
        self._gather(members, [group.buffers(k) for k in positions], group.steps)
        self._log[: self._step] = log

    def _remember(self) -> None:
        """Keep the state, were the next epochs to diverge, if it is one to come back to.

        A training can be ruined long before it reaches infinity.
        """
        running = [m for m in self._members if m.stopped is None]
        good = all(
            m.loss is None or m.lowest is None or m.loss <= _GOOD * m.lowest for m in running
        )
        here = self._snapshot is not None and self._snapshot["epoch"] == self._epoch
        if good and not here:
            self._snapshot, self._tries = self._place(), 0

    # ---- the end of an epoch ----------------------------------------------------------------

    @torch.no_grad()
    def _finish_epoch(self, group: Group) -> EpochRecord:
        settings, number = self.settings, self._epoch + 1
        losses = self._batches.losses(self._log)
        first = self._batches.first_loss(self._log)
        measured = None
        self._ranks.spread([group.network.parameters])
        if self._validation is not None:
            measured = self._ranks.first(
                partial(self._validation.measure, group.network, group.best)
            )
        factor = settings.schedule.at(group.steps - 1, self._batches.steps, settings.epochs)
        record = EpochRecord(
            epoch=number,
            epochs=settings.epochs,
            step=group.steps,
            seconds=self._before + time.monotonic() - self._started,
            loss=group.spread(losses),
            validation_loss=None if measured is None else group.spread(measured[0]),
            metric=None if measured is None else group.spread(measured[1]),
            rate=group.spread([rate * factor for rate in group.flow.rates]),
            moments=group.moments(self._last.outputs) if settings.moments and self._last else None,
            weight_sums=group.weight_sums() if settings.moments else None,
        )
        self._history.append(record)
        self._epoch, self._step = number, 0
        changed = False
        stopped: list[int] = []
        for position, m in enumerate(group.members):
            member = self._members[m]
            member.loss = losses[position]
            started = first[position] if member.lowest is None else member.lowest
            member.lowest = min(started, losses[position])
            value = losses[position] if measured is None else measured[1][position]
            if settings.early_stopping is None:
                member.best_epoch = number
            elif member.watch(settings.early_stopping, value, number):
                member.weights = group.network.layout.member(group.best, position)
            if isinstance(settings.schedule, Plateau):
                larger = settings.watched is not None and settings.watched.mode == "max"
                changed |= member.slow_down(settings.schedule, value, larger)
            if member.stopped is not None:
                stopped.append(position)
        if stopped:
            self._release(group, stopped)
            self._keep(group, [k for k in range(len(group.members)) if k not in stopped])
        elif changed:
            group.set_factors([self._members[m].factor for m in group.members])
        return record

    def _release(self, group: Group, positions: Sequence[int]) -> None:
        """Keep the parameters of members that are through."""
        for position in positions:
            member = self._members[group.members[position]]
            if member.weights is None:
                member.weights = group.network.layout.member(group.best, position)

    # ---- results ----------------------------------------------------------------------------

    def _result(self) -> Result:
        members = self._members
        return Result(
            history=tuple(self._history),
            best_epoch=tuple(m.best_epoch for m in members),
            stopped_epoch=tuple(m.stopped for m in members),
            loss=tuple(m.loss for m in members),
            best_metric=tuple(m.best for m in members),
            rate_factor=tuple(m.factor for m in members),
            diverged=tuple(m.diverged for m in members),
        )

    def weights(self) -> list[Tensor]:
        """Return the parameters of each member after `train`."""
        found = [member.weights for member in self._members]
        return [weights for weights in found if weights is not None]

    def state(self) -> dict[str, Any]:
        """Return everything that a resumed training needs, on the CPU."""
        return {
            "settings": self.settings.identity(),
            "data": self._checksum,
            "seconds": self._before + time.monotonic() - self._started,
            "history": [dataclasses.asdict(record) for record in self._history],
            "snapshot": self._snapshot,
            "tries": self._tries,
            **self._place(),
        }

    def _place(self) -> dict[str, Any]:
        """Return where the training is, on the CPU."""
        return {
            "epoch": self._epoch,
            "step": self._step,
            "members": [member.state() for member in self._members],
            "group": None if self._group is None else self._group.state(),
            "log": self._log[: self._step].to("cpu", copy=True),
        }
