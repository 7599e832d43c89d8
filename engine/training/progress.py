"""How far the work inside a generation is: loops that may last tell it, who watches hears it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TypeVar

T = TypeVar("T")
EVERY_SECONDS = 2.0  # at most so often a loop tells how far it is


@dataclass(frozen=True)
class Stage:
    """Where the work on one generation stands.

    what   training, drawing, measuring fid, ...
    done   of `total` optimiser steps, or of as many rows that are drawn; total 0: not known
    speed  rows (images, points) per second; 0 while it is not known
    left   seconds to the end of this stage; None while that is not known
    """

    t: int
    what: str
    done: int = 0
    total: int = 0
    speed: float = 0.0
    left: float | None = None


@dataclass
class _Listener:
    hear: Callable[[Stage], None]
    stage: Stage
    last: float = field(default_factory=time.monotonic)  # when it heard something, or began

    def is_due(self) -> bool:
        return time.monotonic() - self.last >= EVERY_SECONDS

    def tell(self, now: Stage) -> None:
        self.last = time.monotonic()
        self.hear(now)


_listener: ContextVar[_Listener | None] = ContextVar("listener", default=None)


@contextmanager
def heard(hear: Callable[[Stage], None]) -> Iterator[None]:
    """Inside, `hear` is told how far the work is, at most every EVERY_SECONDS."""
    token = _listener.set(_Listener(hear, Stage(0, "")))
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def stage(t: int, what: str) -> Iterator[None]:
    """Inside, the work is called so; a stage within a stage has its own name."""
    listener = _listener.get()
    if listener is None:
        yield
        return
    before, listener.stage = listener.stage, Stage(t, what)
    if listener.is_due():
        listener.tell(listener.stage)
    try:
        yield
    finally:
        listener.stage = before


def steps(done: int, total: int, rows: int) -> Iterator[int]:
    """The steps done + 1, ..., total of a training that takes so many rows in each."""
    return _through(range(done + 1, total + 1), lambda step: step, done, total, rows)


def pieces(n: int, size: int) -> Iterator[slice]:
    """The rows 0, ..., n - 1, at most `size` at a time."""
    slices = [slice(i, min(i + size, n)) for i in range(0, n, size)]
    return _through(slices, lambda piece: piece.stop, 0, n, 1)


def _through(
    items: Iterable[T], reached: Callable[[T], int], done: int, total: int, rows: int
) -> Iterator[T]:
    """Go through the items and tell after each how far the loop is."""
    listener = _listener.get()
    began = time.monotonic()
    for item in items:
        yield item
        if listener is not None and listener.is_due():
            pace = (reached(item) - done) / (time.monotonic() - began)
            now = replace(listener.stage, done=reached(item), total=total, speed=pace * rows)
            listener.tell(replace(now, left=(total - now.done) / pace))
