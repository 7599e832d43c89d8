"""The film of text: what one lineage of each workflow wrote over the generations, to be read."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.report import samples as specimens
from analysis.report.findings import Findings
from analysis.report.samples import MOST_WORKFLOWS
from engine.samples import Samples
from engine.spec import LineageSpec
from engine.store.store import Store
from engine.tracking.texts import SHOWN, is_text, sequences


@dataclass(frozen=True)
class Film:
    """What a workflow's lineage wrote: ("real" or the generation, its sequences), in order; and
    what there is to say of how they are shown.
    """

    title: str
    rows: list[tuple[str, list[str]]]
    note: str = ""

    @property
    def text(self) -> str:
        """The same as a file: a block for each sequence."""
        blocks = (
            f"{self.title}, {_when(when)}, sequence {i}:\n{own}\n"
            for when, texts in self.rows
            for i, own in enumerate(texts, 1)
        )
        return "\n".join(blocks)


def _when(when: str) -> str:
    return when if when == "real" else f"generation {when}"


def films(findings: Findings, store: Store) -> list[Film]:
    """One for each workflow, as many as the page shows; none of data that are no text."""
    if findings.frame.empty:
        return []
    every = specimens.chosen(findings.sweep, findings.frame)
    shown = {name: spec for name, spec in every.items() if is_text(spec)}
    shown = dict(list(shown.items())[:MOST_WORKFLOWS])
    frames = specimens.strips(findings.sweep, store, shown)
    return [Film(name, _rows(shown[name], own), _note(shown[name])) for name, own in frames.items()]


def _note(spec: LineageSpec) -> str:
    if not specimens.is_here(spec):
        return (
            "The files of its data are not on this computer, so a letter or a number stands for "
            "each token, and real ones are not shown."
        )
    told = "decoded" in spec.dataset.trait("KNOWS")
    return "" if told else "A letter or a number stands for each token."


def _rows(spec: LineageSpec, frames: dict[int, Samples]) -> list[tuple[str, list[str]]]:
    """Real sequences, then those of each generation."""
    rows = [(str(t), sequences(spec.dataset, own, SHOWN)) for t, own in frames.items()]
    real = specimens.real_of(spec)
    return rows if real is None else [("real", sequences(spec.dataset, real, SHOWN)), *rows]
