"""The seal of a JSON file: the digest of what it holds stands in it, so that damage is known."""

from __future__ import annotations

import hashlib
import json

from engine.store.shapes import Malformed

HEAD, MIDDLE, END = b'{"sha256": "', b'", "value": ', b"}\n"  # of every JSON file
BODY = slice(len(HEAD) + 64 + len(MIDDLE), -len(END))


class Damaged(Exception):
    """A committed file whose bytes are not those its row names."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sealed(value: object) -> bytes:
    """A value as JSON, with the digest of it."""
    body = json.dumps(value, sort_keys=True, allow_nan=False).encode()
    return HEAD + sha256(body).encode() + MIDDLE + body + END


def unsealed(data: bytes) -> object:
    """The value of a sealed file.  Malformed when it is cut, changed, or no JSON."""
    body = data[BODY]
    if _frame_of(data) != HEAD + sha256(body).encode() + MIDDLE + END:
        raise Malformed("cut or changed since it was written")
    try:
        value: object = DECODER.decode(body.decode())
    except (ValueError, RecursionError) as error:
        raise Malformed(f"no JSON: {error}") from None
    return value


def _frame_of(data: bytes) -> bytes:
    """What stands around the body."""
    return data[: BODY.start] + data[BODY.stop :]


def _refused(constant: str) -> object:
    raise Malformed(f"{constant} is no number in JSON")


DECODER = json.JSONDecoder(parse_constant=_refused)
