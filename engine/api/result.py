"""What an output has of an experiment: numbers as frames, samples as arrays, figures, the page.

    result = engine.run(sweep, out="runs/mine", local=True)    # or engine.open("runs/mine")
    result.frame()        # a row per lineage and generation
    result.cells()        # a row per cell: start, end, drift, verdict
    result.kept()         # a row per cell: what it keeps of earlier tasks
    result.paired("fid", at=6, a={"policy": "replace"}, b={"policy": "accumulate"})
    result.samples(cell=0, seed=0, t=3); result.model(cell=0, seed=0, t=3)

It is read once, when something is first asked of it: a later run is seen by a new result.
"""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.api import show
from engine.api.arguments import named
from engine.api.experiment import Sweep, open_store
from engine.commands import permitting
from engine.experiment.values import nearest
from engine.files import JsonObject
from engine.lineage.generations import GenerationCache
from engine.lineage.history import History, histories
from engine.lineage.recipe import path
from engine.lineage.recorded import changes
from engine.names import by_cell, names_of
from engine.outcome.continual import kept
from engine.outcome.control import controls
from engine.outcome.summary import Cell, collapsed, summarise
from engine.samples import Samples
from engine.seams.seam import shown_as
from engine.spec import LineageSpec
from engine.status import Status
from engine.store.rows import Generation
from engine.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from analysis.frame.paired import Contrast
    from analysis.frame.wide import ByLineage
    from engine.api.plots import Plots
    from engine.parts import Generator


