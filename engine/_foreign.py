"""Text that is not ours (keys of a file, names, errors of libraries), as it may be shown and kept:
without what a terminal would obey, without what makes it look like something else, and without
passwords.
"""

from __future__ import annotations

import os
import re

LONGEST = 255  # bytes of a name in a path
# what stands between the user's name and the host of a URI; a password may hold any of its signs
PASSWORD = re.compile(r"([A-Za-z][\w+.-]*://[^\s/@:'\"]*):[^\s'\"]*@")
QUERY = re.compile(  # but for the key that names a view of MLflow's pages, which opens nothing
    r"([?&;](?!viewStateShareKey=)[\w.-]*"
    r"(?:password|passwd|pwd|token|secret|signature|credential|key)=)[^&;\s'\"]+",
    re.I,
)


def escaped(text: str) -> str:
    """Text in which every character that cannot be seen is written as Python writes it: control
    characters (of C0, C1, DEL), bidirectional overrides, what has no width, lone surrogates.

    Line breaks and spaces stay.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _escape(c) for c in text)


def one_line(text: str) -> str:
    """The same for what stands in one line: line breaks are escaped, too."""
    return escaped(text).replace("\n", "\\n")


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def without_passwords(text: str) -> str:
    """Text whose URIs have lost their passwords: `http://user@host`, `?token=***`.

    Such a URI still means the same place to whoever has the password from elsewhere.
    """
    if "=" in text:  # libraries quote the end of a URI, too, without its beginning
        text = QUERY.sub(r"\1***", text)
    return PASSWORD.sub(r"\1@", text) if "://" in text else text


def told(text: str) -> str:
    """Text as it may stand in a file that others read: escaped, and without passwords."""
    return escaped(without_passwords(text))


class HoldsPassword(ValueError):
    """The place of an output holds a password, and would be recorded with it."""

    def __init__(self, url: str) -> None:
        super().__init__(
            f"the output {without_passwords(url)} was given with a password, which would be "
            "written into what is made of it; give it without one, and the password in the "
            "environment (for s3:// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
        )


class NoPlace(ValueError):
    """A path or URL that nothing can have, on any computer."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"{without_passwords(url)!r:.200} is no place for an output: {why}")


def open_to_all(url: str) -> str:
    """Return the place of an output, which everybody may read; HoldsPassword for one that tells a
    password, NoPlace for one that cannot be.
    """
    if "\0" in url:
        raise NoPlace(url, "no path holds a null byte")
    try:
        name = max(os.fsencode(url).split(b"/"), key=len)
    except UnicodeEncodeError:
        raise NoPlace(url, "it holds half a letter (a lone surrogate)") from None
    if len(name) > LONGEST:
        raise NoPlace(url, f"a name in it has {len(name):,} bytes, and may have {LONGEST}")
    if "://" in url and without_passwords(url) != url:
        raise HoldsPassword(url)
    return url
