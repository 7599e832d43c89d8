"""Where a half-trained generation keeps its state, and what its training may use: what `fit` need
not know about the store.

A generation that takes an hour must not be lost with a spot machine.  Around `fit` the lineage
opens a `Place`; the training loop finds it with `here()`, writes its whole state there every few
minutes, and starts from it when the same key is trained again.  Without a place nothing is kept.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

EVERY_SECONDS = 180.0


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
    seconds: float = EVERY_SECONDS
    # parts of each minibatch, their gradients added: the same step in less memory
    micro_batches: int = 1
    # networks trained in this place so far: a fit may train several, one after the other
    trained: int = 0
    # what the last training measured: examples per second, peak memory
    speed: dict[str, float] = field(default_factory=dict)
    saved: float = field(default_factory=time.monotonic)

    def next_name(self) -> str:
        self.trained += 1
        return f"{self.key}-{self.trained}"

    def due(self) -> bool:
        return self.keeper is not None and time.monotonic() - self.saved >= self.seconds

    def write(self, name: str, data: bytes) -> None:
        assert self.keeper is not None
        self.keeper.write_partial(name, data)
        self.saved = time.monotonic()

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
