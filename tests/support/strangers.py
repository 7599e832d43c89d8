"""What a stranger may have made of an output: one thing in it replaced, and a folder beside it that
nobody may touch.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import os
import random
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.store.seal import sealed, unsealed

JUNK: list[Any] = [
    *(None, True, -1, 7, 0.5, 10**400, "", "text", "../x", "a/../b", "nul\0", "x" * 300),
    *([], [[]], ["a", 1], {}, {"": ""}, {"a": None}, {"a": {"b": []}}, "\ud800", 2**40),
]
GONE = object()
# what commands write to beside what is committed, wherever it is not there yet
WRITTEN = (
    *("locks", "locks/sweep", "logs", "logs/sweep.log", "summary.json", "film_strip.png"),
    *("report", "report/report.html", "report/figures", "damaged", "partial", "failures"),
    *("few.csv", "few.parquet", "experiments", "experiments/few.yaml", "output.json", "extra"),
)


# ---- the folder beside ---------------------------------------------------------------------------


def guard(folder: Path) -> Path:
    """A folder of somebody's own things."""
    (folder / "inner").mkdir(parents=True)
    (folder / "key").write_text("secret\n")
    (folder / "inner" / "row.json").write_text('{"sha256": "", "value": {}}\n')
    (folder / "inner" / "weights.safetensors").write_bytes(bytes(64))
    return folder


def fingerprint(folder: Path) -> str:
    """Names, kinds, contents and times of all below a folder, itself included.

    Not how many names a file has: one that an output holds, too, goes when the output replaces it.
    """
    whole = hashlib.sha256()
    for path in [folder, *sorted(folder.rglob("*"))]:
        about = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(about.st_mode) else b""
        link = os.readlink(path) if stat.S_ISLNK(about.st_mode) else ""
        said = (str(path), about.st_mode, about.st_mtime_ns, link, content)
        whole.update(repr(said).encode())
    return whole.hexdigest()


# ---- what is put in a place ----------------------------------------------------------------------


@dataclass(frozen=True)
class Hand:
    """A stranger's: where everything is, and what is chosen.

    clean: the files of the output as it was, by path within it.
    """

    out: Path
    outside: Path
    clean: dict[str, bytes]
    choose: random.Random

    def empty(self, place: Path) -> bytes | None:
        """Make room in a place; the bytes of the file that was there."""
        data = place.read_bytes() if place.is_file() else None
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        return data


def link(hand: Hand, place: Path) -> None:
    hand.empty(place)
    targets = ["key", "inner", "inner/row.json", "gone", "inner/new"]
    place.symlink_to(hand.outside / hand.choose.choice(targets))


def chain(hand: Hand, place: Path) -> None:
    """A link to a link to something outside, or to itself."""
    hand.empty(place)
    second = place.with_name(f"{place.name}.second")
    place.symlink_to(second)
    second.symlink_to(hand.choose.choice([place, hand.outside / "key", hand.outside / "inner"]))


def moved_out(hand: Hand, place: Path) -> None:
    """What was there lies elsewhere in the output, and a link leads to it."""
    if not place.exists():
        return link(hand, place)
    elsewhere = hand.out / f"elsewhere-{hand.choose.randrange(10**6)}"
    place.rename(elsewhere)
    return place.symlink_to(elsewhere)


def pipe(hand: Hand, place: Path) -> None:
    hand.empty(place)
    os.mkfifo(place)


def listening(hand: Hand, place: Path) -> None:
    """A socket, whose path may be too long to make it there."""
    hand.empty(place)
    with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(hand.out):
        made.bind("s")
    (hand.out / "s").rename(place)


def device(hand: Hand, place: Path) -> None:
    """Endless zeros; of root's, else a pipe."""
    if os.getuid() != 0:
        return pipe(hand, place)
    hand.empty(place)
    return os.mknod(place, 0o666 | stat.S_IFCHR, os.makedev(1, 5))


def folder(hand: Hand, place: Path) -> None:
    hand.empty(place)
    place.mkdir()
    if hand.choose.random() < 0.5:
        (place / "row.json").write_text("{}")


def second_name(hand: Hand, place: Path) -> None:
    """A hard link to a file of the same content as what was there."""
    data = hand.empty(place)
    twin = hand.outside / "inner" / "twin"
    twin.unlink(missing_ok=True)
    twin.write_bytes(data or b"mine\n")
    os.link(twin, place)


def other(hand: Hand, place: Path) -> None:
    hand.empty(place)
    place.write_bytes(hand.clean[hand.choose.choice(sorted(hand.clean))])


def cut(hand: Hand, place: Path) -> None:
    data = hand.empty(place) or b"x"
    place.write_bytes(data[: hand.choose.randrange(len(data) or 1)])


def flipped(hand: Hand, place: Path) -> None:
    data = bytearray(hand.empty(place) or b"x")
    for _ in range(hand.choose.choice([1, 1, 20])):
        data[hand.choose.randrange(len(data))] ^= 1 << hand.choose.randrange(8)
    place.write_bytes(bytes(data))


def reshaped(hand: Hand, place: Path) -> None:
    """JSON of another shape, under a digest that is right."""
    data = place.read_bytes() if place.is_file() and place.suffix == ".json" else b""
    try:
        value: Any = unsealed(data)
    except ValueError:
        return other(hand, place)
    # a schema that is not known yet stops all, as it must
    known = [path for path in places(value) if path[-1:] != ("schema",)]
    junk = hand.choose.choice([*JUNK, GONE])
    value = changed(value, hand.choose.choice(known), junk)
    body = sealed(value)
    if hand.choose.random() < 0.1:
        value, body = None, sealed(json_deep(hand.choose.choice([50, 900])))
    place.write_bytes(body)
    return None


def json_deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


STRANGE: list[Callable[[Hand, Path], None]] = [link, chain, moved_out, pipe, listening, device]
PLAIN: list[Callable[[Hand, Path], None]] = [folder, second_name, other, cut, flipped]


def meddle(hand: Hand) -> tuple[str, str]:
    """Change one thing; how, and where."""
    folders = {str(Path(name).parent) for name in hand.clean} - {"."}
    group = hand.choose.choice(["file", "file", "shape", "folder", "written"])
    if group == "shape":
        known = [name for name in hand.clean if name.endswith(".json")]
        how, name = reshaped, hand.choose.choice(sorted(known))
    elif group == "folder":
        how = hand.choose.choice([*STRANGE, other])
        name = hand.choose.choice(sorted(folders))
    elif group == "written":
        how, name = hand.choose.choice([*STRANGE, folder, second_name]), hand.choose.choice(WRITTEN)
    else:
        how = hand.choose.choice([*STRANGE, *PLAIN])
        name = hand.choose.choice(sorted(hand.clean))
    how(hand, hand.out / name)
    return how.__name__, name


# ---- JSON ----------------------------------------------------------------------------------------


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a JSON value: the whole, each item, each item of these."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def changed(value: Any, path: tuple[Any, ...], to: Any) -> Any:
    """The value with something else in one place, or nothing there (GONE)."""
    if not path:
        return None if to is GONE else to
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    if to is GONE:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    return value
