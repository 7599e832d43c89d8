"""Where collapse begins along the synthetic fraction: the search, and what it found.

answer = engine.threshold("experiments/threshold_mixture.yaml", budget=40, local=True)
answer.typical.estimate, answer.typical.low, answer.typical.high
answer.safe.estimate, answer.safe.low, answer.safe.risk
answer.frame(); answer.plot()
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from engine.api import show
from engine.api.arguments import named
from engine.api.experiment import Sweep
from engine.api.result import Result
from engine.api.run import at_once, work
from engine.experiment.reader import SpecError
from engine.experiment.yaml import Problem
from engine.outcome.answer import Verdict
from engine.running.session import Options

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from analysis.threshold.workflows import Workflow


@dataclass(frozen=True)
class Level:
    """A synthetic fraction up to which a share `risk` of one workflow's lineages collapses, with
    its interval.

    risk        1/2 at the typical fraction; at the safe one what the file names, 10 % otherwise.
    estimate    None: there is none on the axis, or too little is known (see verdict, words).
    low, high   ends of the interval; None: it reaches the end of the axis.
    confidence  of the interval.
    lineages    with a value; seeds: different ones among them.
    safe        beside a typical fraction, the safe one of the same workflow.
    """

    workflow: str
    risk: float
    estimate: float | None
    low: float | None
    high: float | None
    confidence: float
    verdict: Verdict
    words: str
    lineages: int
    seeds: int
    safe: Level | None = None

    def __repr__(self) -> str:
        return f"<Level {self.workflow}: {self.words}>"


class Answer:
    """What a search knows of every workflow of an experiment.  Made by `engine.threshold`.

    typical  the fraction from which half of the lineages collapse.
    safe     the fraction up to which at most a named risk collapses.
    """

    def __init__(self, sweep: Sweep, changed: tuple[str, ...] | None = None) -> None:
        self._asked, self._changed = sweep, changed

    @cached_property
    def result(self) -> Result:
        """The lineages that were run, as a result."""
        return Result(self._asked, self._changed)

    @property
    def sweep(self) -> Sweep:
        """The experiment, with the lineages that the search has added to it."""
        return self.result.sweep

    @property
    def name(self) -> str:
        """What files and the tracker call the experiment."""
        return self._asked.name

    @property
    def out(self) -> str:
        """The folder or URL it is read from."""
        return self._asked.out

    @property
    def changed(self) -> tuple[str, ...]:
        """What behind the output's rows has changed since they were made, see `Result`."""
        return self.result.changed

    @cached_property
    def _workflows(self) -> Mapping[str, Workflow]:
        from analysis.threshold.workflows import read

        return read(self._asked.spec, self.result.store)

    @cached_property
    def workflows(self) -> tuple[Level, ...]:
        """The typical fraction of every workflow, in the order of the experiment."""
        return tuple(map(_typical, self._workflows.values()))

    @property
    def typical(self) -> Level:
        """The typical fraction, of an experiment with one workflow; LookupError with several."""
        if len(self.workflows) != 1:
            names = ", ".join(own.workflow for own in self.workflows)
            raise LookupError(
                f"this experiment has {len(self.workflows)} workflows ({names}); take one of "
                "answer.workflows, or answer[name]"
            )
        return self.workflows[0]

    @property
    def safe(self) -> Level:
        """The safe fraction, of an experiment with one workflow; LookupError with several."""
        safe = self.typical.safe
        assert safe is not None
        return safe

    def __getitem__(self, workflow: str) -> Level:
        """The typical fraction of one workflow, by its name; `.safe` is the safe one."""
        known = {own.workflow: own for own in self.workflows}
        if workflow not in known:
            raise KeyError(f"{workflow!r}; there are: {', '.join(known)}")
        return known[workflow]

    def table(self) -> pd.DataFrame:
        """A row per workflow: the typical fraction (estimate, low, high), the safe one (safe,
        safe_low, safe_high, at this risk), confidence, verdict, words, lineages, seeds.
        """
        import pandas as pd

        rows = []
        for own in self.workflows:
            safe = own.safe
            assert safe is not None
            ends = {"safe": safe.estimate, "safe_low": safe.low, "safe_high": safe.high}
            rows.append({**vars(own), "risk": safe.risk, **ends})
        return pd.DataFrame(rows)

    def frame(self) -> pd.DataFrame:
        """A row per lineage that ended: workflow, lineage, synthetic_fraction, seed, y (how far it
        went towards collapse: infinite in an absorbing state, NaN without a value) and the level.
        """
        import pandas as pd

        rows = [
            {
                "workflow": own.label,
                "lineage": lineage,
                "synthetic_fraction": outcome.fraction,
                "seed": outcome.seed,
                "y": outcome.y,
                "level": own.level,
            }
            for own in self._workflows.values()
            for lineage, outcome in own.known.items()
        ]
        columns = ["workflow", "lineage", "synthetic_fraction", "seed", "y", "level"]
        return pd.DataFrame(rows, columns=columns)

    @named
    def plot(self, *, width: float = 7.2) -> Figure:
        """Draw how far each lineage went, against its synthetic fraction, with the thresholds.

        width: in inches.  LookupError before there are lineages at two fractions.
        """
        return self.result.plot.response(width=width)

    @named
    def report(self, to: str | Path, *, pictures: bool = True) -> Path:
        """Write the page of `ouro report`, see `Result.report`."""
        return self.result.report(to, pictures=pictures)

    def __repr__(self) -> str:
        said = "; ".join(f"{own.workflow}: {own.words}" for own in self.workflows)
        return f"<Answer {self._asked.name}: {said}>"

    def _repr_html_(self) -> str:
        spec = self._asked.spec
        about = f"collapse: {spec.rule_words()}, generation {spec.generations}"
        return show.heading(self._asked.name, about) + show.table(self.table())


def _typical(own: Workflow) -> Level:
    a, safe = own.answer, own.answer.safe
    ends = (None, None, None) if safe is None else (safe.estimate, safe.low, safe.high)

    def level(risk: float, ends: tuple[float | None, ...], safe: Level | None = None) -> Level:
        estimate, low, high = ends
        about = (a.verdict, a.words, a.lineages, a.seeds)
        return Level(own.label, risk, estimate, low, high, a.confidence, *about, safe)

    return level(0.5, (a.estimate, a.low, a.high), level(own.design.risk, ends))


@named
def threshold(
    sweep: Sweep | str | Path,
    out: str | Path | None = None,
    *,
    budget: int | None = None,
    width: float | None = None,
    confidence: float | None = None,
    risk: float | None = None,
    local: bool = False,
    address: str | None = None,
    cpus: int | None = None,
    allow_commands: bool = False,
    progress: bool | None = None,
) -> Answer:
    """Search where collapse begins along the synthetic fraction, workflow by workflow.

    budget: lineages of one workflow, at most; width: of the interval at which to stop; confidence:
    of the intervals; risk: the share that may collapse up to the safe fraction; None: as the
    experiment says.  The other arguments, Ctrl-C and errors are those
    of `run`.  Lineages that the output has count, and the same call goes on.
    """
    asked = {"budget": budget, "width": width, "confidence": confidence, "risk": risk}
    changed = {key: value for key, value in asked.items() if value is not None}
    wanted = at_once(sweep, out, {"threshold": changed} if changed else {})
    if wanted.spec.threshold is None:
        said = "there is no threshold section; add one, such as  threshold: {width: 0.05}"
        raise SpecError(wanted.spec.source, [Problem(said, ("threshold",))])
    options = Options((), local, address, cpus, allow_commands=allow_commands)
    return Answer(wanted, work(wanted, options, progress, search=True))
