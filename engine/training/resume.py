"""Where a half-trained generation keeps its state, and what its training may use: what `fit` need
not know about the store.

A generation that takes an hour must not be lost with a spot machine.  Around `fit` the lineage
opens a `Place`; the training loop finds it with `here()`, writes its whole state there every few
minutes, and starts from it when the same key is trained again.  A state that takes long to write is
written more rarely, so that at most a twentieth of the time goes into it.  Without a place nothing
is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

EVERY_SECONDS = 180.0
WORTH = 20.0  # times what the last one took passes between two states


class Keeper(Protocol):
    """The part of a store that half-trained models need."""

    def read_partial(self, name: str) -> bytes | None: ...

    def write_partial(self, name: str, data: bytes) -> None: ...


@dataclass
class Place:
    """The state of one model in training."""

    keeper: Keeper | None = None
    key: str = ""
    # the state of another machine, version or thread count would give other bits: it is not
    # continued
    machine: str = ""
    seconds: float = EVERY_SECONDS  # between two states at least; 0: after every step
    # parts of each minibatch, their gradients added: the same step in less memory
    micro_batches: int = 1
    # networks trained in this place so far: a fit may train several, one after the other
    trained: int = 0
    # what the last training measured: examples per second, peak memory
    speed: dict[str, float] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic
    due_at: float = field(init=False)  # on the clock, when a state is due

    def __post_init__(self) -> None:
        self.due_at = self.clock() + self.seconds

    def next_name(self) -> str:
        self.trained += 1
        return f"{self.key}-{self.trained}"

    def due(self) -> bool:
        return self.keeper is not None and self.clock() >= self.due_at

    def write(self, name: str, state: Callable[[], bytes]) -> None:
        """Make the state's bytes and keep them."""
        assert self.keeper is not None
        began = self.clock()
        self.keeper.write_partial(name, state())
        now = self.clock()
        self.due_at = now + (max(self.seconds, WORTH * (now - began)) if self.seconds else 0.0)

    def read(self, name: str) -> bytes | None:
        return self.keeper.read_partial(name) if self.keeper is not None else None


_place: ContextVar[Place | None] = ContextVar("place", default=None)


def here() -> Place:
    """The place that is open around the caller, or one that keeps nothing."""
    return _place.get() or Place()


@contextmanager
def keeping(place: Place) -> Iterator[Place]:
    """Inside, `here()` is this place.

    Its states stay until the lineage has committed the model and drops them.
    """
    token = _place.set(place)
    try:
        yield place
    finally:
        _place.reset(token)
