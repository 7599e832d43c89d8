"""`ouro measure REAL GEN0 GEN1 ...`: generations made elsewhere get the metrics, floors, verdict
and page that a lineage would have; nothing is trained but what a metric trains on real data.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.options import Debug, Json, print_json
from engine.console.errors import Refused, errors
from engine.console.text import console, line
from engine.files import JsonObject
from engine.status import ExitCode

if TYPE_CHECKING:
    from rich.console import Console

    from engine.api.curve import Curve

RealData = Annotated[
    str,
    typer.Argument(
        metavar="REAL",
        help="a folder of pictures, an npz, a CSV or Parquet table, or a data set by name",
    ),
]
Generations = Annotated[
    list[str], typer.Argument(metavar="GEN0 GEN1 ...", help="the generations, in their order")
]
Metric = Annotated[
    list[str],
    typer.Option("--metric", metavar="NAME", help="a metric, or {name: ..., its parameters}"),
]
Collapse = Annotated[
    str | None,
    typer.Option(
        metavar="METRIC,ABOVE",
        help="collapse rule: the metric passes so many times generation 0; METRIC,below,LEVEL: "
        "falls below; METRIC,above,LEVEL,difference: is so much above it, not so many times it",
    ),
]
Report = Annotated[
    str | None, typer.Option("--report", help="page to write: a file ending in .html, or a folder")
]
N = Annotated[
    int | None,
    typer.Option("--n", min=2, help="samples of each generation; default: of the smallest"),
]
NReal = Annotated[
    int | None, typer.Option(min=1, help="real samples; default: all but those held out")
]
Seed = Annotated[int, typer.Option(min=0, help="of the real set and the floors")]
Size = Annotated[
    int | None,
    typer.Option(min=1, help="pixels to cut all pictures to; default: those of the real ones"),
]
Label = Annotated[str | None, typer.Option(help="the column of class labels of tables")]


def measure(
    real: RealData,
    generations: Generations,
    metric: Metric,
    collapse: Collapse = None,
    report: Report = None,
    n: N = None,
    n_real: NReal = None,
    seed: Seed = 0,
    size: Size = None,
    label: Label = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure generations that were made elsewhere against real data."""
    with errors(debug):
        from engine.api.curve import measure as measured
        from engine.experiment.reader import SpecError

        try:
            curve = measured(
                _value(real),
                generations,
                metrics=[_value(text) for text in metric],
                collapse=None if collapse is None else rule(collapse),
                n=n,
                n_real=n_real,
                seed=seed,
                size=size,
                label=label,
            )
        except SpecError as error:
            raise SpecError("ouro measure", error.problems) from None
        page = None if report is None else curve.report(Path(report))
        if as_json:
            print_json(to_json(curve))
        else:
            show(console(), curve, page)


def _value(text: str) -> Any:
    """A name or a path; a mapping where it begins like one."""
    from engine.experiment.yaml import parse_value

    if not text.lstrip().startswith("{"):
        return text
    try:
        return parse_value(text)
    except ValueError as error:
        raise Refused(f"{text}: {error}", ExitCode.BAD_INPUT) from None


def rule(text: str) -> JsonObject:
    """A collapse rule from METRIC,ABOVE or METRIC,below,LEVEL; either with ,difference."""
    words = [word.strip() for word in text.split(",")]
    by = {"by": words.pop()} if words[-1] in ("ratio", "difference") else {}
    side = words[1] if len(words) == 3 else "above"
    try:
        if len(words) not in (2, 3) or side not in ("above", "below"):
            raise ValueError
        return {"metric": words[0], side: float(words[-1]), **by}
    except ValueError:
        said = f"--collapse wants METRIC,ABOVE or METRIC,below,LEVEL, got {text!r}"
        raise Refused(said, ExitCode.BAD_INPUT) from None


def to_json(curve: Curve) -> JsonObject:
    """What was measured, for machines; undefined values with their reasons."""
    rows = [
        {
            "t": row.t,
            "source": source,
            "status": row.status.value,
            "reason": row.reason,
            "values": dict(row.values),
            "undefined": dict(row.undefined),
        }
        for row, source in zip(curve.rows, curve.sources, strict=True)
    ]
    found: JsonObject = {"n": curve.n, "behind": curve.behind, "generations": rows}
    if curve.rule is not None:
        verdict = curve.judge()
        said = {"collapsed": verdict.collapsed, "at": verdict.at, "undefined": verdict.undefined}
        found |= {"collapse": curve.rule.to_dict(), "verdict": said}
    return found


def show(terminal: Console, curve: Curve, page: Path | None) -> None:
    """Say it as a table: a line per generation, a column per key, with its floor."""
    from analysis.report.generations import keys_of
    from engine.console.tables import number, table
    from engine.store.keys import beside, metric_of

    keys = keys_of(curve.rows)
    rows = table(("t", "right"), ("generation", "left"), *((key, "right") for key in keys))
    for row, source in zip(curve.rows, curve.sources, strict=True):
        cells = []
        for key in keys:
            value, floor = row.values.get(key), row.values.get(beside(key, "floor"))
            said = "-" if value is None else number(value)
            cells.append(said if floor is None else f"{said} ({number(floor)})")
        rows.add_row(str(row.t), source, *cells)
    terminal.print(rows)
    terminal.print(line(f"n = {curve.n} of each; in brackets: between real sets of that size"))
    compared = {metric_of(key): _compared(curve, key) for key in keys}
    if fewer := [f"{metric} compares {n}" for metric, n in compared.items() if n < curve.n]:
        said = f"of these, {', '.join(fewer)}: as many as were asked for or have held-out real ones"
        terminal.print(line(said, "yellow"))
    for metric, network in curve.behind.items():
        terminal.print(line(f"{metric} is of the features of {network}", "dim"))
    for row in curve.rows:
        for key, reason in row.undefined.items():
            terminal.print(line(f"generation {row.t}: {key} is undefined: {reason}", "yellow"))
        if row.reason:
            terminal.print(line(f"generation {row.t}: {row.status.value}, {row.reason}", "yellow"))
    if curve.rule is not None:
        terminal.print(line(repr(curve.judge())[1:-1], "bold"))
    if page is not None:
        terminal.print(line("wrote ") + line(str(page), "bold cyan"), soft_wrap=True)


def _compared(curve: Curve, key: str) -> int:
    """How many samples of each generation a key compares, of the one with the fewest."""
    from engine.store.keys import beside

    return min(int(row.values.get(beside(key, "n"), curve.n)) for row in curve.rows)
