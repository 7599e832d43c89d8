"""`ouro report`: one self-contained HTML page with the answer in words on top, and a folder with
every figure and its numbers.

No network, no script, nothing from the data is executed: all text is escaped, and the page's own
policy forbids the rest.
"""

from __future__ import annotations

import base64
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from analysis.frame.export import write as write_table
from analysis.frame.rows import from_store
from analysis.plots import style
from analysis.report import continual
from analysis.report.answers import answers_of, by_policy
from analysis.report.figures import figures, undrawn
from analysis.report.findings import DETAILS, KEPT, SAMPLES, Findings, Shown
from analysis.report.lacks import sentences
from analysis.report.measured_by import extractors, measured_by
from analysis.report.tables import Table, anchor, controls_of, found_by, tables_of
from analysis.report.texts import Film, films
from analysis.theory.laws import alarms
from analysis.threshold.workflows import Workflow, grown, read
from engine._foreign import escaped, told
from engine.experiment.writer import to_yaml
from engine.lineage.history import histories
from engine.names import names_of, refusals
from engine.outcome.answer import Answer
from engine.outcome.continual import kept
from engine.outcome.control import controls
from engine.outcome.summary import has_tasks
from engine.running.logs import Folder
from engine.running.provenance import trained_with
from engine.spec import Sweep
from engine.store.artifacts import machine
from engine.store.disk import Unwritable
from engine.store.failures import Failure
from engine.store.outputs import sweep_id
from engine.store.store import Store

MOST_ANSWERS = 12
LONGEST_STREAM = 60  # characters of a stream of tasks that is told class by class
PAGE_DPI = 150


@dataclass(frozen=True)
class Section:
    """Figures and texts under one heading; folded: at the end of the page, to be opened."""

    title: str
    figures: list[dict[str, str]]
    folded: bool = False
    says: Sequence[str] = ()  # sentences before the figures
    films: Sequence[Film] = ()
    beside: str = ""  # where the texts are as a file

    @property
    def id(self) -> str:
        return anchor(self.title)


def write(
    sweep: Sweep,
    folder: Path,
    *,
    pictures: bool = True,
    say: Callable[[str], None] = lambda text: None,
    alone: bool = False,
) -> Path:
    """Writes report.html and figures/ into the folder; returns the page.

    say: hears what is being drawn.  alone: the page will not stay beside its figures.
    """
    store = Store(sweep.out, repairs=False)
    searched = list(read(sweep, store).values()) if sweep.threshold else []
    sweep, names = (grown(sweep, store) if sweep.threshold else sweep), names_of(sweep)
    by = extractors(sweep, store)
    found = histories(sweep, store) if sweep.control or has_tasks(sweep) else {}
    remembered = kept(sweep, found)
    findings = Findings.of(sweep, from_store(sweep, names=names), searched, by, remembered)
    drawn: dict[str, list[dict[str, str]]] = {KEPT: []} if remembered else {}
    place = Folder.at(folder, store)
    for shown in figures(findings, store, pictures=pictures):
        say(shown.name)
        drawn.setdefault(shown.section, []).append(put(shown, place.below("figures"), alone))
    said = {KEPT: continual.sentences(remembered)}
    sections = [Section(k, v, k == DETAILS, said.get(k, ())) for k, v in drawn.items()]
    if written := films(findings, store) if pictures else []:
        sections.insert(bool(remembered), _texts(written, place.below("figures"), alone))
    failed = {spec.id: store.failure(spec.id) for spec in sweep.lineages}
    about = [
        ("measured by", measured_by(sweep, store)),
        ("trained with", trained_with(sweep, store)),
    ]
    beside = controls(sweep, found)
    tables = list(filter(None, [found_by(searched), controls_of(beside)]))
    failures = {k: v for k, v in failed.items() if v}
    page = _page(findings, sections, failures, searched, about, tables)
    return place.write("report.html", page)


def _texts(written: list[Film], folder: Folder, alone: bool) -> Section:
    """What models wrote, also as a file beside the figures."""
    text = escaped("\n".join(film.text for film in written))
    folder.write("film.txt", text)
    return Section(SAMPLES, [], films=written, beside="" if alone else "figures/film.txt")


# ---- figures -------------------------------------------------------------------------------------


