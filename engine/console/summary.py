"""The summary: per cell over its seeds the drift, the accuracy, the verdict and how its lineages
ended.

Narrow terminals get paragraphs.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Sequence

from rich.console import Console, JustifyMethod
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from engine._tasks import of_key
from engine.console.tables import NARROW, changed, number, one_line_each, room, table
from engine.console.text import line
from engine.outcome.continual import Kept
from engine.outcome.control import CONFIDENCE, Control
from engine.outcome.interval import Interval
from engine.outcome.summary import Cell, Spread, has_drift
from engine.registry import key_of
from engine.spec import Sweep


def show_summary(console: Console, cells: Sequence[Cell], sweep: Sweep) -> None:
    """Per cell over its seeds: drift, accuracy, verdict, statuses."""
    console.print()
    drifts = has_drift(sweep)
    lines = 4 if console.width < NARROW else 1
    shown = loudest(cells, room(console, lines * len(cells), 13) // lines)
    if console.width < NARROW:
        for cell in shown:
            _paragraph(console, cell, drifts)
    elif len(shown) < len(cells):
        console.print(_overview(shown, drifts))
    else:
        console.print(_summary_table(console, cells, drifts))
    if hidden := len(cells) - len(shown):
        less = " that drift less" if drifts else ""
        said = f"... and {hidden} more{less} (`ouro status {sweep.source} --json` has all)"
        console.print(Text(said, style="dim"))
    if said := _caption(cells, sweep):
        console.print(line(said, "dim"))


def show_kept(console: Console, found: Sequence[Kept]) -> None:
    """Per cell what it keeps of earlier tasks; nothing without tasks.  Narrow terminals get
    sentences.
    """
    if not found:
        return
    if all(own.accuracy is None and own.end is None for own in found):
        why = found[0].why("accuracy")
        console.print(line(f"What is kept of earlier tasks is not known: {why}.", "dim"))
        return
    shown = found[: room(console, len(found), 13)]
    console.print()
    if console.width < NARROW:
        for own in shown:
            console.print(line(own.label, "bold"))
            console.print(Text(f"  {own.words}"))
    else:
        console.print(_kept_table(console, shown))
    if hidden := len(found) - len(shown):
        console.print(Text(f"... and {hidden} more (--json has all)", style="dim"))
    distance = found[0].distance
    said = "Kept of earlier tasks: means over seeds [95 % t interval]."
    if any(own.end is not None for own in found):
        said += f" {distance}: of earlier tasks, times its floor, when learnt and at the end."
    console.print(line(said, "dim"))


def _kept_table(console: Console, found: Sequence[Kept]) -> Table:
    """A line per cell.  Where there is no room, backward transfer goes first, then intervals."""
    unbounded = console.options.update(max_width=sys.maxsize)
    for left_out in ((), ("backward transfer",), ("backward transfer", "intervals")):
        rows = _kept(found, left_out)
        if Measurement.get(console, unbounded, rows).maximum <= console.width:
            break
    return rows


def _kept(found: Sequence[Kept], left_out: Collection[str]) -> Table:
    columns = {
        "average accuracy": [own.accuracy for own in found],
        "forgetting": [own.forgetting for own in found],
        "backward transfer": [own.transfer for own in found],
    }
    say = _mean if "intervals" in left_out else _interval
    said = {name: list(map(say, own)) for name, own in columns.items()}
    said[found[0].distance] = [_from_to(own) for own in found]
    shown = {k: own for k, own in said.items() if set(own) != {"-"} and k not in left_out}
    rows = table(("cell", "left"), *((name, "right") for name in shown))
    for place, own in enumerate(found):
        rows.add_row(own.label, *(values[place] for values in shown.values()))
    return rows


def _mean(value: Interval | None) -> str:
    return "-" if value is None else f"{value.mean:.3f}"


def _interval(value: Interval | None) -> str:
    return "-" if value is None else value.words()


def _from_to(own: Kept) -> str:
    if own.end is None:
        return "-"
    if own.start is None:
        return f"{own.end.mean:.2f}"
    return f"{own.start.mean:.2f} to {own.end.mean:.2f}"


def show_controls(console: Console, found: Sequence[Control]) -> None:
    """Per cell the change at n, at the control's n, and continued to n = infinity."""
    if not found:
        return
    heads = ("n", "change", "control n", "change", "n = infinity")
    rows = table(("cell", "left"), *((head, "right") for head in heads))
    for own in found[: room(console, len(found), 13)]:
        sizes = (f"{own.n:,}", f"{own.control_n:,}")
        changes = [_changed(own, c.mean if c else None) for c in (own.change, own.control_change)]
        rows.add_row(own.label, sizes[0], changes[0], sizes[1], changes[1], _limit(own))
    console.print()
    console.print(rows)
    how = "end / start" if found[0].is_ratio else "end - start"
    said = (
        f"Control: the same chains at a quarter of n.  change: {how} of {found[0].metric}; at n = "
        f"infinity as continued in 1/n, {CONFIDENCE:.0%} over seeds: what is left there is the "
        "sampler's or the network's."
    )
    why = dict.fromkeys(own.undefined for own in found if own.undefined)
    console.print(line(" ".join([said, *(f"No value there: {each}." for each in why)]), "dim"))


def _changed(own: Control, change: float | None) -> str:
    if change is None:
        return "-"
    return f"{number(change)} x" if own.is_ratio else f"{change:+.3g}"


def _limit(own: Control) -> str:
    if own.limit is None:
        return "-"
    low, high = own.limit.low, own.limit.high
    tail = "" if low is None or high is None else f" [{number(low)}, {number(high)}]"
    return _changed(own, own.limit.value) + tail