class Result:
    """The lineages of a sweep as its output has them.  Made by `engine.run` and `engine.open`."""

    def __init__(self, sweep: Sweep, changed: tuple[str, ...] | None = None) -> None:
        self._asked, self._changed = sweep, changed

    # ---- what was read ----

    @cached_property
    def store(self) -> Store:
        """The output."""
        store: Store = open_store(self._asked.spec)
        store.refresh()
        return store

    @cached_property
    def sweep(self) -> Sweep:
        """The experiment; with the lineages that a search has added to it."""
        if self._asked.spec.threshold is None:
            return self._asked
        from analysis.threshold.workflows import grown

        return Sweep(grown(self._asked.spec, self.store))

    @cached_property
    def histories(self) -> Mapping[str, History]:
        """What is committed of each lineage, by its id."""
        return histories(self.sweep.spec, self.store)

    @cached_property
    def _axes(self) -> dict[str, ByLineage]:
        from analysis.frame.wide import axes

        return axes(self.sweep.lineages)

    @cached_property
    def _frame(self) -> pd.DataFrame:
        from analysis.frame.wide import wide

        return wide([self.histories[spec.id] for spec in self.sweep.lineages], self._axes)

    @property
    def name(self) -> str:
        """What files and the tracker call the experiment."""
        return self._asked.name

    @property
    def out(self) -> str:
        """The folder or URL it is read from."""
        return self._asked.out

    @property
    def complete(self) -> bool:
        """Whether every lineage has an outcome: its last generation, a finding or a failure."""
        return all(own.finished for own in self.histories.values())

    @cached_property
    def changed(self) -> tuple[str, ...]:
        """What behind the output's rows has changed since they were made, a line each: data, code
        or revisions.  Of a run: what had changed when it began, and was made anew.
        """
        if self._changed is not None:
            return self._changed
        return tuple(changes(self._asked.spec, self.store))

    # ---- numbers ----

    def frame(self) -> pd.DataFrame:
        """A row per lineage and generation: lineage, seed, t, what tells cells apart, every metric
        with its floor and count (`fid`, `fid_floor`, `fid_floor_sd`, `fid_n`), status.

        A copy.  Columns and how undefined values and failures stand in it: analysis/frame/wide.py.
        """
        return self._frame.copy()

    def cells(self) -> pd.DataFrame:
        """A row per cell, in the order of the grid: the metric of the collapse rule (or the first
        one) at generation 0 and at the end, its drift (end / start; end - start where drift_by is
        difference; NaN where these are of other tasks), and the verdict.

        start, end, drift are means over the seeds; drift_low and drift_high are the least and the
        greatest of them, as `ouro status` shows.  collapsed of judged: how many lineages are past
        the collapse rule at the last generation; passed: how many were at some generation (first
        passage), come back or not.
        """
        import pandas as pd

        from analysis.frame.wide import typed

        groups = by_cell(self.sweep.lineages).values()
        found = zip(groups, summarise(self.sweep.spec, self.histories), strict=True)
        return typed(pd.DataFrame([self._cell(own[0], cell) for own, cell in found]))

    def kept(self) -> pd.DataFrame:
        """A row per cell of a stream of tasks: accuracy, forgetting, transfer, drift, with limits,
        and words.  Empty without tasks.  The columns: analysis/collapse/continual.py.
        """
        from analysis.collapse.continual import numbers

        return numbers(kept(self.sweep.spec, self.histories))

    def controls(self) -> pd.DataFrame:
        """A row per cell that was run again at a quarter of n (`control: size`): the change of the
        headline metric at both sizes, and continued to n = infinity (limit), with its interval.
        """
        import pandas as pd

        found = controls(self.sweep.spec, self.histories)
        return pd.json_normalize([own.to_dict() for own in found], sep="_")

    def _cell(self, spec: LineageSpec, cell: Cell) -> JsonObject:
        """A row of `cells`."""
        start, end, drift = cell.start, cell.last, cell.drift
        return {
            "cell": cell.label,
            **{name: values.get(spec.id) for name, values in self._axes.items()},
            "lineages": cell.lineages,
            "generations": cell.generations,
            "metric": cell.metric,
            "n": math.nan if cell.n is None else cell.n,
            "start": start.mean if start else math.nan,
            "end": end.mean if end else math.nan,
            "drift_by": cell.drift_by,
            "drift": drift.mean if drift else math.nan,
            "drift_low": drift.low if drift else math.nan,
            "drift_high": drift.high if drift else math.nan,
            "collapsed": cell.collapsed,
            "judged": cell.judged,
            "passed": cell.passed,
            "verdict": cell.verdict,
        }

    @named
    def paired(
        self,
        metric: str,
        *,
        at: int,
        a: Mapping[str, Any],
        b: Mapping[str, Any],
        confidence: float = 0.95,
    ) -> Contrast:
        """Compare a metric between two groups of lineages at one generation, seed by seed.

        a, b: values of the frame's columns, such as {"policy": "replace"}.  What is paired and how
        the interval is made: analysis/frame/paired.py.  ValueError where nothing pairs.
        """
        from analysis.frame.paired import paired

        for name in (*a, *b):
            if name not in self._axes:
                raise ValueError(
                    f"no column {name!r} tells cells apart{nearest(name, self._axes)}; there are: "
                    f"{', '.join(self._axes)}"
                )
        self._measured(metric)
        axes = list(self._axes)
        return paired(self._frame, metric, at=at, a=a, b=b, axes=axes, confidence=confidence)

    def _measured(self, metric: str) -> None:
        """ValueError for a metric that no row has."""
        about = {"lineage", "seed", "t", *self._axes, "status", "reason", "undefined"}
        there = [name for name in self._frame.columns if name not in about]
        if metric not in there:
            raise ValueError(
                f"{metric!r} was not measured{nearest(metric, there)}; there are: "
                f"{', '.join(there) or 'none'}"
            )

    @property
    def failures(self) -> pd.DataFrame:
        """A row per lineage that ended by an error: what it was and the generation it came at;
        printed: where in the output its programs' logs lie, with .out and .err at the end, or ''.
        """
        import pandas as pd

        rows = []
        for own in self.histories.values():
            if own.failure is not None:
                failure = own.failure
                about = {"lineage": own.spec.id, "cell": self._names.cell(own.spec)}
                error = {"error": failure.error, "message": failure.message}
                error["printed"] = failure.printed
                rows.append({**about, "seed": own.spec.seed, "t": failure.t, **error})
        columns = ["lineage", "cell", "seed", "t", "error", "message", "printed"]
        return pd.DataFrame(rows, columns=columns)

    @property
    def findings(self) -> pd.DataFrame:
        """A row per lineage that the study is about: it collapsed by the rule, diverged, lost a
        class, or had nothing left to draw.
        """
        import pandas as pd

        rows = []
        for own in (self.histories[spec.id] for spec in self.sweep.lineages):
            bad = collapsed(own, self.sweep.spec.collapse)
            odd = own.status not in (Status.OK, Status.UNFINISHED, Status.FAILED)
            if bad or odd:
                about = {"lineage": own.spec.id, "cell": self._names.cell(own.spec)}
                end = {"status": own.status.value, "reason": own.reason, "collapsed": bad}
                rows.append({**about, "seed": own.spec.seed, "t": own.t, **end})
        columns = ["lineage", "cell", "seed", "t", "status", "reason", "collapsed"]
        return pd.DataFrame(rows, columns=columns)

    # ---- what lies behind them ----

    @named
    def samples(
        self,
        cell: int | str = 0,
        seed: int | None = None,
        *,
        t: int | None = None,
        allow_commands: bool = False,
    ) -> Samples:
        """The samples that generation t drew: x [n, ...], y [n] or None, as numpy arrays.

        cell: its place or name in `cells()`; seed: None, the first; t: None, the last committed.
        What was not kept is made again, bit for bit, which may take as long as training did;
        allow_commands: also by the programs that the experiment has command lines of.
        LookupError where there is no such lineage or generation, or it drew nothing; NotAllowed, a
        PermissionError, where a program would have to be run.
        """
        cache, row = self._generation(cell, seed, t)
        if row.draw is None:
            raise LookupError(f"generation {row.t} drew nothing: {row.status.value}, {row.reason}")
        with permitting() if allow_commands else nullcontext():
            return cache.samples(row.t)

    @named
    def model(
        self,
        cell: int | str = 0,
        seed: int | None = None,
        *,
        t: int | None = None,
        allow_commands: bool = False,
    ) -> Generator:
        """The generator of generation t with its learnt values, ready to `sample`; its repr says
        which it is.

        Arguments and errors as of `samples`.
        """
        cache, row = self._generation(cell, seed, t)
        with permitting() if allow_commands else nullcontext():
            model = cache.generator(row.t)
        origin = f"generation {row.t} of {self._names.lineage(cache.spec)}, out {self.out}"
        shown_as(model, f"<Generator {cache.spec.generator.label}: {origin}>")
        return model

    def _generation(
        self, cell: int | str, seed: int | None, t: int | None
    ) -> tuple[GenerationCache, Generation]:
        """One generation, and what makes or reads its samples and models."""
        spec = self._lineage(cell, seed)
        rows = {row.t: row for row in self.histories[spec.id].rows}
        if not rows:
            raise LookupError(f"{self._names.lineage(spec)} has no generation yet")
        at = max(rows) if t is None else t
        if at not in rows:
            last = max(rows)
            raise LookupError(f"{self._names.lineage(spec)} has generations 0 to {last}, not {at}")
        nodes = path(spec, max(rows))
        return GenerationCache(spec, self.store, nodes, writes=False), rows[at]

    def _lineage(self, cell: int | str, seed: int | None) -> LineageSpec:
        groups = list(by_cell(self.sweep.lineages).values())
        called = {self._names.cell(own[0]): own for own in groups}
        if isinstance(cell, str) and cell not in called:
            said = f"no cell is called {cell!r}{nearest(cell, called)}"
            raise LookupError(f"{said}; there are: {', '.join(called)}")
        if isinstance(cell, int) and not -len(groups) <= cell < len(groups):
            raise LookupError(f"there are {len(groups)} cells, from 0 on, not {cell}")
        members = called[cell] if isinstance(cell, str) else groups[cell]
        seeds = {spec.seed: spec for spec in members}
        wanted = members[0].seed if seed is None else seed
        if wanted not in seeds:
            there = ", ".join(map(str, seeds))
            raise LookupError(f"this cell has the seeds {there}, not {wanted}")
        return seeds[wanted]

    # ---- figures and the page ----

    @cached_property
    def plot(self) -> Plots:
        """Its figures: `plot.curve("fid")`, `plot.response()`, ...; `plot.names()` lists them."""
        from engine.api.plots import Plots

        return Plots(self)

    @named
    def report(self, to: str | Path, *, pictures: bool = True) -> Path:
        """Write the page of `ouro report`, and return where it is.

        to: a file ending in .html, complete in itself; or a folder, which also gets every figure
        with its numbers.  pictures: figures that need samples, too.
        """
        from analysis.report.page import placed, write

        spec = self._asked.spec
        return placed(Path(to), lambda f, alone: write(spec, f, pictures=pictures, alone=alone))

    # ---- how it shows itself ----

    @cached_property
    def _names(self) -> Any:
        return names_of(self.sweep.spec)

    def _counts(self) -> str:
        counts = Counter(own.status.value for own in self.histories.values())
        return ", ".join(f"{n} {status}" for status, n in counts.most_common()) or "no lineages"

    def __repr__(self) -> str:
        lineages = show.counted(len(self.sweep.lineages), "lineage")
        return f"<Result {self.name}: {lineages} ({self._counts()}), out {self.out}>"

    def _repr_html_(self) -> str:
        parts = [show.heading(repr(self)[1:-1], self.sweep.question)]
        if self.sweep.spec.collapse is not None:
            parts.append(show.lines([f"collapse: {self.sweep.spec.collapse.words()}"]))
        parts.append(show.lines(self.changed))
        cells = self.cells()  # their names say what tells them apart
        parts.append(show.table(cells.drop(columns=[n for n in self._axes if n in cells])))
        if len(failed := self.failures):
            parts += [show.heading("failures"), show.table(failed)]
        return "".join([*parts, self._film()])

    def _film(self) -> str:
        """The film strip of the lineage that drifted most, of text as text; or nothing."""
        from engine.running.supply import most_drifted
        from engine.tracking import texts

        shown = most_drifted(self.sweep.spec, self.histories)
        if shown and texts.is_text(shown[0].spec):
            film = texts.film(self.store, shown)
            return "" if film is None else show.text(film.text, self._names.lineage(film.spec))
        from engine.tracking.pictures import film_strip

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "film_strip.png"
            drawn = film_strip(self.store, shown, file)
            if drawn is None:
                return ""
            name = self._names.lineage(drawn.spec)
            said = show.lines([f"{name}, a row or panel per generation"])
            return said + show.image(file.read_bytes(), f"samples of {name}")
