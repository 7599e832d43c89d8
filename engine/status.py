"""How things end: a generation and a lineage by a status, a failed lineage by the kind of its
failure, a command by its exit code.
"""

from __future__ import annotations

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


class FailureKind(StrEnum):
    """Why a lineage failed: what to do about it differs."""

    BUG = "bug"
    ENVIRONMENT = "environment"
    NOT_REPRODUCED = "not_reproduced"
    PASSING = "passing"


class ExitCode(IntEnum):
    """What `ouro` returns to the shell; a signal adds its number to 128."""

    OK = 0
    FAILED = 1
    BAD_INPUT = 2
    BUSY = 3
    ENVIRONMENT = 4
    DAMAGED = 5
