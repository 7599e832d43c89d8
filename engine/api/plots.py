"""The figures of a result, as matplotlib figures: those of the report, each by its name, and the
curve of any metric.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from engine.api.arguments import named
from engine.experiment.values import nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from analysis.report.findings import Findings, Shown
    from engine.api.result import Result

INCHES = 7.2  # wide


class Plots:
    """`result.plot`: each method draws one figure; `names()` says which this result has."""

    def __init__(self, result: Result) -> None:
        self._result = result

    @cached_property
    def _findings(self) -> Findings:
        from analysis.frame.rows import from_store
        from analysis.report.findings import Findings
        from analysis.report.measured_by import extractors
        from engine.outcome.continual import kept

        sweep = self._result.sweep.spec
        by = extractors(sweep, self._result.store)
        found = kept(sweep, self._result.histories)
        return Findings.of(sweep, from_store(sweep, progress=False), extractors=by, kept=found)

    @cached_property
    def _shown(self) -> dict[str, Shown]:
        """Every figure of the report by name."""
        from analysis.report.figures import figures

        return {shown.name: shown for shown in figures(self._findings, self._result.store)}

    def names(self) -> list[str]:
        """What `figure` can draw here."""
        return list(self._shown)

    def __repr__(self) -> str:
        there = ", ".join(self.names()) or "none yet"
        return f"<Plots of {self._result.sweep.name}: curve of a metric; figures {there}>"

    @named
    def figure(self, name: str, *, width: float = INCHES) -> Figure:
        """Draw a figure of the report by its name; LookupError where this result has no such one.

        width: in inches.
        """
        if name not in self._shown:
            there = ", ".join(self._shown) or "none yet"
            raise LookupError(f"no figure {name!r} here{nearest(name, self._shown)}; {there}")
        return self._shown[name].draw(width)

    @named
    def curve(self, metric: str, *, width: float = INCHES) -> Figure:
        """Draw a metric over the generations, a line per cell with its interval over seeds, the
        real-vs-real floor, the level of the collapse rule, and theory where it is known.

        metric: a key of a row, such as `fid` or `precision_recall/recall`; LookupError where it
        was not measured.
        """
        from analysis.report.figures import curve_of

        keys = [str(key) for key in self._findings.frame["key"].unique()]
        if metric not in keys:
            there = ", ".join(filter(None, keys)) or "none yet"
            said = f"{metric!r} was not measured{nearest(metric, keys)}"
            raise LookupError(f"{said}; there are: {there}")
        return curve_of(self._findings, metric).draw(width)

    @named
    def response(self, *, width: float = INCHES) -> Figure:
        """Draw how far each lineage went towards collapse, against its synthetic fraction."""
        return self._collapse("response", width)

    @named
    def phase_diagram(self, *, width: float = INCHES) -> Figure:
        """Draw where along the synthetic fraction collapse begins, for every workflow."""
        return self._collapse("phase_diagram", width)

    @named
    def heat_map(self, *, width: float = INCHES) -> Figure:
        """Draw the share of lineages that collapsed, generator by synthetic fraction."""
        return self._collapse("heat_map", width)

    @named
    def survival(self, *, width: float = INCHES) -> Figure:
        """Draw first passage, the share of lineages that has not passed the collapse level yet by
        generation (Kaplan-Meier), beside the state at the last generation.
        """
        return self._collapse("survival", width)

    @named
    def film(self, *, width: float = INCHES) -> Figure:
        """Draw samples of one lineage per workflow: pictures, a row per generation; or the
        densities of points.
        """
        return self.figure("density" if "density" in self._shown else "film", width=width)

    def _collapse(self, name: str, width: float) -> Figure:
        """A figure that needs a collapse rule, or several fractions; LookupError without."""
        rule = self._result.sweep.spec.collapse
        if name not in self._shown:
            why = "needs a collapse rule, which this experiment has none of"
            if rule is not None:
                why = (
                    "needs lineages at several synthetic fractions"
                    if name in ("response", "phase_diagram")
                    else "needs lineages that passed the collapse level"
                )
            raise LookupError(f"{name} {why}; there are: {', '.join(self._shown) or 'none yet'}")
        return self.figure(name, width=width)
