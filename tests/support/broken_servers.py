"""Servers on the loopback device that are no good: each is what it does with a connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Talk = Callable[[socket.socket, threading.Event], None]


@contextmanager
def broken(talk: Talk | None) -> Iterator[str]:
    """The host and port of a server that talks so; None: nobody listens there any more."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        if talk is not None:
            threading.Thread(target=_listen, args=(listener, talk, over), daemon=True).start()
            try:
                yield place
            finally:
                over.set()
                listener.shutdown(socket.SHUT_RDWR)
    if talk is None:
        yield place


def _listen(listener: socket.socket, talk: Talk, over: threading.Event) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_talk, args=(connection, talk, over), daemon=True).start()


def _talk(connection: socket.socket, talk: Talk, over: threading.Event) -> None:
    with suppress(OSError), connection:
        talk(connection, over)


def silent(connection: socket.socket, over: threading.Event) -> None:
    over.wait()


def dripping(connection: socket.socket, over: threading.Event) -> None:
    """A head at once, and then a byte of the body now and then."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not over.wait(0.05):
        connection.sendall(b" ")


def garbled(connection: socket.socket, over: threading.Event) -> None:
    connection.recv(65536)
    connection.sendall(bytes(range(256)))


def saying(status: str, body: str) -> Talk:
    """The same answer to everything."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n"

    def talk(connection: socket.socket, over: threading.Event) -> None:
        while asked := connection.recv(65536):
            connection.sendall((head if asked.startswith(b"HEAD") else head + body).encode())

    return talk


PAGE = saying("200 OK", "<html>hello</html>")
ERROR = saying("500 Internal Server Error", "")


def refusing(code: str, message: str) -> Talk:
    """As S3 refuses."""
    about = f"<Code>{code}</Code><Message>{message}</Message>"
    return saying("403 Forbidden", f"<Error>{about}</Error>")
