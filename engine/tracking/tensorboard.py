"""TensorBoard, a mirror of the store in event files: `tracking: tensorboard://FOLDER`.

A folder per lineage holds one scalar per number of its rows (step = generation), its pictures, its
spec and how it ended.  Weights stay in the store.  Which rows are there, whole, and in which event
files is written last (`mirrored.json`): mirroring a row again changes nothing, files of a process
that died are thrown away, and where a row was made again all are written anew.
"""

from __future__ import annotations

import io
import json
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from engine._foreign import told
from engine.files import read_regular, write_atomically
from engine.lineage.loop import Outcome
from engine.names import Names
from engine.settings import Keep
from engine.spec import LineageSpec
from engine.store import shapes
from engine.store.rows import Generation
from engine.tracking.backoff import Backoff
from engine.tracking.mlflow_rows import fingerprint, points
from engine.tracking.tracker import Address, Checkpoint, Pages, Parameters, Pictures

SCHEMES = ("tensorboard",)
FOLDERS = ("tensorboard",)  # what stands behind it is the name of a folder
NEEDS = {"tensorboard": "tensorboard"}  # package: extra
RGB = 3  # TensorBoard's number of it
MIRRORED = "mirrored.json"  # in a lineage's folder: its rows' fingerprints, its event files
EVENTS = "events.out.tfevents.*"
MOST_BYTES = 128 << 20  # of that file


def connect(address: Address, sweep_name: str, sweep_id: str, names: Names) -> TensorBoardTracker:
    """Make a tracker; nothing is written before its first method."""
    return TensorBoardTracker(_folder(address) / _legal(sweep_name), names)


def serve(address: Address, sweep_name: str, port: int) -> Pages:
    """Return TensorBoard's pages of a sweep, served from its folder on this port."""
    folder = _folder(address) / _legal(sweep_name)
    where = ("--logdir", str(folder), "--host", "127.0.0.1", "--port", str(port))
    command = (sys.executable, "-m", "tensorboard.main", *where)
    return Pages(
        "TensorBoard", lambda: f"http://127.0.0.1:{port}/", command, recorded=folder.is_dir()
    )


@dataclass(frozen=True)
class Mirrored:
    """What a lineage's folder has."""

    rows: dict[int, int] = field(default_factory=dict)  # generation -> fingerprint
    files: list[str] = field(default_factory=list)  # names of the event files that hold them

    @classmethod
    def from_text(cls, text: bytes) -> Mirrored:
        """As it was written; nothing, where it is something else."""
        try:
            found = shapes.mapping(json.loads(text))
            rows = shapes.mapping_of(found.get("rows"), shapes.integer)
            names = [shapes.name(name) for name in shapes.items(found.get("files"))]
            return cls({int(t): print_ for t, print_ in rows.items()}, names)
        except (ValueError, RecursionError):
            return cls()


