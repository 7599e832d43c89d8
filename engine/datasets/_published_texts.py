"""Published texts that `ouro download` fetches into the data root: what they are, and fetching them
with their digests checked; a download that was cut off goes on where it was.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from engine.files import data_root, exclusive, write_atomically

SECONDS = 60  # without a byte, after which a server is given up
CHUNK = 1 << 20


@dataclass(frozen=True)
class Published:
    """A text as published.

    url     of its file, or of a zip that holds its files.
    folder  below the data root.
    files   SHA-1 or SHA-256 of each, by name.
    """

    url: str
    folder: str
    files: dict[str, str]


TEXTS = {
    "tinyshakespeare": Published(
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        "text/tinyshakespeare",
        {"input.txt": "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"},
    ),
    # words apart, rare ones <unk>: not the raw version
    "wikitext2": Published(
        "https://wikitext.smerity.com/wikitext-2-v1.zip",
        "text/wikitext-2",
        {
            "wiki.train.tokens": "863f29c46ef9d167fff4940ec821195882fe29d1",
            "wiki.valid.tokens": "0418625c8b4da6e4b5c7a0b9e78d4ae8f7ee5422",
            "wiki.test.tokens": "c7b8ce0aa086fb34dab808c5c49224211eb2b172",
        },
    ),
    # its validation part, 19 MB: the part to train on, 1.9 GB, is more than `text` reads
    "tinystories": Published(
        "https://huggingface.co/datasets/roneneldan/TinyStories/resolve/main/TinyStories-valid.txt",
        "text/tinystories",
        {
            "TinyStories-valid.txt": (
                "94e431816c4cce81ff71e4408ff8d3bda9a42e8d2663986697c3954288cb38b4"
            )
        },
    ),
}


def command_for(path: str, root: str | None) -> str:
    """What fetches the text at a path below the data root; '' of one that is not published."""
    for name, own in TEXTS.items():
        if PurePosixPath(path) in {PurePosixPath(own.folder) / file for file in own.files}:
            where = [] if root is None else ["--root", root]
            return shlex.join(["ouro", "download", name, *where])
    return ""


def download(name: str, root: str | None = None) -> Path:
    """Fetch a text into the data root, unless it is there whole; RuntimeError where what came is
    something else, OSError where nothing came.
    """
    own = TEXTS[name]
    folder = data_root(root) / own.folder
    with exclusive(folder / f".{name}.lock"):
        if not all(_is(folder / file, digest) for file, digest in own.files.items()):
            _fetch(own, folder)
    return folder


def _fetch(own: Published, folder: Path) -> None:
    part = folder / f".{PurePosixPath(own.url).name}.part"
    _download(own.url, part)
    found = _unpacked(own, part)
    for name, digest in own.files.items():
        if name not in found or _digest(found[name], digest) != digest:
            size = part.stat().st_size
            part.unlink()
            raise RuntimeError(
                f"what {own.url} gave ({size:,} bytes) is not {name} as published, by its digest; "
                "it was removed: try again, or put the file there yourself"
            )
    for name in own.files:
        write_atomically(folder / name, found[name])
    part.unlink()


def _unpacked(own: Published, part: Path) -> dict[str, bytes]:
    """The files of what was fetched, by name; none of a damaged archive."""
    if not own.url.endswith(".zip"):
        return {name: part.read_bytes() for name in own.files}
    try:
        with zipfile.ZipFile(part) as archive:
            return {PurePosixPath(at).name: archive.read(at) for at in archive.namelist()}
    except (zipfile.BadZipFile, EOFError, NotImplementedError):
        return {}


def _download(url: str, part: Path) -> None:
    """Into a file, after what an earlier try left in it."""
    import requests

    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with requests.get(url, headers=headers, stream=True, timeout=SECONDS) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            return  # all of it is there
        answer.raise_for_status()
        goes_on = answer.status_code == requests.codes.partial_content
        with open(part, "ab" if goes_on else "wb") as file:
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())


def _is(path: Path, digest: str) -> bool:
    """Whether a file is the published one."""
    return path.is_file() and _digest(path.read_bytes(), digest) == digest


def _digest(data: bytes, like: str) -> str:
    """SHA-1 or SHA-256, as long as this one."""
    return hashlib.new("sha1" if len(like) == 40 else "sha256", data).hexdigest()
