"""What all tests share: one thread, no network, a cache folder of their own, and the real data
where they are.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.support.ouro import end

signal.signal(
    signal.SIGINT, signal.default_int_handler
)  # a shell that starts pytest in the background ignores it
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What tests print or log of hostile words travels between processes as UTF-8."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "replace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture(scope="session", autouse=True)
def _cache_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Trained feature extractors are cached once per test session, outside the user's own cache."""
    os.environ["OUROBOROS_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def _no_process_is_left() -> Iterator[None]:
    """The process that starts command lines ends with the tests."""
    yield
    end()


@pytest.fixture(autouse=True)
def _no_parts_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--parts` in this process would stay for the tests that come after."""
    monkeypatch.setenv("OUROBOROS_PARTS", "")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets, or skip."""
    root = os.environ.get("OUROBOROS_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("OUROBOROS_DATA does not name a folder of real data")
    return Path(root)


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory where there is one: for thousands of commits, whose fsync takes its time
    on a busy disk.
    """
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="ouro-", dir=shared if os.access(shared, os.W_OK) else None
    ) as name:
        yield Path(name)
