"""The store: models and draws in folders named by their keys; the row is the commit.

    <out>/models/<key>/    weights/...          row.json
    <out>/draws/<key>/     samples.safetensors  strip.safetensors  metrics/<id>.json  row.json
    <out>/blocks/<key>.json                     the rows of many cheap generations, committed at
    once <out>/lineages/<id>.json                    a lineage is a path of keys

A row is written last, after every file whose SHA-256 it holds: what has no row never happened.
Files whose bytes do not match their row are set aside under damaged/ and made again; files that are
missing were pruned, and can be made again bit for bit.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal, overload

from engine.store.failures import Failure
from engine.store.files import MOST_JSON, Files, ignore
from engine.store.locks import Busy, FileLocks, Leases
from engine.store.measured import Later, Measured
from engine.store.rows import (
    DrawRow,
    File,
    LineageRow,
    ModelRow,
    Row,
    block_from_json,
    row_from_json,
)
from engine.store.seal import Damaged, sealed_state, sha256, unsealed_state
from engine.store.shapes import is_below

Kind = Literal["model", "draw"]
AT_ONCE = 32  # records that are looked at on an object store, each of which takes its time
KIND_FOLDERS: dict[Kind, str] = {"model": "models", "draw": "draws"}


class Store(Files):
    """One output: what is committed in its files."""

    def __init__(
        self, url: str, *, on_damage: Callable[[str], None] = ignore, repairs: bool = True
    ) -> None:
        super().__init__(url, on_damage=on_damage, repairs=repairs)
        folder = self.path("locks")
        self.locks: FileLocks | Leases = (
            FileLocks(folder, self.disk) if self.local else Leases(self.fs, folder)
        )
        self._models: dict[str, ModelRow] = {}  # of blocks
        self._draws: dict[str, DrawRow] = {}
        self._seen_blocks: set[str] = set()
        self._blocks_changed: int | None = None

    def folder(self, kind: Kind, key: str) -> str:
        if not is_below(key):
            raise Damaged(key, "no key, but a path out of the output")
        return f"{self.root}/{KIND_FOLDERS[kind]}/{key}"

    # ---- rows ----

    @overload
    def row(self, kind: Literal["model"], key: str) -> ModelRow | None: ...
    @overload
    def row(self, kind: Literal["draw"], key: str) -> DrawRow | None: ...
    @overload
    def row(self, kind: Kind, key: str) -> Row | None: ...

    def row(self, kind: Kind, key: str) -> Row | None:
        """The committed row of a model or draw, or None.

        A damaged row is set aside: it never happened.
        """
        known = self._block_rows(kind).get(key)
        if known is not None:
            return known
        path = f"{self.folder(kind, key)}/row.json"
        return self.found(path, row_from_json, lambda row: (row.kind, row.key) == (kind, key))

    def _block_rows(self, kind: Kind) -> Mapping[str, Row]:
        return self._models if kind == "model" else self._draws

    def commit(self, rows: Iterable[Row]) -> None:
        """Commit rows whose files are written: each in its folder, or as one block when several
        draws come together.
        """
        rows = list(rows)
        if sum(row.kind == "draw" for row in rows) <= 1:
            for row in rows:
                path = posixpath.join(self.folder(row.kind, row.key), "row.json")
                self.write_json(path, row.to_json())
            return
        block = [row.to_json() for row in rows]
        self.write_json(self.path("blocks", f"{rows[-1].key}.json"), block)
        self._add_block(rows)

    def _add_block(self, rows: Iterable[Row]) -> None:
        for row in rows:
            if row.kind == "model":
                self._models[row.key] = row
            else:
                self._draws[row.key] = row

    def refresh(self) -> None:
        """See the blocks that others have committed."""
        if self.local:
            try:
                changed = os.stat(self.path("blocks"), follow_symlinks=False).st_mtime_ns
            except (FileNotFoundError, NotADirectoryError):
                return
            if changed == self._blocks_changed and time.time_ns() - changed > 1_000_000_000:
                return
            self._blocks_changed = changed
        for name in self.names("blocks"):
            if name not in self._seen_blocks and name.endswith(".json"):
                self._read_block(name)

    def _read_block(self, name: str) -> None:
        rows = self.found(self.path("blocks", name), block_from_json)
        if rows is not None:
            self._seen_blocks.add(name)
            self._add_block(rows)

    def draw_keys(self) -> set[str]:
        """The keys of all draws that may have a row, without reading any."""
        self.refresh()
        return {*self.names("draws"), *self._draws}

    # ---- files of a model or draw ----

    def put(self, kind: Kind, key: str, files: Mapping[str, bytes]) -> dict[str, File]:
        """Write files of a model or draw; what the row must hold of them."""
        for name, data in files.items():
            self.write(posixpath.join(self.folder(kind, key), name), data)
        return {name: File(sha256(data), len(data)) for name, data in files.items()}

    def get(self, row: Row, name: str) -> bytes | None:
        """A committed file's verified bytes; None when it was pruned.

        A damaged one is set aside and counts as pruned.
        """
        with self.whole():
            return self._verified(row, name)
        return None

    def _verified(self, row: Row, name: str) -> bytes | None:
        path, file = posixpath.join(self.folder(row.kind, row.key), name), row.files[name]
        data = self.read(path, max(file.bytes, MOST_JSON))  # the digest decides, not a row's size
        if data is not None and sha256(data) != file.sha256:
            raise Damaged(path, "not the bytes that its row names")
        return data

    def has(self, row: Row, name: str) -> bool:
        """Whether a file of a row is there, whatever is in it."""
        return name in row.files and self.has_file(f"{self.folder(row.kind, row.key)}/{name}")

    def measured(self, draw: DrawRow, metric: str) -> Measured | None:
        """A metric of a draw: from its row, or measured later; None when it is not there."""
        if metric in draw.metrics:
            return draw.metrics[metric]
        return self._measured_later(draw.key, metric)

    def _measured_later(self, key: str, metric: str) -> Measured | None:
        path = posixpath.join(self.folder("draw", key), "metrics", f"{metric}.json")
        found = self.found(path, Later.from_json, lambda it: it.is_of(key, metric))
        return None if found is None else found.measured

    def metrics_of(self, draw: DrawRow) -> list[str]:
        """All metrics of a draw: those of its row, then those that were measured later."""
        names = self.names(posixpath.join("draws", draw.key, "metrics"))
        later = [name.removesuffix(".json") for name in names if name.endswith(".json")]
        return list(dict.fromkeys([*draw.metrics, *later]))

    def add_metric(self, key: str, metric: str, measured: Measured) -> None:
        """Add a metric to a committed draw."""
        path = posixpath.join(self.folder("draw", key), "metrics", f"{metric}.json")
        self.write_json(path, {"draw": key, "metric": metric, "values": measured.to_json()})

    # ---- half-trained models ----

    def read_partial(self, name: str) -> bytes | None:
        """The state of an interrupted training; None for none, or a damaged one: set aside."""
        path = self.path("partial", name)
        with self.whole():
            data = self.read(path)
            state = None if data is None else unsealed_state(name, data)
            if data is not None and state is None:
                raise Damaged(path, "cut or changed since it was written")
            return state
        return None

    def write_partial(self, name: str, data: bytes) -> None:
        self.write(self.path("partial", name), sealed_state(name, data))

    def drop_partial(self, key: str) -> None:
        """Forget the states of a model's training."""
        for name in self.names("partial"):
            if name.startswith(key):
                self.remove(self.path("partial", name))

    # ---- lineages and failures ----

    def write_lineage(self, row: LineageRow) -> None:
        self.write_json(self.path("lineages", f"{row.lineage}.json"), row.to_json())

    def lineage(self, lineage_id: str) -> LineageRow | None:
        """What was written of a lineage; None when that is not there, is damaged, or is of another
        lineage.
        """
        path = self.path("lineages", f"{lineage_id}.json")
        return self.found(path, LineageRow.from_json, lambda row: row.lineage in ("", lineage_id))

    def lineages(self) -> Iterator[LineageRow]:
        """What was written of every lineage."""
        for name in self.names("lineages"):
            row = self.lineage(name.removesuffix(".json")) if name.endswith(".json") else None
            if row is not None:
                yield row

    def fail(self, lineage_id: str, failure: Failure) -> None:
        """Record that a lineage ended by an error."""
        self.write_json(self.path("failures", f"{lineage_id}.json"), failure.to_json())

    def failure(self, lineage_id: str) -> Failure | None:
        return self.found(self.path("failures", f"{lineage_id}.json"), Failure.from_json)

    def forget_failure(self, lineage_id: str) -> None:
        self.remove(self.path("failures", f"{lineage_id}.json"))

    # ---- locks ----

    def try_lock(self, name: str) -> contextlib.ExitStack | None:
        """Hold `name` until the returned stack is closed; None when someone else holds it."""
        return self.locks.try_hold(name)

    def lock(self, name: str) -> contextlib.ExitStack:
        """Hold `name`, waiting for whoever holds it now."""
        while (held := self.try_lock(name)) is None:
            self.locks.pause()
        return held

    @contextlib.contextmanager
    def hold(self, who: str) -> Iterator[None]:
        """Hold the whole output for one sweep; Busy names the holder, if that one lives."""
        about = (
            f"{who} (process {os.getpid()} on {socket.gethostname()}, since "
            f"{time.strftime('%Y-%m-%d %H:%M:%S')})"
        )
        while (held := self.locks.try_hold("sweep", about)) is None:
            if self.locks.alive("sweep"):
                raise Busy(self.locks.holder("sweep") or "another sweep")
            self.locks.pause()
        with held:
            yield

    # ---- keeping and checking ----

    def prune(self, kept: set[tuple[Kind, str]], all_keys: set[tuple[Kind, str]]) -> int:
        """Remove weights and samples of the (kind, key) in all_keys that are not kept; returns the
        bytes freed.
        """
        freed = 0
        for kind, key in sorted(all_keys - kept):
            row = self.row(kind, key)
            for name, file in row.files.items() if row else ():
                if row and not name.startswith("strip") and self.has(row, name):
                    freed += file.bytes
                    self.remove(posixpath.join(self.folder(kind, key), name))
        return freed

    def rows(self) -> Iterator[Row]:
        """Every committed row."""
        self.refresh()
        for kind, folder in KIND_FOLDERS.items():
            known = self._block_rows(kind)
            yield from known.values()
            for key in self.names(folder):
                row = None if key in known else self.row(kind, key)
                if row is not None:
                    yield row

    def check(self, row: Row) -> list[str]:
        """The damaged files of one row, by path within the store; each is set aside."""
        known = len(self.damage)
        for name in row.files:
            with self.whole():
                self._verified(row, name)
        return self.damage[known:]

    def verify(self) -> tuple[int, list[str]]:
        """Check every digest, and that nothing is there but files and folders: the number of rows,
        and what was damaged and is set aside.
        """
        known = len(self.damage)
        rows = list(self.rows())
        for row in rows:
            self.check(row)
            self._check_later_metrics(row)
        self._check_records()
        self._check_partials()
        for path in self.disk.strange() if self.local else ():
            self.set_aside(path)
        return len(rows), self.damage[known:]

    def tidy(self) -> None:
        """Set aside what is neither file nor folder, and damaged records of lineages and states of
        training, whose ever they are; remove what writers that are gone have staged, and states of
        trainings that have ended.  By who holds the output; states in an object store are read by
        who continues them.
        """
        if self.local:
            for path in self.disk.tidy():
                self.note(path)
            self._check_partials()
        self._drop_outlived()
        self._check_records()

    def _check_records(self) -> None:
        looks: list[Callable[[], object]] = []
        for folder, look in (("lineages", self.lineage), ("failures", self.failure)):
            names = (name for name in self.names(folder) if name.endswith(".json"))
            looks += [partial(look, name.removesuffix(".json")) for name in names]
        with ThreadPoolExecutor(1 if self.local else AT_ONCE) as pool:
            for _ in pool.map(lambda look: look(), looks):
                pass

    def _drop_outlived(self) -> None:
        """Forget states whose model was committed by a process that ended before it dropped
        them.
        """
        for name in self.names("partial"):
            key = name.rpartition("-")[0]
            if key and self.row("model", key) is not None:
                self.remove(self.path("partial", name))

    def _check_partials(self) -> None:
        for name in self.names("partial"):
            self.read_partial(name)

    def _check_later_metrics(self, row: Row) -> None:
        for name in self.names(posixpath.join(KIND_FOLDERS[row.kind], row.key, "metrics")):
            self._measured_later(row.key, Path(name).stem)
