"""A real S3 server on the loopback device (moto), that can be told to misbehave."""

from __future__ import annotations

import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUCKET = "bucket"
Environ = dict[str, Any]


class Server:
    """S3 at `url`; `fault(number, method, path)` may name what goes wrong with a request: busy,
    cut, lost or slow.

    busy  answered 503 SlowDown, nothing done        lost  done, but the connection closes without
          an answer
    cut   the request is read half and dropped       slow  answered after 50 ms
    """

    def __init__(self) -> None:
        self.app = DomainDispatcherApplication(create_backend_app)
        self.fault: Callable[[int, str, str], str] = lambda number, method, path: ""
        self.requests: list[tuple[str, str]] = []
        self.server = make_server("127.0.0.1", 0, self, threaded=True, request_handler=Quiet)
        self.url = f"http://127.0.0.1:{self.server.port}"

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append((method, path))
        fault = self.fault(len(self.requests), method, path)
        if fault == "busy":
            start_response("503 Slow Down", [("Content-Type", "application/xml")])
            return [
                b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
            ]
        if fault == "cut":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0) // 2)
            self._hang_up(environ)
        if fault == "slow":
            time.sleep(0.05)
        answer = self.app(environ, start_response)
        if fault == "lost":
            self._hang_up(environ)
        return answer

    def _hang_up(self, environ: Environ) -> None:
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionAbortedError

    def environment(self) -> dict[str, str]:
        """What any S3 client needs to find this server."""
        known = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        return {**known, "AWS_ENDPOINT_URL": self.url, "AWS_MAX_ATTEMPTS": "5"}


class Quiet(WSGIRequestHandler):
    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        """The list of requests is in the server."""


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.server.serve_forever, daemon=True)
    thread.start()
    urllib.request.urlopen(
        urllib.request.Request(f"{server.url}/moto-api/reset", method="POST")
    ).close()
    try:
        yield server
    finally:
        server.server.shutdown()
        thread.join()
