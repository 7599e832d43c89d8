"""Where collapse begins along the synthetic fraction: the search, and what it found.

answer = engine.threshold("experiments/threshold_mixture.yaml", budget=40, local=True)
answer.typical.estimate, answer.typical.low, answer.typical.high
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
    """Where collapse begins for the lineages of one workflow, with its interval.

    estimate    synthetic fraction at which the mean of the collapse functional passes its level;
                None: there is none on the axis, or too little is known (see verdict, words).
    low, high   ends of the interval; None: not bracketed on that side.
    confidence  of the interval.
    lineages    with a value; seeds: different ones among them.
    """

    workflow: str
    estimate: float | None
    low: float | None
    high: float | None
    confidence: float
    verdict: Verdict
    words: str
    lineages: int
    seeds: int

    def __repr__(self) -> str:
        return f"<Level {self.workflow}: {self.words}>"


class Answer:
    """What a search knows of every workflow of an experiment.  Made by `engine.threshold`.

    There is one estimate of each: the *typical* threshold, at which the mean over lineages passes
    the level.  A *safe* one, below which only a stated share of lineages collapses, is not
    estimated by this version, and so is not offered.
    """

    def __init__(self, sweep: Sweep) -> None:
        self._asked = sweep

    @cached_property
    def result(self) -> Result:
        """The lineages that were run, as a result."""
        return Result(self._asked)

    @cached_property
    def _workflows(self) -> Mapping[str, Workflow]:
        from analysis.threshold.workflows import read

        return read(self._asked.spec, self.result.store)

    @cached_property
    def workflows(self) -> tuple[Level, ...]:
        """The typical threshold of every workflow, in the order of the experiment."""
        return tuple(map(_level, self._workflows.values()))

    @property
    def typical(self) -> Level:
        """The typical threshold, of an experiment with one workflow; LookupError with several."""
        if len(self.workflows) != 1:
            names = ", ".join(own.workflow for own in self.workflows)
            raise LookupError(
                f"this experiment has {len(self.workflows)} workflows ({names}); take one of "
                "answer.workflows, or answer[name]"
            )
        return self.workflows[0]

    def __getitem__(self, workflow: str) -> Level:
        known = {own.workflow: own for own in self.workflows}
        if workflow not in known:
            raise KeyError(f"{workflow!r}; there are: {', '.join(known)}")
        return known[workflow]

    def table(self) -> pd.DataFrame:
        """A row per workflow: estimate, low, high, confidence, verdict, lineages, seeds."""
        import pandas as pd

        return pd.DataFrame([vars(own) for own in self.workflows])

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
        rule = spec.collapse.words() if spec.collapse else ""
        about = f"collapse: {rule}, generation {spec.generations}"
        return show.heading(self._asked.name, about) + show.table(self.table())


def _level(own: Workflow) -> Level:
    a = own.answer
    interval = (a.estimate, a.low, a.high, a.confidence)
    return Level(own.label, *interval, a.verdict, a.words, a.lineages, a.seeds)


@named
def threshold(
    sweep: Sweep | str | Path,
    out: str | Path | None = None,
    *,
    budget: int | None = None,
    width: float | None = None,
    confidence: float | None = None,
    local: bool = False,
    address: str | None = None,
    cpus: int | None = None,
    allow_commands: bool = False,
    progress: bool | None = None,
) -> Answer:
    """Search where collapse begins along the synthetic fraction, workflow by workflow.

    budget: lineages of one workflow, at most; width: of the interval at which to stop; confidence:
    of the interval; None: as the experiment says.  The other arguments, Ctrl-C and errors are those
    of `run`.  Lineages that the output has count, and the same call goes on.
    """
    asked = {"budget": budget, "width": width, "confidence": confidence}
    changed = {key: value for key, value in asked.items() if value is not None}
    wanted = at_once(sweep, out, {"threshold": changed} if changed else {})
    if wanted.spec.threshold is None:
        said = "there is no threshold section; add one, such as  threshold: {width: 0.05}"
        raise SpecError(wanted.spec.source, [Problem(said, ("threshold",))])
    options = Options((), local, address, cpus, allow_commands=allow_commands)
    work(wanted, options, progress, search=True)
    return Answer(wanted)
