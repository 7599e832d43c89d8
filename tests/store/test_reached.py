"""An output on S3 that cannot be looked at is one sentence and exit code 4 of every command that
reads, within seconds: whatever the server does, and whoever asks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

import engine
from engine.store import files, outputs
from engine.store.store import Store
from tests.support import broken_servers as servers
from tests.support.commands import GAUSSIANS, ouro

pytest.importorskip("s3fs")
pytestmark = pytest.mark.filterwarnings("ignore")  # of boto's own
READING = ("status", "verify", "report", "export", "clean", "plan", "threshold --look", "ui")
HERE = "s3://bucket/few"
BROKEN = {
    "dead": (None, "no whole answer within|Could not connect"),
    "silent": (servers.silent, "no whole answer within"),
    "dripping": (servers.dripping, "no whole answer within"),
    "garbled": (servers.garbled, "Bad status line|no whole answer within"),
    "page": (servers.PAGE, "this is no object store"),
    "unknown key": (servers.refusing("InvalidAccessKeyId", "no such key"), "correct AWS_ACCESS"),
    "wrong key": (servers.refusing("SignatureDoesNotMatch", "other"), "correct AWS_ACCESS_KEY_ID"),
    "no right": (servers.refusing("AccessDenied", "Access Denied"), "access is refused: ask for"),
}


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "hush")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(outputs, "SECONDS", 100.0)  # whatever else the machine does
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    yield monkeypatch
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_object_store_is_one_sentence(
    fault: str, s3: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    talk, said = BROKEN[fault]
    (tmp_path / "few.yaml").write_text(GAUSSIANS)
    if "no whole answer" in said:
        s3.setattr(outputs, "SECONDS", 1.0)
    with servers.broken(talk) as place:
        s3.setenv("AWS_ENDPOINT_URL", f"http://{place}")
        started = time.monotonic()
        with pytest.raises(engine.EnvironmentProblem, match=said) as caught:
            engine.open(HERE)
        assert time.monotonic() - started < 60
        ended = ouro("status", str(tmp_path / "few.yaml"), "--out", HERE)
        assert ended.code == 4, ended
    for text in (str(caught.value), ended.err.strip()):
        assert text.startswith(f"cannot open the output {HERE}: ") and "\n" not in text
        assert text.endswith(f" (AWS_ENDPOINT_URL is http://{place})") and "hush" not in text


@pytest.mark.parametrize("command", READING)
def test_every_command_says_it(command: str, s3: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "few.yaml").write_text(
        GAUSSIANS.replace("tracking: none\n", "threshold: {width: 0.5}\n")
    )
    name, *options = command.split()
    with servers.broken(servers.refusing("InvalidAccessKeyId", "no such key")) as place:
        s3.setenv("AWS_ENDPOINT_URL", f"http://{place}")
        for asked in ([str(tmp_path / "few.yaml"), "--out", HERE], [HERE]):
            ended = ouro(name, *asked, *options)
            assert ended.code == 4 and "cannot open the output" in ended.err, ended
            assert "no such key; who signs in is not known there" in ended.err


def test_a_bucket_that_is_not_there_is_no_missing_output(s3: pytest.MonkeyPatch) -> None:
    pytest.importorskip("moto")
    from tests.support.object_store import serving

    with serving() as server:
        s3.setenv("AWS_ENDPOINT_URL", server.url)
        with pytest.raises(engine.EnvironmentProblem, match="no such bucket: make it, or correct"):
            engine.open("s3://nowhere/few")
        fsspec.filesystem("s3", skip_instance_cache=True).mkdir("bucket")
        with pytest.raises(FileNotFoundError, match="nothing there was made by `ouro run`"):
            engine.open(HERE)


def test_a_server_that_stops_answering_later_is_not_waited_for(s3: pytest.MonkeyPatch) -> None:
    s3.setattr(files, "WHOLE_ANSWER", 0.2)
    with servers.broken(servers.silent) as place:
        s3.setenv("AWS_ENDPOINT_URL", f"http://{place}")
        store = Store(HERE, repairs=False)
        for ask in (
            lambda: store.names(""),
            lambda: store.has_file(store.path("x")),
            lambda: store.read(store.path("x")),
        ):
            with pytest.raises(TimeoutError, match=f"{HERE}: no whole answer within 0.2 s"):
                ask()
