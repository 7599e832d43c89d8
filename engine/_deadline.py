"""Deadlines for calls of libraries, whose own timeouts are of one read or one try each."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Slow(TimeoutError):
    """It answers late, or never."""


def within(seconds: float, call: Callable[[], T]) -> T:
    """What a call returns; Slow when it has not returned in time, and is left to itself.

    A server that sends a byte now and then meets the timeouts of libraries for ever.
    """
    found: list[T] = []
    errors: list[BaseException] = []

    def answer() -> None:
        try:
            found.append(call())
        except BaseException as error:
            errors.append(error)

    asking = threading.Thread(target=answer, daemon=True, name="asking")
    asking.start()
    asking.join(seconds)
    if errors:
        raise errors[0]
    if not found:
        raise Slow(f"no whole answer within {seconds:.1f} s")
    return found[0]
