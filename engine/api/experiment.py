"""An experiment as an object: from a file, changed in place, or from nothing but arguments.

sweep = engine.load("quickstart.yaml", seeds=1, base={"generator.steps": 100})
sweep = engine.sweep(dataset="digits", generator="vae", n_real=1200, generations=6, ...)
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
from engine.names import names_of
from engine.planning.plan import Plan as Counts
from engine.registry import PartError
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
    def generations(self) -> int:
        """How many follow generation 0."""
        return self.spec.generations

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is measured, by the names that rows have."""
        return tuple(metric.id for metric in self.spec.metrics)

    @property
    def document(self) -> JsonObject:
        """The values of its file, as a copy; {} where it was not made of any."""
        return copy.deepcopy(self.spec.document)

    def at(self, out: str | Path | None) -> Sweep:
        """The same experiment in another output; None: in its own."""
        return self if out is None else Sweep(replace(self.spec, out=str(out)))

    def afresh(self, overrides: Overrides = ()) -> Sweep:
        """The same experiment with what its parts name on disk looked at anew, and some of its
        values changed.
        """
        if not self.spec.document:
            return self
        name, source = self.name, self.spec.source
        spec = read(self.spec.document, name=name, source=source, overrides=overrides)
        return Sweep(replace(spec, out=self.out))

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

        here = self.at(out)
        store = open_store(here.spec)
        return Plan(here, make_plan(here.spec, store, cpus or cpus_here()))

    def __repr__(self) -> str:
        return (
            f"<Sweep {self.name}: {len(self.lineages)} lineages, generations 0 to "
            f"{self.generations}, {len(self.metrics)} metrics, out {self.out}>"
        )

    def _repr_html_(self) -> str:
        cells = {spec.cell_id: spec for spec in self.lineages}
        names = names_of(self.spec)
        said = [names.cell(spec) for spec in list(cells.values())[: show.MOST_ROWS]]
        rule = [f"collapse: {self.spec.collapse.words()}"] if self.spec.collapse else []
        more = [f"... {len(cells)} cells in all"] if len(cells) > len(said) else []
        about = [f"measures {', '.join(self.metrics) or 'nothing'}", *rule]
        return show.heading(repr(self)[1:-1], self.question) + show.lines([*about, *said, *more])


class Plan:
    """What a sweep will compute, before anything runs.

    counts  the numbers: cells, lineages, asked, unique, present, missing, seconds, bytes, ...
    """

    def __init__(self, sweep: Sweep, counts: Counts) -> None:
        self.sweep, self.counts = sweep, counts

    @property
    def missing(self) -> int:
        """Generations that are left to compute."""
        return self.counts.missing

    @property
    def present(self) -> int:
        """Generations that the output has."""
        return self.counts.present

    @property
    def seconds(self) -> float | None:
        """Forecast of what is missing; None where nothing is known of a generator."""
        return self.counts.seconds

    def __repr__(self) -> str:
        return (
            f"<Plan of {self.sweep.name}: {self.missing} generations to compute, {self.present} "
            f"of {self.counts.unique} there, out {self.sweep.out}>"
        )

    def __str__(self) -> str:
        return show.text_of(self._say)

    def _repr_html_(self) -> str:
        return show.html_of(self._say)

    def _say(self, console: Any) -> None:
        from engine.console.tables import show_plan

        show_plan(console, self.counts, self.sweep.spec)


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
    sizes = {"n_real": n_real, "n_synthetic": n_synthetic, "arrival": arrival}
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
    from engine.running.session import EnvironmentProblem
    from engine.store.store import Store

    try:
        return Store(spec.out, repairs=False)
    except (ValueError, ImportError) as error:
        raise EnvironmentProblem(f"cannot open the output {spec.out}: {error}") from None
