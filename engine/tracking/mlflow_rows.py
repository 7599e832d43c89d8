"""How a lineage and its rows look in MLflow: names, parameters, points and files; pure (nothing
here imports mlflow).

A row is mirrored twice: as points of the charts (step = generation), and whole, as JSON in the
artifact folder `rows/`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import posixpath
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from engine._tasks import as_lists
from engine.registry import KINDS, describe
from engine.settings import Keep
from engine.spec import LineageSpec
from engine.status import Status
from engine.store.rows import Generation, Reported
from engine.tracking.backoff import sqlite_uri

T = TypeVar("T")
JsonRow = dict[str, Any]  # a row as a file of MLflow's artifacts holds it
DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"  # beside an output
TEXTS = "samples"  # folder of an artifact
LONGEST = 250  # characters of a metric's or parameter's name
SETTINGS = {  # of MLflow, from the environment unless set there; read when it is imported or called
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # default: 246 s on a dead server; a create_run sent twice makes two runs
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    # of one answer; what was not heard in time is found or sent again later
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "3",
}
END_STATES = {Status.FAILED: "FAILED", Status.UNFINISHED: "KILLED"}


# ---- names ---------------------------------------------------------------------------------------


def legal(name: str) -> str:
    """The name as MLflow accepts it: other characters become `-hex-`, no empty or dotted path
    parts, at most 250 characters.
    """
    name = re.sub(r"[^\w\-. :/]", lambda m: f"-{ord(m[0]):x}-", name) or "-"
    name = posixpath.normpath(re.sub(r"\.\.+", ".", name).strip("/") or "-")
    name = "-" if name == "." else name
    return (
        name if len(name) <= LONGEST else f"{name[: LONGEST - 9]}-{zlib.crc32(name.encode()):08x}"
    )


def view(columns: Sequence[str]) -> str:
    """The state of MLflow's run table as its own Share button saves it: grouped by cell, these
    metrics as columns.
    """
    shown = [
        "params.`policy.synthetic_fraction`",
        "params.`seed`",
        "tags.`status`",
        *(f"metrics.`{legal(c)}`" for c in columns),
    ]
    order = {
        "searchFilter": "",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
    }
    group = {
        "aggregateFunction": "average",
        "groupByKeys": [{"mode": "tag", "groupByData": "cell"}],
    }
    scope = {
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "runsHiddenMode": "FIRST_20_RUNS",
    }
    return json.dumps(
        {**order, **scope, "selectedColumns": ["attributes.`Duration`", *shown], "groupBy": group}
    )


def end_state(status: Status) -> str:
    """MLflow's end state of a lineage: a collapse or any other finding is a finished study, not a
    failed one.
    """
    return END_STATES.get(status, "FINISHED")


def milliseconds(row: Generation) -> int:
    """The row's own time, as MLflow stamps points: the same row mirrored again gives the same
    points.
    """
    return int(row.time * 1000)


def start_of(row: Generation) -> int:
    """When the work on it began, as MLflow stamps the start of a run."""
    return int((row.time - row.seconds) * 1000)


# ---- what changes the samples: parameters --------------------------------------------------------


def parameters(spec: LineageSpec) -> dict[str, str]:
    """Flat and stable: `generator.name`, `generator.steps`, ..., with defaults filled in; those
    that are None are left out.
    """
    flat: dict[str, Any] = {}
    for kind in ("dataset", "generator", "policy", "sampling"):
        part = getattr(spec, kind)
        flat |= _part(kind, kind, {"name": part.name, **part.params})
    flat |= {
        "n_real": spec.n_real,
        "n_synthetic": spec.n_drawn,
        "arrival": spec.arrival,
        **({} if spec.tasks is None else {"tasks": str(as_lists(spec.tasks))}),
        "seed": spec.seed,
    }
    return {legal(k): text(v) for k, v in flat.items() if v is not None}


def _part(prefix: str, kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {
        p.name: p.default
        for p in describe(kind, values["name"]).parameters.values()
        if not p.required
    }
    flat: dict[str, Any] = {}
    for key, value in {**values, **{k: v for k, v in defaults.items() if k not in values}}.items():
        nested = isinstance(value, dict) and "name" in value and key in KINDS
        flat |= _part(f"{prefix}.{key}", key, value) if nested else {f"{prefix}.{key}": value}
    return flat


def text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return (
        text
        if len(text) <= 6000
        else f"{text[:5900]}... sha256 {hashlib.sha256(text.encode()).hexdigest()}"
    )


# ---- what was measured: points -------------------------------------------------------------------


def points(row: Generation) -> dict[str, float]:
    """The numbers of a row by chart name.

    Undefined values are NaN with a flag `undefined/<key>` = 1; infinite ones are NaN with a flag
    `infinite/<key>` = 1 or -1, because MLflow would store 1.8e308 for them.
    """
    flat = {"seconds": float(row.seconds)}
    for group, reported in groups(row).items():
        flat |= numbers({f"{group}/{key}": value for key, value in reported.items()})
    flat |= numbers(row.values)
    for key in row.undefined:
        flat |= {legal(key): math.nan, legal(f"undefined/{key}"): 1.0}
    return flat


def groups(row: Generation) -> dict[str, Reported]:
    """The numbers of a row beside those of its metrics, charted as `<group>/<key>`."""
    return {"fit": row.fit, "report": row.report, "counts": row.counts, "speed": row.speed}


def numbers(values: Reported) -> dict[str, float]:
    """Numbers by chart name."""
    flat: dict[str, float] = {}
    for key, value in values.items():
        flat |= _point(key, value)
    return flat


def _point(key: str, value: float | None) -> dict[str, float]:
    if value is None:  # a loss that was not finite
        return {legal(key): math.nan}
    if math.isinf(value):
        return {legal(key): math.nan, legal(f"infinite/{key}"): math.copysign(1.0, value)}
    return {legal(key): float(value)}


def fingerprint(row: Generation) -> int:
    """Changes when a row was computed again (another time) or measured further (more keys)."""
    keys = [sorted(found) for found in (row.values, row.undefined, *groups(row).values())]
    return zlib.crc32(repr((row.t, row.time, row.status.value, keys)).encode())


def summary(prints: Iterable[int]) -> str:
    """A set of mirrored rows in one short tag: how many, and the sum of their fingerprints."""
    known = list(prints)
    return f"{len(known)} {sum(known)}"


# ---- whole rows: files ---------------------------------------------------------------------------


def to_json(rows: Iterable[Generation]) -> str:
    """Strict JSON, a row a line; numbers that JSON has no words for are {"nonfinite": "inf"}."""
    lines = [json.dumps(_strict(row.to_json()), allow_nan=False) for row in rows]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def from_json(text: str) -> list[JsonRow]:
    rows: list[JsonRow] = json.loads(text, object_hook=_number)
    return rows


def _number(value: dict[str, Any]) -> Any:
    return float(value["nonfinite"]) if set(value) == {"nonfinite"} else value


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _strict(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"nonfinite": str(float(value))}
    return value


def rows_file(number: int, rows: Sequence[Generation]) -> str:
    """Numbered: where two files have the same generation, the later one says how it is."""
    return f"rows/{number:05d}_generation_{rows[0].t}-{rows[-1].t}.json"


def texts_file(t: int) -> str:
    """Where a generation's samples are as text."""
    return f"{TEXTS}/{t:05d}.txt"


