"""Figures of the samples: film strips, densities, latent alignment."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pandas as pd

from analysis.plots import continual as plots_continual
from analysis.plots import samples as plots_samples
from analysis.plots.style import left_out
from analysis.report import samples as specimens
from analysis.report.findings import KEPT, SAMPLES, Findings, Shown
from analysis.report.samples import MOST_WORKFLOWS, Specs
from engine.store.store import Store

CALLED = {"lenet": "LeNet trained on the real data", "ngrams": "n-grams"}  # features


def samples(findings: Findings, store: Store) -> Iterator[Shown]:
    """Pictures or densities of one lineage per workflow, over the generations."""
    every = specimens.chosen(findings.sweep, findings.frame)
    bounds = {own.label for own in findings.kept if own.bound}
    first = sorted(every, key=lambda name: name in bounds)  # stable: bounds of replay come last
    shown = {name: every[name] for name in first[:MOST_WORKFLOWS]}
    gives = {spec.dataset.constant("GIVES") for spec in shown.values()}
    about = {"lineage": [s.id for s in every.values()], "called": list(every)}
    numbers = pd.DataFrame(about).assign(shown=[name in shown for name in every])
    if gives == {"images"}:
        yield from _film(findings, store, shown, numbers)
    elif gives == {"points"}:
        yield from _densities(findings, store, shown, numbers)


def _film(findings: Findings, store: Store, specs: Specs, numbers: pd.DataFrame) -> Iterator[Shown]:
    frames = specimens.strips(findings.sweep, store, specs)
    if not frames:
        return
    first = next(iter(specs.values()))
    classes = specimens.classes_of(first, frames)
    real = specimens.real_of(first)
    gone = left_out(list(numbers["called"]), list(frames), "workflows")
    gone += "" if real is not None else " The real data are not on this computer."
    arrival = {label: t for t, task in enumerate(first.stream) for label in task}
    alt = "Samples of one lineage per workflow over the generations, a place per class."
    yield Shown(
        "film",
        SAMPLES,
        alt,
        numbers,
        lambda w: plots_samples.film(
            frames, classes=classes, real=real, arrival=arrival, note=gone, width=w
        ),
    )


def _densities(
    findings: Findings, store: Store, specs: Specs, numbers: pd.DataFrame
) -> Iterator[Shown]:
    first = next(iter(specs.values()))
    same = {
        name: spec
        for name, spec in specs.items()
        if (spec.dataset, spec.n_real) == (first.dataset, first.n_real)
    }
    frames = specimens.strips(findings.sweep, store, same, 4)
    real = specimens.real_of(first)
    if not frames or real is None:
        return
    gone = left_out(list(numbers["called"]), list(frames), "workflows")
    alt = "Density of the samples of several generations over that of the real data."
    yield Shown(
        "density",
        SAMPLES,
        alt,
        numbers,
        lambda w: plots_samples.densities(frames, real, note=gone, width=w),
    )


def latent(findings: Findings, store: Store) -> Iterator[Shown]:
    """How far the features of generated images or texts are from those of real ones."""
    every = specimens.chosen(findings.sweep, findings.frame)
    found = specimens.latent(findings.sweep, store, dict(list(every.items())[:MOST_WORKFLOWS]))
    if found is None:
        return
    aligned, embedded, features = found
    section = "Latent alignment"
    name = CALLED.get(features, features)
    alt = "How well generated samples can be told from real ones, and how far their features moved."
    yield Shown(
        "alignment",
        section,
        alt,
        aligned,
        lambda w: plots_samples.aligned(aligned, features=name, width=w),
    )
    alt = "Real and generated samples in one embedding that was fitted on real ones."
    yield Shown(
        "embedding",
        section,
        alt,
        embedded,
        lambda w: plots_samples.embedding(embedded, features=name, width=w),
    )


def tasks(findings: Findings, store: Store) -> Iterator[Shown]:
    """Where samples of each task lie that were drawn after the last one, of cells that are no
    bounds.
    """
    every = specimens.chosen(findings.sweep, findings.frame)
    names = [own.label for own in findings.kept if not own.bound and own.label in every]
    shown = {name: every[name] for name in names[:MOST_WORKFLOWS]}
    found = specimens.latent_by_task(findings.sweep, store, shown)
    if found is None:
        return
    table, features = found
    name = CALLED.get(features, features)
    gone = left_out(names, list(shown), "cells")
    draw = functools.partial(
        plots_continual.embeddings, table, order=names, features=name, note=gone
    )
    alt = "Real and drawn samples of each task, in an embedding that was fitted on real ones."
    yield Shown("embedding_by_task", KEPT, alt, table, lambda width: draw(width=width))
