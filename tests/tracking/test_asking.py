"""What is tracked is read within seconds, or one sentence says why it cannot be."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from engine.tracking import asking, backoff, mlflow_runs
from engine.tracking.asking import Asked, Unread
from engine.tracking.tracker import Address, open_tracker, serve
from tests.support import broken_servers as servers
from tests.support.commands import GAUSSIANS, ouro

BROKEN = {
    "dead": (None, "refused"),
    "silent": (servers.silent, "no whole answer within"),
    "dripping": (servers.dripping, "no whole answer within"),
    "garbled": (servers.garbled, ""),
    "page": (servers.PAGE, "not in a valid JSON format"),
    "error": (servers.ERROR, "500"),
}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "ANSWERS", 0.3)


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_server_is_one_sentence(fault: str) -> None:
    talk, said = BROKEN[fault]
    started = time.monotonic()
    with servers.broken(talk) as place, pytest.raises(Unread) as caught:
        mlflow_runs.rows(f"http://{place}", "few")
    assert f"what is tracked at http://{place} cannot be read: " in str(caught.value)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 and time.monotonic() - started < 20


@pytest.mark.parametrize("fault", ["dead", "silent"])
def test_so_is_a_broken_database(fault: str) -> None:
    pytest.importorskip("psycopg2")
    talk, said = BROKEN[fault]
    with servers.broken(talk) as place:
        uri = f"postgresql+psycopg2://me:hush@{place}/mlflow"
        with pytest.raises(Unread, match=said) as caught:
            mlflow_runs.rows(uri, "few")
        with pytest.raises(Unread, match=said):
            serve(Address(uri), "few", 5000)
        tracker, started = open_tracker(Address(uri), "few", "0"), time.monotonic()
        assert not tracker.finish_sweep("FINISHED", {}) and tracker.behind
    assert "//me@" in str(caught.value) and "hush" not in str(caught.value) + tracker.trouble
    assert time.monotonic() - started < 20


def test_a_server_that_stops_in_the_middle_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asking, "SECONDS", 0.3)
    with servers.broken(servers.PAGE) as place:
        client = Asked(f"http://{place}", lambda uri: time)
        assert client.gmtime(0).tm_year == 1970
        with pytest.raises(Unread, match=f"{place} cannot be read: no whole answer within 0.3 s"):
            client.sleep(5)


def test_an_export_of_what_cannot_be_asked_ends_with_4(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")  # the command sets them
    monkeypatch.chdir(tmp_path)
    (tmp_path / "few.yaml").write_text(GAUSSIANS)
    assert ouro("run", "few.yaml", "--local", "-q").code == 0
    with servers.broken(servers.silent) as place:
        ended = ouro("export", "few.yaml", "--mlflow", "--set", f"tracking=http://me:hush@{place}")
    assert ended.code == 4 and ended.err.startswith("what is tracked at http://"), ended
    assert "hush" not in ended.err
    ended = ouro("export", "few.yaml", "--mlflow", "--set", "tracking=sqlite:///none.db")
    assert ended.code == 2 and "there is no none.db" in ended.err
    assert not (tmp_path / "none.db").exists()
