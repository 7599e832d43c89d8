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
import hashlib
import os
import posixpath
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, TypeVar, overload

import fsspec

from engine.store.disk import Disk
from engine.store.failures import Failure
from engine.store.locks import Busy, FileLocks, Leases
from engine.store.measured import Later, Measured
from engine.store.rows import (
    DrawRow,
    File,
    LineageRow,
    ModelRow,
    Row,
    block_from_json,
    known_schema,
    row_from_json,
)
from engine.store.seal import Damaged, sealed, sha256, unsealed
from engine.store.shapes import Malformed, is_below

Kind = Literal["model", "draw"]
KIND_FOLDERS: dict[Kind, str] = {"model": "models", "draw": "draws"}
T = TypeVar("T")


def _ignore(path: str) -> None:
    """Nobody wants to know."""


class Store:
    """One output, local or on any fsspec URL.

    on_damage  is called with the path (within the output) of each damaged file that is found.
    repairs  whether such a file is moved to damaged/, to be made again; who only looks at an
             output leaves it to those who make generations: they find it, too.
    """

    def __init__(
        self, url: str, *, on_damage: Callable[[str], None] = _ignore, repairs: bool = True
    ) -> None:
        self.url, self.on_damage, self.repairs = url, on_damage, repairs
        # others write there too
        self.fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        protocol = self.fs.protocol if isinstance(self.fs.protocol, str) else self.fs.protocol[0]
        self.local = protocol in ("file", "local")
        self.root = os.path.abspath(root) if self.local else root.rstrip("/")
        self.damage: list[str] = []  # what this object has found, by path within the output
        self.disk, folder = Disk(self.root), self.path("locks")
        self.locks: FileLocks | Leases = (
            FileLocks(folder, self.disk) if self.local else Leases(self.fs, folder)
        )
        self._models: dict[str, ModelRow] = {}  # of blocks
        self._draws: dict[str, DrawRow] = {}
        self._seen_blocks: set[str] = set()
        self._blocks_changed: int | None = None

    def path(self, *names: str) -> str:
        return posixpath.join(self.root, *names)

    def folder(self, kind: Kind, key: str) -> str:
        if not is_below(key):
            raise Damaged(key, "no key, but a path out of the output")
        return f"{self.root}/{KIND_FOLDERS[kind]}/{key}"

    # ---- bytes ----

    def write(self, path: str, data: bytes) -> None:
        """All of it or nothing; Unwritable when the disk refuses."""
        if self.local:
            self.disk.write(path, data)
        else:
            self.fs.pipe_file(path, data)

    def read(self, path: str) -> bytes | None:
        """The bytes, or None when there is no such file."""
        try:
            if not self.local:
                return bytes(self.fs.cat_file(path))
            with open(path, "rb") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write_json(self, path: str, value: object) -> None:
        """JSON with its own digest, so that a cut or flipped file is known as such."""
        self.write(path, sealed(value))

    def read_json(self, path: str, of: Callable[[object], T]) -> T | None:
        """What a file holds; None when it is not there.

        Damaged when it is not what was written, or has another shape than `of` reads.
        """
        data = self.read(path)
        if data is None:
            return None
        try:
            return of(known_schema(unsealed(data), self.url))
        except Malformed as error:
            raise Damaged(path, str(error)) from None

    def _found(self, path: str, of: Callable[[object], T], mine: Callable[[T], bool]) -> T | None:
        """What a file holds; None when there is none, or it is damaged or another's: set aside."""
        try:
            found = self.read_json(path, of)
            if found is None or mine(found):
                return found
        except Damaged:
            pass
        self.set_aside(path)
        return None

    def names(self, folder: str) -> list[str]:
        """The names in a folder; none when it is not there."""
        try:
            if self.local:
                return sorted(os.listdir(self.path(folder)))
            found = self.fs.ls(self.path(folder), detail=False, refresh=True)
            return sorted({posixpath.basename(path.rstrip("/")) for path in found})
        except (FileNotFoundError, NotADirectoryError):
            return []

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
        return self._found(path, row_from_json, lambda row: (row.kind, row.key) == (kind, key))

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
                changed = os.stat(self.path("blocks")).st_mtime_ns
            except FileNotFoundError:
                return
            if changed == self._blocks_changed and time.time_ns() - changed > 1_000_000_000:
                return
            self._blocks_changed = changed
        for name in self.names("blocks"):
            if name not in self._seen_blocks and name.endswith(".json"):
                self._read_block(name)

    def _read_block(self, name: str) -> None:
        rows = self._found(self.path("blocks", name), block_from_json, lambda rows: True)
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
        path = posixpath.join(self.folder(row.kind, row.key), name)
        data = self.read(path)
        if data is not None and sha256(data) != row.files[name].sha256:
            self.set_aside(path)
            return None
        return data

    def measured(self, draw: DrawRow, metric: str) -> Measured | None:
        """A metric of a draw: from its row, or measured later; None when it is not there."""
        if metric in draw.metrics:
            return draw.metrics[metric]
        return self._measured_later(draw.key, metric)

    def _measured_later(self, key: str, metric: str) -> Measured | None:
        path = posixpath.join(self.folder("draw", key), "metrics", f"{metric}.json")
        found = self._found(path, Later.from_json, lambda it: it.is_of(key, metric))
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

    def set_aside(self, path: str) -> None:
        """Move a damaged file to damaged/, where a person can look at it; its name there says when
        it was found and where.
        """
        place = posixpath.relpath(path, self.root)
        if self.repairs:
            name = f"{time.time_ns()}-{place.replace('/', '-')}"
            with contextlib.suppress(FileNotFoundError):
                self.fs.makedirs(self.path("damaged"), exist_ok=True)
                self.fs.mv(path, self.path("damaged", name))
        self.damage.append(place)
        self.on_damage(place)

    # ---- half-trained models ----

    def read_partial(self, name: str) -> bytes | None:
        """The state of a training that was interrupted; None when there is none, or not as it was
        written.
        """
        data = self.read(self.path("partial", name))
        whole = data is not None and hashlib.sha256(data[32:]).digest() == data[:32]
        return data[32:] if data is not None and whole else None

    def write_partial(self, name: str, data: bytes) -> None:
        self.write(self.path("partial", name), hashlib.sha256(data).digest() + data)

    def drop_partial(self, key: str) -> None:
        """Forget the states of a model's training."""
        for name in self.names("partial"):
            if name.startswith(key):
                with contextlib.suppress(FileNotFoundError):
                    self.fs.rm_file(self.path("partial", name))

    # ---- lineages and failures ----

    def write_lineage(self, row: LineageRow) -> None:
        self.write_json(self.path("lineages", f"{row.lineage}.json"), row.to_json())

    def lineage(self, lineage_id: str) -> LineageRow | None:
        """What was written of a lineage; None when that is not there, is damaged, or is of another
        lineage.
        """
        path = self.path("lineages", f"{lineage_id}.json")
        return self._found(path, LineageRow.from_json, lambda row: row.lineage in ("", lineage_id))

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
        path = self.path("failures", f"{lineage_id}.json")
        return self._found(path, Failure.from_json, lambda failure: True)

    def forget_failure(self, lineage_id: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(self.path("failures", f"{lineage_id}.json"))

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
                path = posixpath.join(self.folder(kind, key), name)
                if not name.startswith("strip") and self.fs.exists(path):
                    freed += file.bytes
                    self.fs.rm_file(path)
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
        found = []
        for name, file in row.files.items():
            path = posixpath.join(self.folder(row.kind, row.key), name)
            data = self.read(path)
            if data is not None and sha256(data) != file.sha256:
                self.set_aside(path)
                found.append(posixpath.relpath(path, self.root))
        return found

    def verify(self) -> tuple[int, list[str]]:
        """Check every digest: the number of rows, and the files that were damaged and are set
        aside.
        """
        known = len(self.damage)
        rows = list(self.rows())
        for row in rows:
            self.check(row)
            self._check_later_metrics(row)
        for lineage in self.lineages():
            self.failure(lineage.lineage)
        return len(rows), self.damage[known:]

    def _check_later_metrics(self, row: Row) -> None:
        for name in self.names(posixpath.join(KIND_FOLDERS[row.kind], row.key, "metrics")):
            self._measured_later(row.key, Path(name).stem)
