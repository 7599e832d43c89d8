"""An experiment as an object: from a file, changed in place, or from nothing but arguments.

sweep = engine.load("quickstart.yaml", seeds=1, base={"generator.steps": 100})
sweep = engine.sweep("digits", "vae", policy="replace", n_real=1200, generations=6)
sweep.plan(out="runs/mine")
sweep.to_yaml("mine.yaml")
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.api import show
from engine.api.arguments import named
from engine.experiment.given import Overrides, plain
from engine.experiment.reader import SpecError, read
from engine.experiment.sources import NoExperiment
from engine.experiment.sources import load as read_source
from engine.experiment.writer import to_yaml
from engine.experiment.yaml import Problem
from engine.files import JsonObject, write_atomically
from engine.lineage.recorded import changes, with_files_of_output
from engine.names import by_cell, names_of
from engine.planning.plan import Plan as Counts
from engine.registry import PartError
from engine.settings import CollapseRule
from engine.spec import LineageSpec
from engine.spec import Sweep as Spec
from engine.store.outputs import NoOutput

# a part: by name, as {name: ..., its parameters}, or a class or an instance of one's own
Part = Any
Values = Mapping[str, Any]


class Sweep:
    """An experiment: which lineages, how far, what to measure.  Made by `engine.load` and
    `engine.sweep`; nothing of it changes.

    spec  the same as the engine has it.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    @property
    def name(self) -> str:
        """What files and the tracker call it."""
        return self.spec.name

    @property
    def question(self) -> str:
        """What it asks, or ''."""
        return self.spec.question

    @property
    def out(self) -> str:
        """The folder or URL it runs into, unless another is asked for."""
        return self.spec.out

    @property
    def lineages(self) -> tuple[LineageSpec, ...]:
        """Every chain of generations of the grid, in the order of the file."""
        return self.spec.lineages

    @property
    def cells(self) -> tuple[str, ...]:
        """The points of the grid, by the names that `Result.cells` gives them."""
        names = names_of(self.spec)
        return tuple(names.cell(own[0]) for own in by_cell(self.lineages).values())

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the lineages, each once."""
        return tuple(dict.fromkeys(spec.seed for spec in self.lineages))

    @property
    def generations(self) -> int:
        """How many follow generation 0."""
        return self.spec.generations

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is measured, by the names that rows have."""
        return tuple(metric.id for metric in self.spec.metrics)

    @property
    def collapse(self) -> CollapseRule | None:
        """The rule that says which lineages have collapsed; None: there is none."""
        return self.spec.collapse

    @property
    def document(self) -> JsonObject:
        """The values of its file, as a copy; {} where it was not made of any."""
        return copy.deepcopy(self.spec.document)

    def at(self, out: str | Path | None) -> Sweep:
        """The same experiment in another output; None: in its own."""
        if out is None:
            return self
        return Sweep(with_files_of_output(replace(self.spec, out=str(out))))

    def afresh(self, overrides: Overrides = ()) -> Sweep:
        """The same experiment with what its parts name on disk looked at anew, and some of its
        values changed.
        """
        if not self.spec.document:
            return self
        name, source = self.name, self.spec.source
        spec = read(self.spec.document, name=name, source=source, overrides=overrides)
        return Sweep(with_files_of_output(replace(spec, out=self.out)))

    def to_yaml(self, path: str | Path | None = None) -> str:
        """Write it as an experiment file, and return the text of it."""
        text = to_yaml(self.spec.document)
        if path is not None:
            write_atomically(Path(path), text)
        return text

    @named
    def plan(self, out: str | Path | None = None, *, cpus: int | None = None) -> Plan:
        """Say what an output has of it, what is left to compute, and what that takes.

        cpus: to compute with; None: all this process may use.  Runs nothing and makes nothing.
        """
        from engine.planning.plan import make_plan
        from engine.running.doctor import cpus_here
        from engine.tracking.tracker import address_of, lack

        here = self.at(out)
        store = open_store(here.spec)
        counts = make_plan(here.spec, store, cpus or cpus_here())
        untracked = lack(address_of(here.spec, store))
        lacks = (*map(str, counts.preflight.lacks), *filter(None, [untracked]))
        return Plan(here, counts, tuple(changes(here.spec, store)), lacks)

    def __repr__(self) -> str:
        lineages = show.counted(len(self.lineages), "lineage")
        metrics = show.counted(len(self.metrics), "metric")
        return (
            f"<Sweep {self.name}: {lineages}, generations 0 to {self.generations}, {metrics}, "
            f"out {self.out}>"
        )

    def _repr_html_(self) -> str:
        cells = self.cells
        rule = [f"collapse: {self.spec.rule_words()}"] if self.collapse else []
        more = [f"... {len(cells)} cells in all"] if len(cells) > show.MOST_ROWS else []
        about = [f"measures {', '.join(self.metrics) or 'nothing'}", *rule]
        said = [*about, *cells[: show.MOST_ROWS], *more]
        return show.heading(repr(self)[1:-1], self.question) + show.lines(said)


