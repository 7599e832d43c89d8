"""What of a cell's change is for want of data: the same chain at n and at a quarter of it,
continued to n = infinity.

What finite samples do is linear in 1/n as long as generations are few beside n: a distance's bias
(Chong and Forsyth 1911.07023 continue FID so), and the share of about 1/n of the variance that a
chain under `replace` loses each generation (Shumailov et al. 2305.17493).  So the change of a
metric, end minus generation 0, lies on a straight line in 1/n whose end at 1/n = 0 is what the
sampler or the network does, whatever n is; of a ratio, which is best near 1, it is the logarithm of
end over generation 0.  Two points make the line; its interval is Student's over the seeds, each of
which has both chains.  Not a value that was measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from engine._descriptions import keys_of
from engine.files import JsonObject
from engine.lineage.history import History
from engine.names import by_cell, names_of
from engine.outcome.interval import half_width
from engine.outcome.summary import Spread, at_end, at_start
from engine.registry import describe
from engine.spec import LineageSpec, Sweep
from engine.store.keys import beside

CONFIDENCE = 0.9  # of the interval of a limit


@dataclass(frozen=True)
class Limit:
    """The change at n = infinity, and its interval; low and high are None with a single seed."""

    value: float
    low: float | None
    high: float | None
    seeds: int


@dataclass(frozen=True)
class Control:
    """A cell beside its control, each with its own n.

    is_ratio  whether the change is end over generation 0 rather than end minus generation 0.
    start     of the control: its value at generation 0, and below what real data reach there.
    """

    label: str
    metric: str
    is_ratio: bool
    n: int
    control_n: int
    change: Spread | None
    control_change: Spread | None
    start: Spread | None
    floor: Spread | None
    limit: Limit | None
    undefined: str  # why there is no limit, or ''

    def to_dict(self) -> JsonObject:
        """Plain values, as in JSON."""
        return {**asdict(self), "words": self.words}

    @property
    def words(self) -> str:
        """What the limit says; '' without an interval.

        Beyond no change, where the line overshoots because generations are many beside the
        control's n, nothing is left either.
        """
        limit, none = self.limit, 1.0 if self.is_ratio else 0.0
        if limit is None or limit.low is None or limit.high is None or self.change is None:
            return ""
        beyond = (limit.value - none) * (self.change.mean - none) < 0
        if beyond or limit.low <= none <= limit.high:
            return "none of the change is seen to stay with more data"
        return "this stays however many data there are"


def controls(sweep: Sweep, histories: Mapping[str, History]) -> list[Control]:
    """One for every cell that has a control, in the order of the file."""
    if sweep.control is None:
        return []
    names, found, is_ratio = names_of(sweep), [], _is_ratio(sweep)
    for members in by_cell(sweep.lineages).values():
        pairs = [(spec, spec.quarter()) for spec in members]
        there = [pair for pair in pairs if pair[1].id in histories]
        if there:
            found.append(
                _control(names.cell(members[0]), there, histories, sweep.headline, is_ratio)
            )
    return found


def _is_ratio(sweep: Sweep) -> bool:
    """Whether the sweep's headline is a ratio, which is best near 1."""
    id_ = sweep.headline.partition("/")[0]
    for metric in sweep.metrics:
        key = metric.part.name + sweep.headline.removeprefix(metric.id)
        if metric.id == id_:
            known = keys_of(describe("metric", metric.part.name))
            return any(own.means(key) and own.better == "near 1" for own in known)
    return False


def _control(
    label: str,
    pairs: Sequence[tuple[LineageSpec, LineageSpec]],
    histories: Mapping[str, History],
    key: str,
    is_ratio: bool,
) -> Control:
    both = [(histories[whole.id], histories[quarter.id]) for whole, quarter in pairs]
    n, control_n = pairs[0][0].n_real, pairs[0][1].n_real
    changes = [(_change(a, key, is_ratio), _change(b, key, is_ratio)) for a, b in both]
    limit, why = _limit(changes, n, control_n, is_ratio)
    ended = [quarter for _, quarter in both if quarter.counts]
    return Control(
        label=label,
        metric=key,
        is_ratio=is_ratio,
        n=n,
        control_n=control_n,
        change=Spread.of(a for a, _ in changes),
        control_change=Spread.of(b for _, b in changes),
        start=Spread.of(at_start(own.rows, key) for own in ended),
        floor=Spread.of(at_start(own.rows, beside(key, "floor")) for own in ended),
        limit=limit,
        undefined=why,
    )


def _change(history: History, key: str, is_ratio: bool) -> float | None:
    """End over generation 0, or minus it; None where that has no meaning, or nothing has ended."""
    start, end = at_start(history.rows, key), at_end(history.rows, key)
    if not history.counts or start is None or end is None:
        return None
    if not is_ratio:
        return end - start
    return end / start if start > 0 and end > 0 else None


def _limit(
    changes: Sequence[tuple[float | None, float | None]], n: int, control_n: int, is_ratio: bool
) -> tuple[Limit | None, str]:
    """The line through both points at 1/n = 0, over the seeds that have both; or why there is
    none.
    """
    to, back = (math.log, math.exp) if is_ratio else (float, float)
    known = [(to(a), to(b)) for a, b in changes if a is not None and b is not None]
    each = [at_infinity(a, n, b, control_n) for a, b in known]
    if control_n >= n or not each:
        return None, "no seed has ended with a value at both sizes" if control_n < n else "n is 1"
    mean = sum(each) / len(each)
    if len(each) == 1:
        return Limit(back(mean), None, None, 1), ""
    half = half_width(each, CONFIDENCE)
    return Limit(back(mean), back(mean - half), back(mean + half), len(each)), ""


def at_infinity(at_n: float, n: int, at_control: float, control_n: int) -> float:
    """Where the line through (1/n, at_n) and (1/control_n, at_control) meets 1/n = 0."""
    share = (1 / n) / (1 / control_n - 1 / n)  # 1/3, where the control has a quarter
    return at_n - share * (at_control - at_n)
