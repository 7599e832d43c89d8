"""A mean over seeds with Student's interval: of few seeds it is wide, and of one there is none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over n seeds, low and high its limits; these are None with a single seed."""

    mean: float
    low: float | None
    high: float | None
    n: int

    @classmethod
    def of(
        cls,
        values: Iterable[float | None],
        confidence: float = CONFIDENCE,
        within: tuple[float, float] = (-math.inf, math.inf),
    ) -> Interval | None:
        """Of the values that there are; None without any.

        within: the least and the greatest value that there can be, where limits are cut.
        """
        known = [v for v in values if v is not None and math.isfinite(v)]
        if not known:
            return None
        mean = sum(known) / len(known)
        if len(known) == 1:
            return cls(mean, None, None, 1)
        half = half_width(known, confidence)
        low, high = max(mean - half, within[0]), min(mean + half, within[1])
        return cls(mean, low, high, len(known))

    def words(self, digits: int = 3) -> str:
        """`0.812 [0.790, 0.834]`; without limits, that there is one seed."""
        mean = f"{self.mean:.{digits}f}"
        if self.low is None or self.high is None:
            return f"{mean} (one seed)"
        return f"{mean} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def half_width(values: Sequence[float], confidence: float) -> float:
    """Of Student's interval of the mean of two or more values."""
    from scipy.special import stdtrit

    n, mean = len(values), sum(values) / len(values)
    error = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1) / n)
    return float(stdtrit(n - 1, 0.5 + confidence / 2)) * error
