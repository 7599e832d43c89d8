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
import json
import os
import posixpath
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import fsspec

from engine.store.disk import Disk
from engine.store.locks import FileLocks, Leases

Row = dict[str, Any]
KIND_FOLDERS = {"model": "models", "draw": "draws"}


class Damaged(Exception):
    """A committed file whose bytes are not those its row names."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


class Busy(Exception):
    """The output is held by another sweep."""

    def __init__(self, holder: str) -> None:
        super().__init__(
            f"the output is in use by {holder}; wait for it, or give this run another output "
            "with --out"
        )
        self.holder = holder


def stays(name: str) -> bool:
    """Whether a name leads nowhere else than below the folder it is joined to: rows may come from
    others.
    """
    return all(part not in ("", ".", "..") for part in name.split("/"))


def sound(row: Any) -> bool:
    """Whether a row is that of a model or draw, and its files lie in its folder."""
    try:
        return row["kind"] in KIND_FOLDERS and all(
            stays(name) for name in (row["key"], *row["files"])
        )
    except (KeyError, TypeError, AttributeError):
        return False


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sealed(value: Any) -> bytes:
    """A value as JSON, with the digest of it."""
    body = json.dumps(value, sort_keys=True, allow_nan=False)
    return f'{{"sha256": "{sha256(body.encode())}", "value": {body}}}\n'.encode()


class Store:
    """One output, local or on any fsspec URL."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.fs, root = fsspec.core.url_to_fs(
            url, use_listings_cache=False
        )  # others write there too
        protocol = self.fs.protocol if isinstance(self.fs.protocol, str) else self.fs.protocol[0]
        self.local = protocol in ("file", "local")
        self.root = os.path.abspath(root) if self.local else root.rstrip("/")
        self.disk, folder = Disk(self.root), self.path("locks")
        self.locks: FileLocks | Leases = (
            FileLocks(folder, self.disk) if self.local else Leases(self.fs, folder)
        )
        self._blocks: dict[str, dict[str, Row]] = {"model": {}, "draw": {}}
        self._seen_blocks: set[str] = set()
        self._blocks_changed: int | None = None

    def path(self, *names: str) -> str:
        return posixpath.join(self.root, *names)

    def folder(self, kind: str, key: str) -> str:
        if not stays(key):
            raise Damaged(key, "no key, but a path out of the output")
        return self.path(KIND_FOLDERS[kind], key)

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

    def write_json(self, path: str, value: Any) -> None:
        """JSON with its own digest, so that a cut or flipped file is known as such."""
        self.write(path, sealed(value))

    def read_json(self, path: str) -> Any:
        """The value; None when the file is not there; Damaged when it is not what was written."""
        data = self.read(path)
        if data is None:
            return None
        try:
            value = json.loads(data)["value"]
            whole = data == sealed(value)
        except (ValueError, KeyError, TypeError, RecursionError):
            whole = False
        if not whole:
            raise Damaged(path, "cut or changed since it was written")
        return value

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

    def row(self, kind: str, key: str) -> Row | None:
        """The committed row of a model or draw, or None.

        A damaged row is set aside: it never happened.
        """
        if key in self._blocks[kind]:
            return self._blocks[kind][key]
        path = posixpath.join(self.folder(kind, key), "row.json")
        try:
            row = self.read_json(path)
        except Damaged as damage:
            self.set_aside(damage.path)
            return None
        if row is not None and not (sound(row) and (row["kind"], row["key"]) == (kind, key)):
            self.set_aside(path)
            return None
        return row

    def commit(self, rows: Iterable[Row]) -> None:
        """Commit rows whose files are written: each in its folder, or as one block when several
        draws come together.
        """
        rows = list(rows)
        if sum(row["kind"] == "draw" for row in rows) <= 1:
            for row in rows:
                self.write_json(
                    posixpath.join(self.folder(row["kind"], row["key"]), "row.json"), row
                )
            return
        self.write_json(self.path("blocks", f"{rows[-1]['key']}.json"), rows)
        self._add_block(rows)

    def _add_block(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._blocks[row["kind"]][row["key"]] = row

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
        try:
            rows = self.read_json(self.path("blocks", name))
            if not (isinstance(rows or [], list) and all(sound(row) for row in rows or ())):
                raise Damaged(self.path("blocks", name), "not rows of this output")
        except Damaged as damage:
            self.set_aside(damage.path)
            return
        self._seen_blocks.add(name)
        self._add_block(rows or ())

    # ---- files of a model or draw ----

    def put(self, kind: str, key: str, files: dict[str, bytes]) -> dict[str, dict[str, Any]]:
        """Write files of a model or draw; what the row must hold of them."""
        for name, data in files.items():
            self.write(posixpath.join(self.folder(kind, key), name), data)
        return {name: {"sha256": sha256(data), "bytes": len(data)} for name, data in files.items()}

    def get(self, row: Row, name: str) -> bytes | None:
        """A committed file's verified bytes; None when it was pruned.

        A damaged one is set aside and counts as pruned.
        """
        path = posixpath.join(self.folder(row["kind"], row["key"]), name)
        data = self.read(path)
        if data is not None and sha256(data) != row["files"][name]["sha256"]:
            self.set_aside(path)
            return None
        return data

    def measured(self, draw: Row, metric: str) -> dict[str, Any] | None:
        """A metric of a draw: from its row, or measured later; None when it is not there."""
        if metric in draw["metrics"]:
            return draw["metrics"][metric]
        path = posixpath.join(self.folder("draw", draw["key"]), "metrics", f"{metric}.json")
        found = self._about(
            path, lambda it: (it["draw"], it.get("metric", metric)) == (draw["key"], metric)
        )
        return found["values"] if found else None

    def _about(self, path: str, mine: Callable[[Any], bool]) -> Any:
        """The value of a file; None when it is not there, and when it is damaged or another's: then
        it is set aside.
        """
        try:
            found = self.read_json(path)
            if found is None or mine(found):
                return found
        except (Damaged, KeyError, TypeError, AttributeError):
            pass
        self.set_aside(path)
        return None

    def add_metric(self, key: str, metric: str, values: dict[str, Any]) -> None:
        """Add a metric to a committed draw."""
        path = posixpath.join(self.folder("draw", key), "metrics", f"{metric}.json")
        self.write_json(path, {"draw": key, "metric": metric, "values": values})

    def set_aside(self, path: str) -> None:
        """Move a damaged file to damaged/, where a person can look at it; its name there says when
        it was found and where.
        """
        name = f"{time.time_ns()}-{posixpath.relpath(path, self.root).replace('/', '-')}"
        with contextlib.suppress(FileNotFoundError):
            self.fs.makedirs(self.path("damaged"), exist_ok=True)
            self.fs.mv(path, self.path("damaged", name))
        self.damage_found(posixpath.relpath(path, self.root))

    damage_found: Callable[[str], None] = staticmethod(
        lambda path: None
    )  # who wants to know listens here

    # ---- half-trained models ----

    def read_partial(self, name: str) -> bytes | None:
        """The state of a training that was interrupted; None when there is none, or not as it was
        written.
        """
        data = self.read(self.path("partial", name))
        return (
            data[32:]
            if data is not None and hashlib.sha256(data[32:]).digest() == data[:32]
            else None
        )

    def write_partial(self, name: str, data: bytes) -> None:
        self.write(self.path("partial", name), hashlib.sha256(data).digest() + data)

    def drop_partial(self, key: str) -> None:
        """Forget the states of a model's training."""
        for name in self.names("partial"):
            if name.startswith(key):
                with contextlib.suppress(FileNotFoundError):
                    self.fs.rm_file(self.path("partial", name))

    # ---- lineages and failures ----

    def write_lineage(self, lineage_id: str, value: dict[str, Any]) -> None:
        self.write_json(self.path("lineages", f"{lineage_id}.json"), value)

    def lineage(self, lineage_id: str) -> Any:
        """What was written of a lineage; None when that is not there, is damaged, or is of another
        lineage.
        """
        path = self.path("lineages", f"{lineage_id}.json")
        return self._about(
            path, lambda it: "spec" in it and it.get("lineage", lineage_id) == lineage_id
        )

    def lineages(self) -> Iterator[Any]:
        """What was written of every lineage."""
        for name in self.names("lineages"):
            if name.endswith(".json") and (about := self.lineage(name.removesuffix(".json"))):
                yield about

    def fail(self, lineage_id: str, error: dict[str, Any]) -> None:
        """Record that a lineage ended by an error in somebody's code."""
        self.write_json(self.path("failures", f"{lineage_id}.json"), error)

    def failure(self, lineage_id: str) -> dict[str, Any] | None:
        with contextlib.suppress(Damaged):
            return self.read_json(self.path("failures", f"{lineage_id}.json"))
        return None

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

    def prune(self, kept: set[tuple[str, str]], all_keys: set[tuple[str, str]]) -> int:
        """Remove weights and samples of the (kind, key) in all_keys that are not kept; returns the
        bytes freed.
        """
        freed = 0
        for kind, key in sorted(all_keys - kept):
            row = self.row(kind, key)
            for name in row["files"] if row else ():
                path = posixpath.join(self.folder(kind, key), name)
                if not name.startswith("strip") and self.fs.exists(path):
                    freed += row["files"][name]["bytes"] if row else 0
                    self.fs.rm_file(path)
        return freed

    def rows(self) -> Iterator[Row]:
        """Every committed row."""
        self.refresh()
        for kind, folder in KIND_FOLDERS.items():
            yield from self._blocks[kind].values()
            for key in self.names(folder):
                if key not in self._blocks[kind] and (row := self.row(kind, key)):
                    yield row

    def check(self, row: Row) -> list[str]:
        """The damaged files of one row, by path within the store; each is set aside."""
        found = []
        for name in row["files"]:
            path = posixpath.join(self.folder(row["kind"], row["key"]), name)
            data = self.read(path)
            if data is not None and sha256(data) != row["files"][name]["sha256"]:
                self.set_aside(path)
                found.append(posixpath.relpath(path, self.root))
        return found

    def verify(self) -> tuple[int, list[str]]:
        """Check every digest: the number of rows, and the files that were damaged and are set
        aside.
        """
        damage: list[str] = []
        listener, self.damage_found = self.damage_found, damage.append  # type: ignore[method-assign]
        try:
            rows = list(self.rows())
            for row in rows:
                self.check(row)
                for name in self.names(
                    posixpath.join(KIND_FOLDERS[row["kind"]], row["key"], "metrics")
                ):
                    self.measured({**row, "metrics": {}}, Path(name).stem)
            list(self.lineages())
        finally:
            self.damage_found = listener  # type: ignore[method-assign]
        return len(rows), damage
