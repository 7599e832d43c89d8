"""A Ray cluster that is not there is said within seconds, by the variable that names it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.running import _joining
from engine.running._joining import GREETING, SETTINGS, unreachable
from tests.support.commands import GAUSSIANS, ouro
from tests.support.mirrored import free_port


@contextlib.contextmanager
def listening(answer: bytes, byte_by_byte: bool = False) -> Iterator[str]:
    """Somebody who answers every call so, and then says nothing more."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        done = threading.Event()

        def serve() -> None:
            line, _ = listener.accept()
            with line:
                assert line.recv(100).startswith(GREETING[:20])
                for i in range(len(answer) if byte_by_byte else 0):
                    if done.wait(0.05):
                        return
                    line.sendall(answer[i : i + 1])
                line.sendall(b"" if byte_by_byte else answer)
                done.wait(10)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        done.set()
        thread.join()


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_joining, "SECONDS", 0.3)


def test_what_speaks_the_language_is_let_be() -> None:
    with listening(bytes([0, 0, 0, SETTINGS, 0, 0, 0, 0, 0])) as address:
        assert unreachable(address) == "" == unreachable("auto-scheme://x")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH\r\n"])
def test_another_server_is_no_ray(answer: bytes) -> None:
    with listening(answer) as address:
        assert "what answers there is no Ray" in unreachable(address)


@pytest.mark.parametrize("dripping", [False, True])
def test_a_server_that_says_too_little_is_not_waited_for(dripping: bool) -> None:
    with listening(b"\0" * 8 if dripping else b"", dripping) as address:
        assert "nothing has answered within" in unreachable(f"ray://{address}")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1", "that is no host:port, such as 10.0.0.1:6379"),
        (":6379", "that is no host:port"),
        ("127.0.0.1:six", "that is no host:port"),
        ("127.0.0.1:99999", "that is no host:port"),
        ("nowhere.invalid:6379", "the name nowhere.invalid is not known"),
        ("a" * 80 + ".b:6379", "is not known"),
    ],
)
def test_an_address_of_nothing(address: str, said: str) -> None:
    assert said in unreachable(address) and "correct --address" in unreachable(address)


def test_the_cluster_that_was_started_last_may_be_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert unreachable("auto") == ""  # Ray says at once that there is none
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(f"127.0.0.1:{free_port()}")
    assert "at auto (127.0.0.1:" in unreachable("auto")


def test_a_dead_address_of_the_environment_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", address := f"127.0.0.1:{free_port()}")
    Path("sweep.yaml").write_text(GAUSSIANS)
    ran = ouro("run", "sweep.yaml")
    assert ran.code == 4 and f"at {address}: nothing answers there" in ran.err
    assert "from the variable RAY_ADDRESS: unset it to run on this machine" in ran.err
    assert not Path("runs").exists()