class Plan:
    """What a sweep will compute, before anything runs.  Made by `Sweep.plan`.

    Generations that lineages share are one: `asked` counts them for each, all other counts once.

    sweep    the experiment, in the output that was looked at.
    counts   all numbers of the plan, as the engine has them.
    changed  what behind the output's rows has changed since they were made, a line each.
    lacks    what this computer lacks to run it (files, weights, packages), a line each.
    """

    def __init__(
        self,
        sweep: Sweep,
        counts: Counts,
        changed: tuple[str, ...] = (),
        lacks: tuple[str, ...] = (),
    ) -> None:
        self.sweep, self.counts, self.changed, self.lacks = sweep, counts, changed, lacks

    @property
    def name(self) -> str:
        """What files and the tracker call the experiment."""
        return self.sweep.name

    @property
    def out(self) -> str:
        """The folder or URL that was looked at."""
        return self.sweep.out

    @property
    def asked(self) -> int:
        """Generations over all lineages."""
        return self.counts.asked

    @property
    def unique(self) -> int:
        """Generations that differ: those present and those missing."""
        return self.counts.unique

    @property
    def present(self) -> int:
        """Generations that the output has."""
        return self.counts.present

    @property
    def missing(self) -> int:
        """Generations that are left to compute."""
        return self.counts.missing

    @property
    def complete(self) -> bool:
        """Whether nothing is left to compute."""
        return not self.missing and not self.counts.unmeasured

    @property
    def seconds(self) -> float | None:
        """Forecast of what is missing; None where nothing is known of a generator."""
        return self.counts.seconds

    @property
    def bytes(self) -> int | None:
        """Forecast of what it will take on disk; None where nothing is known of a generator."""
        return self.counts.bytes

    def __repr__(self) -> str:
        left = show.counted(self.missing, "generation")
        return (
            f"<Plan of {self.name}: {left} to compute, {self.present} of {self.unique} there, "
            f"out {self.out}>"
        )

    def __str__(self) -> str:
        return show.text_of(self._say)

    def _repr_html_(self) -> str:
        return show.html_of(self._say)

    def _say(self, console: Any) -> None:
        from engine.console.tables import show_plan

        show_plan(console, self.counts, self.sweep.spec)
        for line in self.changed:
            console.print(line, style="yellow", markup=False)


# ---- where they come from ------------------------------------------------------------------------