class TensorBoardTracker:
    """Mirrors the lineages of one sweep into the event files of one folder."""

    name = "TensorBoard"

    def __init__(self, folder: Path, names: Names) -> None:
        self.folder, self.names = folder, names
        self._places: dict[str, Path] = {}  # of lineages that were met
        self._backoff = Backoff(self.name)
        self._mirrored: dict[str, Mirrored] = {}  # by lineage

    @property
    def behind(self) -> bool:
        """Whether it lacks something it was told."""
        return bool(self._backoff.behind)

    @property
    def trouble(self) -> str:
        """The last failure, or ''."""
        return self._backoff.trouble

    def open_sweep(
        self, question: str, params: Parameters, lineage_count: int, columns: Sequence[str] = ()
    ) -> bool:
        """Write question and parameters; ends a silence."""
        about = {"question": question, **params.by_name(), "lineages": lineage_count}
        self._backoff.forget()
        return self._try("sweep", lambda: _write_texts(self.folder, about))

    def open_lineage(self, spec: LineageSpec, rows: Iterable[Generation] = ()) -> bool:
        """Write the spec."""
        about = {"spec": json.dumps(spec.to_dict(), indent=1)}
        return self._try(spec.id, lambda: _write_texts(self._place(spec), about))

    def mirror(
        self,
        spec: LineageSpec,
        rows: Iterable[Generation],
        pictures: Pictures | None = None,
        checkpoint: Checkpoint | None = None,
        keep: Keep = "all",
    ) -> bool:
        """Write what is lacking of these rows."""
        given = {row.t: row for row in rows}
        return self._try(spec.id, lambda: self._write(spec, given, pictures))

    def finish_lineage(self, spec: LineageSpec, outcome: Outcome) -> bool:
        """Write how it ended."""
        ended = {"status": outcome.status.value, "reason": outcome.reason}
        about = {"spec": json.dumps(spec.to_dict(), indent=1), **ended}
        return self._try(spec.id, lambda: _write_texts(self._place(spec), about))

    def finish_sweep(
        self, status: str, summary: dict[str, float], artifacts: Iterable[Path] = ()
    ) -> bool:
        """Write the summary's numbers and the end state."""

        def write() -> None:
            values = [_scalar(key, value) for key, value in summary.items()]
            event = _event([*values, _text("status", status)], 0)
            _remove_others(self.folder, [_write_events(self.folder, [event])])

        return self._try("sweep", write)

    def _write(
        self, spec: LineageSpec, rows: dict[int, Generation], pictures: Pictures | None
    ) -> None:
        place, there = self._place(spec), self._there(spec)
        lacking = [t for t, row in rows.items() if there.rows.get(t) != fingerprint(row)]
        if not lacking:
            return
        if there.rows.keys() & set(lacking):  # made again
            there, lacking = Mirrored(), list(rows)
        _remove_others(place, there.files)
        events = [_event(_values(rows[t], pictures), t, rows[t].time) for t in sorted(lacking)]
        file = _write_events(place, events)
        prints = {t: fingerprint(rows[t]) for t in lacking}
        there = Mirrored(there.rows | prints, [*there.files, file])
        write_atomically(place / MIRRORED, json.dumps(asdict(there)))
        self._mirrored[spec.id] = there

    def _there(self, spec: LineageSpec) -> Mirrored:
        """Which rows are there, whole."""
        file = self._place(spec) / MIRRORED
        if spec.id not in self._mirrored and file.exists():
            self._mirrored[spec.id] = Mirrored.from_text(read_regular(file, MOST_BYTES))
        return self._mirrored.get(spec.id, Mirrored())

    def _place(self, spec: LineageSpec) -> Path:
        """Its folder: as it was called when it was made, which a wider grid may call otherwise."""
        if spec.id not in self._places:
            made = sorted(self.folder.glob(f"* {spec.id[:8]}"))
            name = f"{_legal(self.names.lineage(spec))} {spec.id[:8]}"
            self._places[spec.id] = made[0] if made else self.folder / name
        return self._places[spec.id]

    def _try(self, what: str, action: Callable[[], None]) -> bool:
        return self._backoff.run(what, action)


# ---- event files ---------------------------------------------------------------------------------


def _values(row: Generation, pictures: Pictures | None) -> list[Summary.Value]:
    """One row's numbers, and its picture or its text where there is one."""
    values = [_scalar(key, value) for key, value in points(row).items()]
    picture = pictures(row.t) if pictures is not None else None
    if isinstance(picture, str):
        # four spaces: to its Markdown what stands there is no markup
        text = "".join(f"    {line}\n" for line in picture.splitlines())
        return [*values, _text("samples.txt", text)]
    return values if picture is None else [*values, _image("samples", picture)]


def _scalar(key: str, value: float) -> Summary.Value:
    return Summary.Value(tag=key, simple_value=value)


def _image(key: str, picture: np.ndarray) -> Summary.Value:
    """picture: RGB [height, width, 3] uint8."""
    png, (height, width, _) = io.BytesIO(), picture.shape
    Image.fromarray(picture).save(png, format="PNG")
    image = Summary.Image(
        height=height, width=width, colorspace=RGB, encoded_image_string=png.getvalue()
    )
    return Summary.Value(tag=key, image=image)


def _text(key: str, text: str) -> Summary.Value:
    plugin = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    tensor = TensorProto(dtype="DT_STRING", string_val=[told(text).encode()])
    return Summary.Value(tag=key, metadata=plugin, tensor=tensor)


def _event(values: list[Summary.Value], step: int, at: float | None = None) -> Event:
    """at: seconds since the epoch; left out, now."""
    return Event(step=step, wall_time=at or time.time(), summary=Summary(value=values))


def _write_events(folder: Path, events: list[Event]) -> str:
    """Write a new event file; its name."""
    suffix = f".{uuid.uuid4().hex[:8]}"
    writer = EventFileWriter(str(folder), filename_suffix=suffix)
    for event in events:
        writer.add_event(event)
    writer.close()
    (made,) = folder.glob(f"{EVENTS}{suffix}")
    return made.name


def _remove_others(folder: Path, files: list[str]) -> None:
    """Remove the event files that are not among these."""
    for path in folder.glob(EVENTS):
        if path.name not in files:
            path.unlink()


def _write_texts(folder: Path, texts: Mapping[str, object]) -> None:
    """Write texts of a folder, in place of those that were there."""
    about, values = folder / "about", [_text(key, str(value)) for key, value in texts.items()]
    _remove_others(about, [_write_events(about, [_event(values, 0)])])


def _legal(name: str) -> str:
    """The name as a folder's."""
    return re.sub(r"[^\w\-. ,=()]", "_", name)


def _folder(address: Address) -> Path:
    return Path(address.uri.partition("://")[2])
