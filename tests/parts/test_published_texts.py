"""Texts are fetched with their digests checked, here from a server of this machine."""

from __future__ import annotations

import hashlib
import http.server
import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from engine.cli import look
from engine.contents import Lack
from engine.datasets import _published_texts
from engine.datasets._published_texts import TEXTS, Published, download
from engine.files import data_root
from engine.registry import make
from engine.status import ExitCode

WHOLE = b"a story, \n" * 500
CALLED = {"wiki.train.tokens": b"train", "wiki.test.tokens": b"test"}


class Server(http.server.BaseHTTPRequestHandler):
    """Gives a file whole, or from where it is asked to go on."""

    files: dict[str, bytes] = {}
    asked: list[str] = []

    def do_GET(self) -> None:
        data, asked = self.files.get(self.path), self.headers.get("Range", "")
        self.asked.append(asked)
        begin = int(asked.removeprefix("bytes=").rstrip("-") or 0)
        if data is None:
            return self.send_error(404)
        if begin >= len(data):
            return self.send_error(416)
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(data) - begin))
        self.end_headers()
        self.wfile.write(data[begin:])

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in CALLED.items():
            archive.writestr(f"wikitext-2/{name}", data)
    monkeypatch.setattr(Server, "files", {"/input.txt": WHOLE, "/two.zip": buffer.getvalue()})
    monkeypatch.setattr(Server, "asked", [])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def published(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = {"input.txt": hashlib.sha256(WHOLE).hexdigest()}
    two = {name: hashlib.sha1(data).hexdigest() for name, data in CALLED.items()}
    texts = {
        "tinyshakespeare": Published(f"{address}/input.txt", "text/tinyshakespeare", one),
        "wikitext2": Published(f"{address}/two.zip", "text/wikitext-2", two),
        "tinystories": Published(f"{address}/absent.txt", "text/tinystories", one),
    }
    monkeypatch.setattr(_published_texts, "TEXTS", texts)


@pytest.mark.usefixtures("published")
def test_a_text_is_fetched_once_and_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    folder = tmp_path / "text/tinyshakespeare"
    folder.mkdir(parents=True)
    (folder / ".input.txt.part").write_bytes(WHOLE[:1234])
    assert download("tinyshakespeare", str(tmp_path)) == folder
    assert (folder / "input.txt").read_bytes() == WHOLE and Server.asked == ["bytes=1234-"]
    assert not (folder / ".input.txt.part").exists()
    download("tinyshakespeare", str(tmp_path))
    assert len(Server.asked) == 1  # it is there
    (folder / "input.txt").write_bytes(WHOLE[:-1])
    download("tinyshakespeare", str(tmp_path))
    assert (folder / "input.txt").read_bytes() == WHOLE and len(Server.asked) == 2
    (folder / "input.txt").unlink()
    (folder / ".input.txt.part").write_bytes(WHOLE)  # all of it came, and then the power went
    download("tinyshakespeare", str(tmp_path))
    assert (folder / "input.txt").read_bytes() == WHOLE


@pytest.mark.usefixtures("published")
def test_an_archive_is_unpacked(tmp_path: Path) -> None:
    folder = download("wikitext2", str(tmp_path))
    assert {p.name: p.read_bytes() for p in folder.glob("wiki*")} == CALLED


@pytest.mark.usefixtures("published")
def test_what_is_something_else_is_refused_and_tried_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "text/tinyshakespeare"
    folder.mkdir(parents=True)
    (folder / ".input.txt.part").write_bytes(b"of another file")
    with pytest.raises(RuntimeError, match=r"gave \(5,000 bytes\) is not input.txt as published"):
        download("tinyshakespeare", str(tmp_path))
    assert not (folder / "input.txt").exists()
    download("tinyshakespeare", str(tmp_path))
    assert (folder / "input.txt").read_bytes() == WHOLE
    monkeypatch.setitem(Server.files, "/two.zip", Server.files["/two.zip"][:-30])
    with pytest.raises(RuntimeError, match=r"is not wiki.train.tokens as published"):
        download("wikitext2", str(tmp_path))
    with pytest.raises(OSError, match="404"):
        download("tinystories", str(tmp_path))


def test_a_text_that_is_not_here_is_fetched_by_a_command(tmp_path: Path) -> None:
    for path in ("text/tinyshakespeare/input.txt", "text/tinystories/TinyStories-valid.txt"):
        found = make("dataset", "text", path=path, root=str(tmp_path)).contents()
        assert isinstance(found, Lack)
        name = path.split("/")[1]
        assert found.fix == f"fetch it with `ouro download {name} --root {tmp_path}`"
    other = make("dataset", "text", path="own.txt", root=str(tmp_path)).contents()
    assert isinstance(other, Lack) and "download" not in other.fix


def test_the_digests_are_those_of_the_files_that_are_here() -> None:
    seen = 0
    for own in TEXTS.values():
        for name, digest in own.files.items():
            path = data_root() / own.folder / name
            if path.exists():
                seen += 1
                assert _published_texts._is(path, digest), path
    if not seen:
        pytest.skip("no text is on this machine")


@pytest.mark.usefixtures("published")
def test_the_command_says_where_a_text_is_or_why_it_did_not_come(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    look.download("tinyshakespeare", str(tmp_path))
    assert "tinyshakespeare is in" in capsys.readouterr().out
    for name, code in (("tinystories", ExitCode.ENVIRONMENT), ("shakespeare", ExitCode.BAD_INPUT)):
        with pytest.raises(typer.Exit) as ended:
            look.download(name, str(tmp_path))
        assert ended.value.exit_code == code
    said = " ".join(capsys.readouterr().err.split())
    assert "could not fetch tinystories: 404" in said
    assert "nothing to download is called 'shakespeare'; there are: mnist" in said
