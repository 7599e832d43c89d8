"""How things end: a generation and a lineage by a status, the curve of a lineage by a verdict, a
failed lineage by the kind of its failure, a command by its exit code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Status(StrEnum):
    """How a generation, or a lineage, stands."""

    OK = "ok"
    FAILED = "failed"
    DIVERGED = "diverged"
    CONSTANT = "constant"
    QUOTA_UNFILLED = "quota_unfilled"
    EXTINCT = "extinct"
    CLASS_EXTINCT = "class_extinct"
    UNFINISHED = "unfinished"

    @property
    def ends(self) -> bool:
        """Whether no generation follows one with this status."""
        return self in ENDING

    @property
    def absorbing(self) -> bool:
        """Whether the status is a collapse, whatever the metric says."""
        return self in ENDING and self is not Status.QUOTA_UNFILLED

    @property
    def measurable(self) -> bool:
        """Whether a draw with this status has samples that a metric can be asked about."""
        return self not in ENDING or self is Status.CONSTANT


ENDING = frozenset({Status.DIVERGED, Status.CONSTANT, Status.QUOTA_UNFILLED, Status.EXTINCT})


@dataclass(frozen=True)
class Point:
    """What a collapse rule reads of one generation; None where something has no value."""

    t: int
    value: float | None
    floor: float | None = None
    watched: float | None = None  # the metric of `absorbing`
    status: Status = Status.OK
    due: bool = True  # whether the metric was to be measured here
    why: str = ""  # it has no value

    @property
    def number(self) -> float:
        """The value; NaN where there is none."""
        known = self.value is not None and math.isfinite(self.value)
        return self.value if known and self.value is not None else math.nan


@dataclass(frozen=True)
class Judged:
    """y against the level; y is +inf in an absorbing state, NaN (with the reason) where it has no
    value.
    """

    y: float
    level: float
    verdict: bool | None
    t: int  # of the generation that y was read at; -1: none
    value: float = math.nan
    reference: float = math.nan
    absorbed: bool = False
    undefined: str = ""


class FailureKind(StrEnum):
    """Why a lineage failed: what to do about it differs."""

    BUG = "bug"
    ENVIRONMENT = "environment"
    NOT_REPRODUCED = "not_reproduced"
    PASSING = "passing"


class EnvironmentProblem(Exception):
    """Something about this machine or what it reaches, not about the experiment."""


class ExitCode(IntEnum):
    """What `ouro` returns to the shell; a signal adds its number to 128."""

    OK = 0
    FAILED = 1
    BAD_INPUT = 2
    BUSY = 3
    ENVIRONMENT = 4
    DAMAGED = 5
