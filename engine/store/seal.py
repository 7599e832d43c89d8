"""The seals of JSON files and of half-trained states: the digest of what a file holds stands in it,
so that damage is known.
"""

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


# ---- half-trained states -------------------------------------------------------------------------


def sealed_state(name: str, state: bytes) -> bytes:
    """A half-trained state, after the digest of its name and itself: one of another model, with
    networks of the same shapes, is not taken for it.
    """
    return _of_state(name, state) + state


def unsealed_state(name: str, data: bytes) -> bytes | None:
    """The state; None when it is damaged or has another name.  Older ones say no name."""
    begins, state = data[:32], data[32:]
    whole = begins in (_of_state(name, state), hashlib.sha256(state).digest())
    return state if whole else None


def _of_state(name: str, state: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\0" + state).digest()
