"""Whether a Ray cluster answers at an address, found out in seconds: Ray itself would try for many
minutes without a word.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from pathlib import Path

VARIABLE = "RAY_ADDRESS"
OTHER = "what answers there is no Ray"
SECONDS = 5.0  # for each of: the name, the connection, the first answer
# what a client of HTTP/2 begins with (RFC 9113, 3.4): its preface and an empty SETTINGS frame
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
HEAD, KIND, SETTINGS = 9, 3, 4  # bytes of a frame's head; where its type stands; that of SETTINGS


def unreachable(address: str) -> str:
    """Why no Ray cluster can be joined at an address, or ''.

    Addresses of other schemes than ray://, and `auto` where nothing is started, are left to Ray.
    """
    joined = _started() if address == "auto" else None
    place = (joined or address).removeprefix("ray://")
    if place == "auto" or "://" in place:
        return ""
    host, _, port = place.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        why = "that is no host:port, such as 10.0.0.1:6379"
    else:
        why = _silent(host, int(port))
    stands = f" ({joined})" if joined else ""
    said = f"cannot join the Ray cluster at {address}{stands}: {why}; {_mend(address)}"
    return said if why else ""


def _started() -> str | None:
    """The cluster that `ray start` began last on this machine, which may be gone."""
    folder = Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return (folder / "ray_current_cluster").read_text().strip() or None
    return None


def _mend(address: str) -> str:
    """What to do, by where the address is from."""
    if os.environ.get(VARIABLE) == address:
        return f"it is from the variable {VARIABLE}: unset it to run on this machine, or correct it"
    return "correct --address, or leave it out to run on this machine"


def _silent(host: str, port: int) -> str:
    """Why nothing that speaks Ray's language answers, or ''."""
    try:
        with socket.create_connection((_resolved(host, port), port), SECONDS) as line:
            if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
                return ""
            line.sendall(GREETING)
            return "" if _answer(line)[KIND : KIND + 1] == bytes([SETTINGS]) else OTHER
    except socket.gaierror as error:
        return f"the name {host} is not known ({error.strerror or error})"
    except TimeoutError:
        return f"nothing has answered within {SECONDS:.0f} s"
    except OSError as error:
        return f"nothing answers there ({(error.strerror or str(error)).lower()})"


def _answer(line: socket.socket) -> bytes:
    """The head of the first frame, or what came instead of one."""
    until, found = time.monotonic() + SECONDS, b""
    while len(found) < HEAD and (left := until - time.monotonic()) > 0:
        line.settimeout(left)
        more = line.recv(HEAD - len(found))
        if not more:
            break
        found += more
    return found


def _resolved(host: str, port: int) -> str:
    """The number of a host; its name is looked up aside, for that may take minutes."""
    found: list[str] = []
    errors: list[OSError] = []

    def look() -> None:
        try:
            found.append(str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0]))
        except (OSError, UnicodeError) as error:
            unknown = socket.gaierror(socket.EAI_NONAME, str(error))
            errors.append(error if isinstance(error, OSError) else unknown)

    asking = threading.Thread(target=look, daemon=True)
    asking.start()
    asking.join(SECONDS)
    if errors:
        raise errors[0]
    if not found:
        raise socket.gaierror(socket.EAI_AGAIN, f"no answer within {SECONDS:.0f} s")
    return found[0]
