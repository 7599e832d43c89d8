"""Which errors of servers, stores and databases no other try mends, and what does."""

from __future__ import annotations

import sqlite3

import pytest

from engine._lasting import is_outside, remedy
from engine.running.failure import kind_of, may_pass
from engine.status import FailureKind


class NoCredentialsError(Exception):
    """As botocore's."""

    __module__ = "botocore.exceptions"


class EndpointConnectionError(Exception):
    """As botocore's."""

    __module__ = "botocore.exceptions"


@pytest.mark.parametrize(
    ("error", "mend"),
    [
        (NoCredentialsError("Unable to locate credentials"), "AWS_SECRET_ACCESS_KEY"),
        (FileNotFoundError("The specified bucket does not exist"), "make it, or correct its name"),
        (PermissionError("Access Denied"), "access is refused"),
        (sqlite3.DatabaseError("file is not a database"), "move the file away"),
        ("MlflowException: failed with error code 401 != 200", "MLFLOW_TRACKING_PASSWORD"),
        ("MlflowException: error code 404", "correct tracking"),
        ("OperationalError: table experiments already exists", "half made"),
        ("OperationalError: database is locked", ""),
        ("MlflowException: failed with error code 500", ""),
        (EndpointConnectionError("Could not connect"), ""),
        (ConnectionRefusedError(111, "refused"), ""),
    ],
)
def test_what_lasts_is_known_and_what_mends_it(error: Exception | str, mend: str) -> None:
    assert mend in remedy(error) and bool(mend) == bool(remedy(error))


def test_an_object_store_that_does_not_answer_may_pass_but_not_one_without_a_key() -> None:
    away, locked_out = EndpointConnectionError("no"), NoCredentialsError("no")
    assert is_outside(away) and may_pass(away) and kind_of(away) is FailureKind.PASSING
    assert not may_pass(locked_out) and kind_of(locked_out) is FailureKind.ENVIRONMENT
    try:
        raise RuntimeError("while reading") from locked_out
    except RuntimeError as error:
        assert "AWS_ACCESS_KEY_ID" in remedy(error)
