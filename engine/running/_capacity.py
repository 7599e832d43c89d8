"""What lineages ask of machines, and how many of them fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.running.job import Job
from engine.settings import Share


def amounts(share: Share) -> dict[str, float]:
    """Ray's names: CPU and GPU may be fractions (bookkeeping, not a fence); memory is in GB in our
    files, bytes here.
    """
    asked = {"CPU": share.cpus, "GPU": share.gpus, "memory": share.memory_bytes}
    return {name: amount for name, amount in asked.items() if amount}


def lack(jobs: Sequence[Job], have: Mapping[str, float]) -> str:
    """What the machines lack for one of these lineages, or ''."""
    for job in jobs:
        asked = amounts(job.resources)
        lacks = [f"{v:g} {k}" for k, v in asked.items() if v > have.get(k, 0.0)]
        if lacks:
            there = ", ".join(f"{have.get(k, 0.0):g} {k}" for k in asked)
            who = job.spec.generator.name
            return f"a lineage of {who} asks for {', '.join(lacks)}, but here are {there}"
    return ""


def places(jobs: Sequence[Job], have: Mapping[str, float], *, elastic: bool) -> int:
    """How many lineages run at once: what fits; at least one, and one of each kind where the
    cluster may grow.
    """
    most = len(jobs) if elastic else 1
    for job in jobs:
        fit = min(have.get(k, 0.0) / v for k, v in amounts(job.resources).items())
        most = max(most, int(fit))
    return most
