"""What the figures and the page of a sweep have in common: a figure with its numbers, and what was
found, computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd
from matplotlib.figure import Figure

from analysis.collapse import lacks
from analysis.collapse.functional import functional, times
from analysis.collapse.survival import two_questions
from analysis.frame.tables import collapse_share, told_apart
from analysis.report.answers import grouped, thresholds
from analysis.theory.laws import against
from analysis.threshold.workflows import Workflow
from engine.outcome.continual import Kept
from engine.spec import Sweep

# sections of the page, in its order; details are folded away
KEPT, SAMPLES = "What is kept of earlier tasks", "The samples"
LACKS, COLLAPSE = "What generation 0 already lacks", "Where collapse begins"
CURVES, DETAILS = "Over the generations", "Details"


@dataclass(frozen=True)
class Shown:
    """A figure of the report."""

    name: str  # of its files
    section: str
    alt: str  # what it shows, for those who cannot see it
    numbers: pd.DataFrame
    draw: Callable[[float], Figure]


@dataclass(frozen=True)
class Findings:
    """What the figures and the page have in common, computed once."""

    sweep: Sweep
    frame: pd.DataFrame
    outcomes: pd.DataFrame | None  # with a column group
    answers: pd.DataFrame | None
    shares: pd.DataFrame | None
    laws: pd.DataFrame
    passages: pd.DataFrame | None = None  # first passage of each lineage, with a column group
    states: pd.DataFrame | None = None  # beside the state at the last generation, per fraction
    extractors: Mapping[str, Sequence[str]] = field(default_factory=dict)  # of metrics
    kept: Sequence[Kept] = ()  # of earlier tasks, per cell; empty without tasks

    @cached_property
    def ratios(self) -> pd.DataFrame:
        """Of drawn to held-out variance, with what the founders' predict; nothing of tasks, whose
        founder has seen the first one alone.
        """
        if self.kept:
            return pd.DataFrame(columns=lacks.COLUMNS)
        return lacks.ratios(self.frame, self.sweep.lineages)

    @cached_property
    def lacks(self) -> pd.DataFrame:
        """The same over the seeds of each cell."""
        return lacks.over_cells(self.ratios)

    @classmethod
    def of(
        cls,
        sweep: Sweep,
        frame: pd.DataFrame,
        searched: Iterable[Workflow] = (),
        extractors: Mapping[str, Sequence[str]] | None = None,
        kept: Sequence[Kept] = (),
    ) -> Findings:
        """searched: the workflows of a search, which say how it went about each.  extractors: what
        each metric was measured by (`measured_by.extractors`).  kept: `outcome.continual.kept`.
        """
        laws = against(frame, sweep.lineages)
        frame = told_apart(frame, sweep.lineages)
        if not sweep.collapse or frame.empty:
            found = extractors or {}
            return cls(sweep, frame, None, None, None, laws, extractors=found, kept=kept)
        outcomes = grouped(functional(frame, sweep.collapse, generations=sweep.generations))
        names = outcomes.drop_duplicates("cell").set_index("cell")["group"]
        designs = {own.label: own.design for own in searched}
        shares = collapse_share(outcomes)
        shares = shares.assign(group=[names[cell] for cell in shares["cell"]])
        passages = grouped(times(frame, sweep.collapse, generations=sweep.generations))
        states = two_questions(passages, outcomes)
        answers = thresholds(outcomes, designs)
        return cls(
            sweep,
            frame,
            outcomes,
            answers,
            shares,
            laws,
            passages,
            states,
            extractors or {},
            kept,
        )