def placed(to: Path, make: Callable[[Path, bool], Path]) -> Path:
    """Make a page at a path, and return where it is.

    to: a file ending in .html, complete in itself; or a folder, which also gets every figure with
    its numbers.  make: from the folder to write to, and whether the page will stand alone.
    Unwritable where nothing can be written to it.
    """
    if to.suffix.lower() not in (".html", ".htm"):
        return make(to, False)
    with tempfile.TemporaryDirectory() as folder:
        page = make(Path(folder), True)
        try:
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(page, to)
        except OSError as error:
            raise Unwritable.of(str(to), error) from error
    return to


def put(shown: Shown, folder: Folder, alone: bool) -> dict[str, str]:
    """Write the figure as PNG, SVG and numbers to the folder; return it as the page has it."""
    wide, narrow = shown.draw(style.WIDE), shown.draw(style.NARROW)
    svg = style.svg(wide)
    folder.write(f"{shown.name}.svg", svg)
    folder.write(f"{shown.name}.png", style.png(wide))
    write_table(shown.numbers, folder.place(f"{shown.name}.csv"))
    return {
        "name": shown.name,
        "alt": shown.alt,
        "wide": _inline(wide, svg),
        "narrow": _inline(narrow, style.svg(narrow)),
        "beside": "" if alone else f"figures/{shown.name}.png, .svg; numbers: .csv",
    }


def _inline(figure: Any, svg: bytes) -> str:
    """The smaller one of SVG and PNG as a data URI: as an image, neither can run anything or load
    anything.
    """
    png = style.png(figure, PAGE_DPI) if len(svg) > 200_000 else b""
    kind, data = ("png", png) if png and len(png) < len(svg) else ("svg+xml", svg)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


# ---- the page ------------------------------------------------------------------------------------


def _page(
    findings: Findings,
    sections: list[Section],
    failed: Mapping[str, Failure],
    searched: list[Workflow],
    about: list[tuple[str, str]],
    first: list[Table],
) -> str:
    sweep = findings.sweep
    no_answer = "The experiment file names no collapse rule, so the figures below are the answer."
    return render(
        kind="Ouroboros sweep",
        name=sweep.name,
        question=sweep.question[:1].upper() + sweep.question[1:],
        answers=_first([own.said() for own in searched]) or _answers(findings),
        explains=sentences(findings.lacks, findings.frame, findings.outcomes),
        rests=_rests(findings),
        no_answer=no_answer if not findings.frame.empty else "Nothing has been run yet.",
        facts=_facts(findings, failed) + [fact for fact in about if fact[1]],
        warnings=_warnings(findings),
        sections=[own for own in sections if not own.folded],
        folded=[own for own in sections if own.folded],
        tables=[*first, *tables_of(findings, failed)],
        footnotes=_footnotes(findings),
        file=_source(sweep),
        footer=_footer(sweep),
    )