def loudest(cells: Sequence[Cell], n: int) -> list[Cell]:
    """All cells in the order of the file; where they are more than n, first failures, then
    collapse, then drift.
    """
    return list(cells) if len(cells) <= n else sorted(cells, key=_loudness, reverse=True)[:n]


def _loudness(cell: Cell) -> tuple[bool, float, float]:
    return "failed" in cell.statuses, (cell.collapsed or 0) / max(cell.judged, 1), _far(cell)


def _far(cell: Cell) -> float:
    """How far a cell drifted, in whatever direction."""
    if cell.drift is None or (cell.drift_by == "ratio" and cell.drift.mean <= 0):
        return -1.0
    return abs(math.log(cell.drift.mean) if cell.drift_by == "ratio" else cell.drift.mean)


def _summary_table(console: Console, cells: Sequence[Cell], drifts: bool) -> Table:
    """A line per cell.  Where its name lacks room, ranges go first, then start and end, of which
    the drift remains.
    """
    if not drifts:
        return _summary(cells, ("start", "end", "drift"))
    unbounded = console.options.update(max_width=sys.maxsize)
    for left_out in ((), ("range",), ("range", "start", "end")):
        rows = _summary(cells, left_out)
        if Measurement.get(console, unbounded, rows).maximum <= console.width:
            break
    return rows


def _summary(cells: Sequence[Cell], left_out: Collection[str]) -> Table:
    columns: dict[str, tuple[JustifyMethod, Callable[[Cell], str | Text]]] = {
        "cell": ("left", lambda c: c.label),
        "start": ("right", lambda c: spread_short(c.start)),
        "end": ("right", lambda c: spread_short(c.last)),
        "drift": ("right", lambda c: changed(c.drift, c.drift_by, ranges="range" not in left_out)),
        "accuracy": ("right", lambda c: spread_short(c.accuracy)),
        "collapsed": ("left", _verdict),
        "status": ("left", _statuses),
    }
    if not any(c.accuracy for c in cells):
        del columns["accuracy"]
    shown = {name: column for name, column in columns.items() if name not in left_out}
    rows = table(*((name, justify) for name, (justify, _) in shown.items()))
    for cell in cells:
        rows.add_row(*(say(cell) for _, say in shown.values()))
    return rows


def _overview(cells: Sequence[Cell], drifts: bool) -> Table:
    """The same of a few among very many: a line each."""
    heads: list[tuple[str, JustifyMethod]] = [
        ("cell", "left"),
        ("drift", "right"),
        ("collapsed", "left"),
        ("status", "left"),
    ]
    rows = table(*(head for head in heads if drifts or head[0] != "drift"))
    for c in cells:
        drift = [changed(c.drift, c.drift_by, ranges=False)] if drifts else []
        rows.add_row(c.label, *drift, _verdict(c), _statuses(c))
    return one_line_each(rows)


def spread_short(s: Spread | None) -> str:
    return "-" if s is None else number(s.mean)


def _verdict(cell: Cell) -> Text:
    if cell.collapsed is None:
        word = "-"
    elif cell.collapsed in (0, cell.judged):
        word = "yes" if cell.collapsed else "no"
    else:
        word = f"{cell.collapsed}/{cell.judged}"
    return Text(word, style="bold yellow" if cell.collapsed else "")


def _statuses(cell: Cell) -> Text:
    rest = {s: n for s, n in sorted(cell.statuses.items()) if s not in ("ok", "unfinished")}
    done, of = (
        cell.statuses.get("ok", 0),
        f" of {cell.lineages}" if "unfinished" in cell.statuses else "",
    )
    words = [f"{done}{of} done"] if done or of else []
    words += [f"{n} {s.replace('_', ' ')}" for s, n in rest.items()]
    return Text(
        ", ".join(words),
        style="red"
        if "failed" in cell.statuses
        else "yellow"
        if set(cell.statuses) - {"ok"}
        else "dim",
    )


def _paragraph(console: Console, cell: Cell, drifts: bool) -> None:
    console.print(line(cell.label, "bold"))
    if drifts:
        console.print(f"  drift {changed(cell.drift, cell.drift_by)}", highlight=False)
    if cell.accuracy:
        console.print(f"  accuracy {number(cell.accuracy.mean)}", highlight=False)
    console.print(Text("  collapsed: ") + _verdict(cell))
    console.print(Text("  ") + _statuses(cell))


def _caption(cells: Sequence[Cell], sweep: Sweep) -> str:
    metric = cells[0].metric if cells else ""
    how = "end / start" if sweep.drifts_by == "ratio" else "end - start"
    known = key_of(metric) if how == "end - start" else None
    unit = f", in {known.unit}" if known is not None else ""
    text = (
        f"start, end: {metric}{_n(cells)} at generation {of_key(metric) or 0} and at the last one"
        f"{unit}; drift: {how}; means over seeds (range)."
        if metric and has_drift(sweep)
        else ""
    )
    if sweep.collapse and all(c.start is None for c in cells):
        text += f" No ended lineage begins with a value of {metric}: nothing is judged by it."
    elif sweep.collapse:
        text += f" Collapsed: {sweep.collapse.words()}, at the last generation.{_first(cells)}"
    return text.strip()


def _n(cells: Sequence[Cell]) -> str:
    """How many samples of each generation are compared."""
    known = [cell.n for cell in cells if cell.n is not None]
    if not known:
        return ""
    least, most = min(known), max(known)
    return f" (n = {least:,})" if least == most else f" (n = {least:,} to {most:,})"


def _first(cells: Sequence[Cell]) -> str:
    """First passage, where it is not the state at the last generation."""
    passed = sum(c.passed or 0 for c in cells)
    past = sum(c.collapsed or 0 for c in cells)
    if passed == past:
        return ""
    first = f" First passage: {passed} lineages passed that level at some generation"
    return f"{first}, {past} are past it at the last."
