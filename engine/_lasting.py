"""Errors of servers, stores and databases that no other try will mend, and what does.

Told by the names of their types and by what they say: each library has errors of its own, and none
of them need be imported to know one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine._foreign import one_line, without_passwords

SIGN_IN = (
    "nobody has signed in: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or what the service "
    "asks for) in the environment"
)
NOT_ACCEPTED = (
    "who signs in is not known there: correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or sign "
    "in anew"
)
NOT_ALLOWED = "access is refused: ask for the right to it, or sign in as somebody who has it"
# (names of error types, what the message holds, what to do); the first that fits counts
KNOWN: tuple[tuple[str, str, str], ...] = (
    (
        "NoCredentialsError|PartialCredentialsError|ProfileNotFound|TokenRetrievalError"
        "|UnauthorizedSSOTokenError|DefaultCredentialsError",
        "",
        SIGN_IN,
    ),
    ("", r"InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|InvalidToken", NOT_ACCEPTED),
    ("", r"Access Key Id you provided|signature we calculated|token .*expired", NOT_ACCEPTED),
    ("", r"Unable to locate credentials|Anonymous caller|invalid_grant", SIGN_IN),
    (
        "",
        r"NoSuchBucket|bucket does not exist|InvalidBucketName|Invalid bucket name",
        "there is no such bucket: make it, or correct its name",
    ),
    (
        "MlflowException|RestException|HTTPError",
        r"\b40[13]\b|PERMISSION_DENIED|UNAUTHENTICATED|Unauthorized|Forbidden",
        "the server lets nobody in without its password: set MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD",
    ),
    ("", r"AccessDenied|Access Denied|AccountProblem", NOT_ALLOWED),
    (
        "MlflowException|RestException|HTTPError",
        r"\b404\b|ENDPOINT_NOT_FOUND",
        "no MLflow is at this address: correct tracking",
    ),
    (
        "",
        r"file is not a database|database disk image is malformed",
        "move the file away: a new database is made and filled",
    ),
    ("", r"out-of-date database schema", "upgrade it with `mlflow db upgrade URI`"),
    ("", r"Can't locate revision", "a newer MLflow made it: install that, or track elsewhere"),
    (
        "OperationalError|ProgrammingError",
        r"table \S+ already exists",
        "the database is half made: move it away, and a new one is made and filled",
    ),
    (
        "",
        r"password authentication failed|no password supplied|Access denied for user",
        "give the database its password in the environment (PGPASSWORD)",
    ),
    ("", r"(role|database) \"[^\"]*\" does not exist", "make it, or correct tracking"),
    ("NoSuchModuleError", "", "no library is installed for such a database: correct tracking"),
    ("ModuleNotFoundError", "", "install the library that is missing"),
    (
        "",
        r"CERTIFICATE_VERIFY_FAILED",
        "its certificate is not trusted here: set REQUESTS_CA_BUNDLE to the authority's file",
    ),
    (
        "InvalidURL|MissingSchema|InvalidSchema|LocationParseError|ArgumentError"
        "|UnsupportedModelRegistryStoreURIException",
        "",
        "the address cannot be understood: correct tracking",
    ),
)
LONGEST = 300  # characters of what a library says
# modules whose errors are of the environment, whatever they say
OUTSIDE = ("botocore", "aiobotocore", "s3fs", "gcsfs", "adlfs", "google", "azure", "aiohttp")


def remedy(error: BaseException | str) -> str:
    """What to do about an error, or what was said of it with its type, that will not pass by
    itself; '' where it may.
    """
    for said in [error] if isinstance(error, str) else map(_said, _chain(error)):
        for types, pattern, mend in KNOWN:
            if re.search(rf"\b({types})\b" if types else "", said) and re.search(pattern, said):
                return mend
    return ""


def _said(error: BaseException) -> str:
    """Its types and what it says."""
    types = " ".join(kind.__name__ for kind in type(error).__mro__)
    return f"{types}: {error}"


def in_words(error: BaseException) -> str:
    """An error of a library as a sentence, with what mends it where that is known."""
    said = one_line(without_passwords(str(error).partition("\n")[0])) or type(error).__name__
    if len(said) > LONGEST:
        said = f"{said[:LONGEST]} ..."
    mend = remedy(error)
    return f"{said}; {mend}" if mend else said


def is_outside(error: BaseException) -> bool:
    """Whether an error is of an object store or of the way to it."""
    modules = {kind.__module__.partition(".")[0] for e in _chain(error) for kind in type(e).__mro__}
    return not modules.isdisjoint(OUTSIDE)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those behind it."""
    seen: list[BaseException] = []
    now: BaseException | None = error
    while now is not None and now not in seen:
        seen.append(now)
        now = now.__cause__ or now.__context__
    yield from seen