def render(**values: object) -> str:
    """Fill the page; whatever it shows is escaped, for a browser and for who reads the file."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, finalize=_seen
    )
    text = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    return environment.from_string(text).render(**values)


def _seen(value: object) -> object:
    """A text without what cannot be seen; what is markup already is ours."""
    return told(value) if type(value) is str else value


def _answers(findings: Findings) -> list[Answer]:
    """What is said first, of as many workflows as can be read; of tasks what is kept of them."""
    rule, table = findings.sweep.collapse, findings.answers
    remembered = [] if findings.frame.empty else continual.answers(findings.kept)
    if table is None or rule is None or findings.outcomes is None:
        return _first(remembered)
    if len(table) > MOST_ANSWERS and (table["verdict"] == "one fraction").all():
        table = by_policy(table, findings.outcomes)
    judged = answers_of(table, rule, findings.sweep.generations)
    return _first(continual.joined(remembered, judged))


def _first(found: list[Answer]) -> list[Answer]:
    """As many as can be read, and how many are left out."""
    if len(found) <= 2 * MOST_ANSWERS:
        return found
    more = f"{len(found) - MOST_ANSWERS} more workflows"
    return [*found[:MOST_ANSWERS], Answer(more, "see the table of thresholds")]


def _rests(findings: Findings) -> list[str]:
    """What the answer rests on, in sentences: what collapse means, how many lineages there are,
    and what the state at the last generation does not say.
    """
    sweep, rule, states = findings.sweep, findings.sweep.collapse, findings.states
    generations = findings.frame.drop_duplicates(["lineage", "t"])
    there, seeds = generations["lineage"].nunique(), generations["seed"].nunique()
    if not there:
        return []
    many = f"{there:,} lineages of {seeds:,} seed{'s' * (seeds != 1)}"
    said = [f"{many}, generations 0 to {sweep.generations}{_learning(findings)}."]
    if rule is None or states is None:
        return said
    said.insert(0, f"Collapse: at the last generation ({sweep.generations}), {sweep.rule_words()}.")
    passed, past, judged = (int(states[name].sum()) for name in ("passed", "past", "judged"))
    if judged:
        back = passed - past
        first = f"{passed} passed it at some generation (first passage)"
        same = "and none came back (first passage: the same)" if passed else "and none ever was"
        said.append(
            f"{past} of {judged} are past that level at the last generation"
            + (f"; {first}." if back else f", {same}.")
        )
    return said


def _learning(findings: Findings) -> str:
    """What the generations of a stream of tasks are, after a comma; '' without tasks."""
    streams = {spec.stream for spec in findings.sweep.lineages if spec.tasks is not None}
    if len(streams) != 1:
        return ", of which each learns the next task" if streams else ""
    classes = ["/".join(map(str, task)) for task in streams.pop()][: findings.sweep.generations + 1]
    each = f" (classes {', '.join(classes)})" if len(", ".join(classes)) < LONGEST_STREAM else ""
    return f", of which each learns the next task{each}"


def _facts(findings: Findings, failed: Mapping[str, Failure]) -> list[tuple[str, str]]:
    sweep, frame = findings.sweep, findings.frame
    generations = frame.drop_duplicates(["lineage", "t"])
    there = generations["lineage"].nunique()
    seeds = len({spec.seed for spec in sweep.lineages})
    facts = [
        ("lineages", f"{there:,} of {len(sweep.lineages):,}"),
        ("cells", f"{len({spec.cell_id for spec in sweep.lineages}):,}"),
        ("seeds", f"{seeds:,}"),
        ("generations", f"0 to {sweep.generations}"),
        ("rows measured", f"{len(frame):,}"),
        ("undefined values", f"{int((frame['undefined'] != '').sum()):,}"),
        ("failed", f"{len(failed):,}"),
    ]
    at_n = ", ".join(f"{metric} n = {n:,}" for metric, n in sweep.compared.items())
    facts += [("samples compared", at_n)] if at_n else []
    return facts + ([("collapse means", sweep.rule_words())] if sweep.collapse else [])


def _warnings(findings: Findings) -> list[str]:
    sweep, frame = findings.sweep, findings.frame
    found = [f"Theory disagrees: {text}" for text in alarms(findings.laws)[:5]]
    last = frame.groupby("lineage", observed=True)["t"].max()
    missing = len(sweep.lineages) - len(last)
    if missing:
        found.append(
            f"{missing} of {len(sweep.lineages)} lineages have no rows yet; `ouro run "
            f"{sweep.source}` makes them."
        )
    outcomes = findings.outcomes
    unfinished = 0 if outcomes is None else int((~outcomes["finished"].astype(bool)).sum())
    if unfinished:
        found.append(f"{unfinished} lineages are unfinished; they are counted as censored.")
    return found


def _footnotes(findings: Findings) -> list[str]:
    """Cells that cannot be, and what has no figure."""
    sweep = findings.sweep
    said = [f"Left out of the grid: {why}." for why in refusals(sweep.refused, sweep.lineages)]
    return [*said, *undrawn(findings)]


def _source(sweep: Sweep) -> str:
    """The experiment as its file has it, or as it was resolved where that is no file."""
    try:
        return Path(sweep.source).read_text(encoding="utf-8")
    except OSError:
        return to_yaml(sweep.document)


def _footer(sweep: Sweep) -> str:
    known_as = sweep_id(Store(sweep.out, repairs=False), sweep.name)
    about = f"from {sweep.source}; sweep {known_as}"
    return f"{written(about)}  No interval takes lineages of one founder for independent."


def written(about: str) -> str:
    """When, from what and by which versions a page was written."""
    known = ", ".join(f"{k} {v}" for k, v in machine().items())
    return f"Written {time.strftime('%Y-%m-%d %H:%M')} {about}.  {known}."