@named
def load(
    path: str | Path,
    overrides: Values | None = None,
    *,
    base: Values | None = None,
    grid: Values | None = None,
    without: Sequence[Values] | None = None,
    seeds: int | Sequence[int] | None = None,
    generations: int | None = None,
    metrics: Sequence[Part] | None = None,
    collapse: Values | None = None,
    threshold: Values | None = None,
    resources: Values | None = None,
    keep: str | Values | None = None,
    out: str | Path | None = None,
    tracking: str | None = None,
    question: str | None = None,
) -> Sweep:
    """Read an experiment, with some of its values changed.

    path: its file; the name of one that comes with the engine; or an output, which keeps its own.
    overrides: by their keys, with dots as for `--set` or nested; the other arguments are sections
    of the file, whose values go into it, None: as it is there.  SpecError with all problems;
    FileNotFoundError.
    """
    which = {"base": base, "grid": grid, "without": without, "seeds": seeds}
    how = {"generations": generations, "metrics": metrics, "collapse": collapse}
    asked = {"threshold": threshold, "resources": resources, "keep": keep, "out": out}
    sections = {**which, **how, **asked, "tracking": tracking, "question": question}
    changes = {**(overrides or {}), **_given(sections)}
    try:
        return _checked(read_source(path, changes, None if out is None else str(out)))
    except (NoExperiment, NoOutput) as error:
        raise FileNotFoundError(str(error)) from None
    except PartError as error:
        raise _unfit(str(path), error) from None


@named
def sweep(
    dataset: Part | None = None,
    generator: Part | None = None,
    *,
    policy: Part | None = None,
    sampling: Part | None = None,
    n_real: int | None = None,
    n_synthetic: int | None = None,
    arrival: str | None = None,
    tasks: int | Sequence[Sequence[int]] | None = None,
    grid: Values | None = None,
    without: Sequence[Values] | None = None,
    seeds: int | Sequence[int] = 1,
    generations: int | None = None,
    metrics: Sequence[Part] = (),
    collapse: Values | None = None,
    threshold: Values | None = None,
    resources: Values | None = None,
    keep: str | Values | None = None,
    out: str | Path | None = None,
    tracking: str | None = None,
    question: str | None = None,
    name: str = "sweep",
) -> Sweep:
    """Make an experiment: the sections of a file as arguments, those of `base` by their own names.

    A part is a name, {name: ..., its parameters}, or a class or an instance of one's own, whose
    source is in the keys; lists in `grid` are axes; name: of the experiment, also of its output
    (runs/NAME).  None: left out, as in a file.  SpecError with all
    problems.
    """
    parts = {"dataset": dataset, "generator": generator, "policy": policy, "sampling": sampling}
    sizes = {"n_real": n_real, "n_synthetic": n_synthetic, "arrival": arrival, "tasks": tasks}
    what = {"question": question, "base": _given({**parts, **sizes}), "grid": grid}
    which = {"without": without, "seeds": seeds, "generations": generations, "metrics": metrics}
    asked = {"collapse": collapse, "threshold": threshold, "resources": resources, "keep": keep}
    sections = {**what, **which, **asked, "out": out, "tracking": tracking}
    try:
        return _checked(read(plain(_given(sections)), name=name, source="engine.sweep"))
    except PartError as error:
        raise _unfit("engine.sweep", error) from None


def _given(values: Values) -> JsonObject:
    return {key: value for key, value in values.items() if value is not None}


def _unfit(source: str, error: PartError) -> SpecError:
    """A class that is no part: it breaks a rule of parts."""
    return SpecError(source, [Problem(str(error))])


def _checked(spec: Spec) -> Sweep:
    """SpecError where no tracker is at the address that is asked for."""
    from engine.tracking.tracker import refusal

    if problem := refusal(spec.tracking):
        raise SpecError(spec.source, [Problem(problem, ("tracking",))])
    return Sweep(spec)


def sweep_of(what: Sweep | str | Path) -> Sweep:
    """The experiment itself, or that of a file."""
    return what if isinstance(what, Sweep) else load(what)


def open_store(spec: Spec) -> Any:
    """The output, to look at.  EnvironmentProblem where its address cannot be opened."""
    from engine.store.outputs import reached

    return reached(spec.out)
