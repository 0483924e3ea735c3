"""Several processes that train one thing together, each on its share of every batch."""

from __future__ import annotations

import atexit
import contextlib
import datetime
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from selfnorm.errors import BackendError, DomainError

__all__ = ["Join", "Ranks"]

T = TypeVar("T")
Call = Callable[[], object]
Join = Callable[[Tensor], None]

# Seconds to wait for a process that hangs; one that ends is noticed at once. A process group of
# one's own may have another.
_TIMEOUT: Final = 600.0
# What torchrun tells each process, and what the processes need to find each other.
_ENVIRONMENT: Final = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Ranks:
    """The processes of a training; by default this one alone, for which nothing here costs time.

    Whatever decides on the way of the training is the same number in each of them: sums over all
    processes, or what the first one found. So they stay together without asking each other.

    Parameters
    ----------
    rank : int
        Number of this process, from 0.
    size : int
        How many there are.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    @classmethod
    def find(cls, wanted: Literal["auto", "off"], device: torch.device) -> Ranks:
        """Return the processes of torch's process group, which is made if torchrun started us."""
        if wanted == "off" or not dist.is_available():
            return cls()
        if not dist.is_initialized():
            if not all(name in os.environ for name in _ENVIRONMENT):
                return cls()
            if os.environ["WORLD_SIZE"] == "1":
                return cls()
            wait = datetime.timedelta(seconds=_TIMEOUT)
            with _lost("the start"):
                dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=wait)
            atexit.register(_leave)
        return cls(dist.get_rank(), dist.get_world_size())

    # ---- in every step ----------------------------------------------------------------------

    def share(self, start: int, stop: int) -> slice:
        """Return which of the rows from ``start`` to ``stop`` are this process's."""
        rows = stop - start
        return slice(
            start + rows * self.rank // self.size, start + rows * (self.rank + 1) // self.size
        )

    def joiner(self, gradients: Tensor, members: int, after: Sequence[Call]) -> Join:
        """Return what sums gradients and losses over all processes in one message."""
        both = gradients.new_empty(len(gradients) + members)
        parts = torch.split(both, [len(gradients), members])

        def join(losses: Tensor) -> None:
            parts[0].copy_(gradients)
            parts[1].copy_(losses)
            with _lost("a step"):
                dist.all_reduce(both)
            gradients.copy_(parts[0])
            losses.copy_(parts[1])
            for call in after:
                call()

        return join

    # ---- now and then -----------------------------------------------------------------------

    def spread(self, tensors: Sequence[Tensor]) -> None:
        """Give all processes the first one's numbers."""
        for tensor in tensors if self.size > 1 else ():
            with _lost("taking over parameters"):
                dist.broadcast(tensor, 0)

    def first(self, work: Callable[[], T]) -> T:
        """Let the first process do something and return what it found; fail where it fails."""
        if self.size == 1:
            return work()
        if self.rank == 0:
            try:
                value = work()
            except Exception as error:
                self._from_first((_words(error), None))
                raise
            self._from_first(("", value))
            return value
        words, found = self._from_first(None)
        if words:
            raise BackendError(f"all processes must go on, however: the first one failed: {words}")
        return found  # type: ignore[no-any-return]

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Do something in each process; if it fails in one, let all fail."""
        if self.size == 1:
            yield
            return
        try:
            yield
        except Exception as error:
            self._everyone(_words(error))
            raise
        for rank, words in enumerate(self._everyone("")):
            if words:
                raise BackendError(
                    f"all processes must go on, however: that of rank {rank} failed: {words}"
                )

    def require_same(self, facts: Mapping[str, object]) -> None:
        """Refuse what differs between the processes."""
        if self.size == 1:
            return
        everyone = self._everyone(dict(facts))
        for rank, others in enumerate(everyone):
            for name, value in everyone[0].items():
                if others[name] != value:
                    raise DomainError(
                        f"{name} must be the same in all processes, however: it is {value} in "
                        f"that of rank 0, {others[name]} in that of rank {rank}; give all of them "
                        "the same settings and the same rows, they share the rows by themselves"
                    )

    def _from_first(self, value: object) -> Any:
        values = [value]
        with _lost("waiting for the first process"):
            dist.broadcast_object_list(values, 0)
        return values[0]

    def _everyone(self, value: object) -> list[Any]:
        values: list[Any] = [None] * self.size
        with _lost("agreeing"):
            dist.all_gather_object(values, value)
        return values


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def _lost(occasion: str) -> Iterator[None]:
    """Say what it means if torch cannot reach the others."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        raise BackendError(
            f"all processes must stay in the training, however: one was lost at {occasion} "
            f"({reason}); look for the error of the process that ended first, then start all "
            "processes again and resume from the checkpoint"
        ) from error


def _leave() -> None:
    """Leave the process group that `Ranks.find` made."""
    if dist.is_initialized():
        dist.destroy_process_group()
