"""What all tests share: one thread, no network, a cache folder of their own, and the real data
where they are.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

signal.signal(
    signal.SIGINT, signal.default_int_handler
)  # a shell that starts pytest in the background ignores it
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session", autouse=True)
def _cache_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Trained feature extractors are cached once per test session, outside the user's own cache."""
    os.environ["OUROBOROS_CACHE"] = str(tmp_path_factory.mktemp("cache"))


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