def merged(texts: Iterable[str]) -> list[JsonRow]:
    """All rows of a lineage from its row files, in the order of their names."""
    by_t = {row["t"]: row for text in texts for row in from_json(text)}
    return [by_t[t] for t in sorted(by_t)]


def sizes(folder: Path, place: str) -> dict[str, int]:
    """All files of a local folder by what they are called under the artifact folder `place`, with
    their sizes.
    """
    return {
        f"{place}/{p.relative_to(folder).as_posix()}": p.stat().st_size
        for p in folder.rglob("*")
        if p.is_file()
    }


def chunks(items: list[T], size: int) -> Iterator[list[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


# ---- what MLflow has and lacks of a lineage ------------------------------------------------------


@dataclass
class Wanted:
    """What a lineage has that MLflow may lack: rows by generation, and where their pictures and
    weights are to be had.
    """

    rows: dict[int, Generation] = field(default_factory=dict)
    pictures: Callable[[int], np.ndarray | str | None] | None = None
    checkpoint: Callable[[int], Path | None] | None = None
    keep: Keep = "all"


@dataclass
class Line:
    """An open child run and what it has."""

    run_id: str
    state: str
    ended: int | None
    tags: dict[str, str]
    resumed: bool  # it was there before this process
    prints: dict[int, int] = field(
        default_factory=dict
    )  # generation -> fingerprint of its row, mirrored whole
    points: set[tuple[str, int]] = field(default_factory=set)  # (key, step)
    weights: set[int] = field(
        default_factory=set
    )  # generations whose weights were logged by this process
    files: int | None = None  # row files; None: not listed yet
    pictured: set[int] | None = None  # steps with a picture; None: not listed yet
    last: Generation | None = None

    def recognise(self, tag: str, wanted: Wanted) -> bool:
        """Whether the run, by its tag, has exactly the first of these rows; then nothing need be
        read back.
        """
        rows = [row for _, row in sorted(wanted.rows.items())][: int(tag.split()[0])] if tag else []
        prints = {row.t: fingerprint(row) for row in rows}
        if not rows or summary(prints.values()) != tag:
            return False
        self.prints, self.points = prints, {(key, row.t) for row in rows for key in points(row)}
        return True


# ---- where ---------------------------------------------------------------------------------------


def local(out: Path) -> tuple[str, str]:
    """URI and artifact folder of the default: a sqlite file inside the output folder."""
    return sqlite_uri(out.resolve() / DATABASE), artifacts_of(out.resolve())


def artifacts_of(out: Path) -> str:
    """The artifact folder of an output as MLflow is told of it: as a URI where its name holds signs
    that MLflow would read as parts of one.
    """
    folder = out / ARTIFACTS
    return folder.as_uri() if set(str(folder)) & set("%#?\n") else str(folder)


def server_command(port: int, artifacts: str | None = None) -> list[str]:
    """MLflow's pages on loopback with one worker (the default is ten processes and 2 GB); run it in
    `server_environment(uri)`: what stands in a command every user of the machine can read.
    """
    command = [sys.executable, "-m", "mlflow", "server"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return command + (["--artifacts-destination", artifacts] if artifacts else [])


def server_environment(uri: str) -> dict[str, str]:
    own = {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return {**SETTINGS, **os.environ, **own}
