"""Rows of imagined lineages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.status import FailureKind, Status
from engine.store.failures import Failure
from engine.store.measured import Measured
from engine.store.rows import Generation

NOTHING: Mapping[str, Any] = {}


def generation(
    lineage: str,
    t: int,
    values: Mapping[str, float] = NOTHING,
    *,
    undefined: Mapping[str, str] = NOTHING,
    status: str = "ok",
    **more: Any,
) -> Generation:
    """One generation with these numbers, as a reader of its lineage gets it."""
    measured = Measured(values, undefined)
    return Generation(lineage, t, f"m{t}", f"d{t}", Status(status), measured=measured, **more)


def failure(kind: str = "bug", error: str = "ValueError", message: str = "no") -> Failure:
    return Failure(
        kind=FailureKind(kind),
        error=error,
        message=message,
        t=1,
        file="a.py",
        line=1,
        traceback="",
        time=1.8e9,
    )
