"""What is known of one workflow: where along the synthetic fraction collapse begins, and on what
that rests; the terminal and the report say it, each in its own way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Verdict = Literal[
    "bracketed",
    "open",
    "never",
    "always",
    "not monotone",
    "too few",
    "no value",
    "one fraction",
]
Likely = Literal["safe", "collapse", "none"]  # more likely than not, all along the axis


@dataclass(frozen=True)
class Answer:
    """One workflow's answer."""

    who: str  # the workflow's name
    what: str  # the end of a sentence about it
    how: tuple[str, ...] = ()  # what that rests on
    verdict: Verdict = "one fraction"
    likely: Likely = "none"


def along(fraction: float, first: float, last: float) -> str:
    """A fraction of an axis as text: two digits, and more where the axis is short."""
    short = -math.log10(last - first) if last > first else 0.0
    return f"{fraction:.{2 + max(0, round(short))}f}"
