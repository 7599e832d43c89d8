"""How long, and how much memory, the tidy frame of 2,000 lineages x 50 generations x 10 metrics
takes from a store.

    python tests/bench/bench_rows.py [blocks | folders] [lineages]
    python tests/bench/bench_rows.py --smoke    # both, with 3 lineages

blocks: how cheap generations lie in a store, 50 rows a file; folders: how costly ones do, a file
for each model and draw. Goal: under 20 s on 2 cores, under 2 GB.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from analysis.frame.rows import from_store
from engine.lineage.recipe import Node, path
from engine.names import alone
from engine.spec import LineageSpec, MeasureSpec, Part, Sweep
from engine.status import Status
from engine.store.artifacts import machine
from engine.store.measured import Measured
from engine.store.rows import Address, DrawRow, File, LineageRow, ModelRow, Row
from engine.store.store import Store

GENERATIONS = 49
MEMORY = (
    "/dev/shm" if Path("/dev/shm").is_dir() else None
)  # 200,000 small files are slow to write to a disk
DISTANCE = ("", "/n", "/floor", "/floor_sd", "/excess")
SUMMARY = ("", "/se", "/q05", "/q50", "/q95")
KEYS = {  # what each metric of the benchmark writes into a row
    "fid": list(DISTANCE),
    "conditional_fid": [*DISTANCE, "/coverage", *(f"/class_{c}" for c in range(5))],
    "precision_recall": ["/precision", "/recall", "/precision_floor", "/recall_floor", "/n"],
    "classifier_accuracy": ["", "/relative", "/ceiling", "/chance"],
    "moments": [
        f"/{k}{s}" for k in ("mean_error", "trace_ratio", "log_det", "kl") for s in SUMMARY
    ],
    "modes": [f"/{k}{s}" for k in ("live", "entropy") for s in SUMMARY],
    "nll": list(SUMMARY),
    "fid.extractor-lenet": list(DISTANCE),
    "fid.extractor-raw": list(DISTANCE),
    "conditional_fid.extractor-raw": list(DISTANCE),
}


class Quick(Store):
    """Writes without waiting for the disk: the benchmark is about reading."""

    def write(self, path: str, data: bytes) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(data)


def sweep_of(lineages: int, out: str) -> Sweep:
    policies = [Part("policy", "replace", {"synthetic_fraction": i / 400}) for i in range(400)]
    dataset, generator, sampling = (
        Part("dataset", "gaussian"),
        Part("generator", "gaussian"),
        Part("sampling", "plain"),
    )
    specs = (
        LineageSpec(dataset, generator, policies[i % 400], sampling, 1000, i // 400)
        for i in range(lineages)
    )
    metrics = [
        MeasureSpec(
            Part("metric", m.split(".")[0], {"extractor": m.split("-")[1]} if "." in m else {})
        )
        for m in KEYS
    ]
    return Sweep("bench", tuple(specs), GENERATIONS, tuple(metrics), out=out)


def fill(sweep: Sweep, store: Store, blocks: bool) -> None:
    rng = np.random.default_rng(0)
    for spec in sweep.lineages:
        nodes = path(spec, GENERATIONS)
        rows = [row for node in nodes for row in pair(node, rng)]
        for part in [rows] if blocks else [rows[i : i + 2] for i in range(0, len(rows), 2)]:
            store.commit(part)
        addresses = tuple(Address(node.t, node.model, node.draw) for node in nodes)
        store.write_lineage(LineageRow(spec.id, spec.to_dict(), alone(spec), addresses))
        store._models, store._draws = {}, {}


def pair(node: Node, rng: np.random.Generator) -> Iterator[Row]:
    """A model's and its draw's row, as a lineage commits them."""
    about = {"t": node.t, "status": Status.OK, "reason": "", "time": 1.8e9, "seconds": 0.01}
    about |= {"machine": machine()}
    files = {"weights/a.safetensors": File("0" * 64, 1000)}
    counts = {"real": 5.0}
    yield ModelRow(key=node.model, fit={}, counts=counts, sources=(), files=files, **about)
    metrics = {}
    for metric, keys in KEYS.items():
        metrics[metric] = Measured({metric + key: float(rng.random()) for key in keys})
    yield DrawRow(key=node.draw, model=node.model, n=1000, report={}, metrics=metrics, **about)


def peak_gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    if sys.argv[1:] == ["--smoke"]:
        read(True, 3)
        read(False, 3)
    else:
        kind = sys.argv[1] if len(sys.argv) > 1 else "blocks"
        lineages = sys.argv[2] if len(sys.argv) > 2 else "2000"
        read(kind == "blocks", int(lineages))


def read(blocks: bool, lineages: int) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        sweep = sweep_of(lineages, folder)
        fill(sweep, Quick(folder), blocks)
        before, started, busy = peak_gigabytes(), time.perf_counter(), time.process_time()
        frame = from_store(sweep)
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
    size = frame.memory_usage(deep=True).sum() / 1e9
    print(
        f"{lineages:,} lineages x {GENERATIONS + 1} generations x {len(KEYS)} metrics, in "
        f"{'blocks' if blocks else 'folders'}"
    )
    print(
        f"{len(frame):,} rows in {seconds:.1f} s ({busy:.1f} s of CPU); peak "
        f"{peak_gigabytes():.2f} GB (before: {before:.2f}); "
        f"the frame: {size:.2f} GB"
    )


if __name__ == "__main__":
    main()
