"""A tracker is one file, found by the scheme of its URI, and nothing else is edited for it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from engine.tracking.tracker import Address, Nop, backends, lack, open_tracker, refusal
from tests.support.ouro import ROOT, TINY, ouro

LEDGER = '''
"""A made-up tracker: one line of JSON per call."""

import json
from pathlib import Path

from engine.tracking.tracker import Pages

SCHEMES = ("ledger",)


def connect(address, sweep_name, sweep_id, names):
    return Ledger(Path(address.uri.partition("://")[2]))


def serve(address, sweep_name, port):
    return Pages("the ledger", lambda: f"http://ledger/{sweep_name}")


class Ledger:
    name, behind, trouble = "the ledger", False, ""

    def __init__(self, path):
        self.path = path

    def put(self, *what):
        with self.path.open("a") as file:
            file.write(json.dumps(what) + "\\n")
        return True

    def open_sweep(self, question, params, lineage_count, columns=()):
        return self.put("open_sweep", lineage_count)

    def open_lineage(self, spec, rows=()):
        return self.put("open_lineage", spec.id)

    def mirror(self, spec, rows, pictures=None, checkpoint=None, keep="all"):
        return self.put("mirror", spec.id, [row.t for row in rows])

    def finish_lineage(self, spec, outcome):
        return self.put("finish_lineage", spec.id, outcome.status)

    def finish_sweep(self, status, summary, artifacts=()):
        return self.put("finish_sweep", status, [path.name for path in artifacts])
'''


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the engine with one more file."""
    folder = tmp_path_factory.mktemp("copy")
    for package in ("engine", "analysis"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    (folder / "engine" / "tracking" / "ledger.py").write_text(LEDGER)
    (folder / "tiny.yaml").write_text(TINY)
    return folder


def test_a_second_tracker_is_one_file_and_no_edit(copied: Path) -> None:
    words = ["tiny.yaml", "--set", "tracking=ledger://calls.jsonl", "--set", "seeds=1"]
    ran = ouro("run", *words, "--local", cwd=copied, source=copied)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    calls = [json.loads(line) for line in (copied / "calls.jsonl").read_text().splitlines()]
    assert calls[0] == ["open_sweep", 6] and calls[-1][:2] == ["finish_sweep", "FINISHED"]
    assert {"summary.json", "film_strip.png"} >= set(calls[-1][2]) >= {"summary.json"}
    ended = [call for call in calls if call[0] == "finish_lineage"]
    assert len(ended) == 6 and {status for _, _, status in ended} == {"ok"}
    mirrored = {id: ts for name, id, *rest in calls if name == "mirror" for ts in rest}
    assert all(ts == [0, 1, 2, 3, 4] for ts in mirrored.values()) and len(mirrored) == 6
    shown = ouro("ui", *words, cwd=copied, source=copied)
    assert shown.returncode == 0 and "http://ledger/tiny" in shown.stdout


def test_a_package_that_a_tracker_lacks_is_found_before_anything_runs(copied: Path) -> None:
    needs = LEDGER.replace('("ledger",)', '("vault",)\nNEEDS = {"no_such_package": "vault"}')
    (copied / "engine" / "tracking" / "vault.py").write_text(needs)
    words = ["tiny.yaml", "--set", "tracking=vault://x", "--out", "untouched"]
    lacks = "tracking vault://x needs the package no_such_package"
    for command, code in ((["plan"], 0), (["plan", "--check"], 2), (["run", "--local"], 4)):
        ran = ouro(*command, *words, cwd=copied, source=copied, columns=300)
        said = ran.stdout + ran.stderr
        assert ran.returncode == code and lacks in said and "'ouroboros-engine[vault]'" in said
    plan = json.loads(ouro("plan", *words, "--json", cwd=copied, source=copied).stdout)
    assert plan["tracker_lacks"].startswith(lacks)
    assert not list((copied / "untouched").glob("models/*")), "something was trained"


def test_a_scheme_without_a_tracker_is_refused_by_plan(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    ran = ouro("plan", "tiny.yaml", "--set", "tracking=wandb://team", cwd=tmp_path)
    said = " ".join(ran.stderr.split())
    assert ran.returncode == 2 and "Traceback" not in said
    assert "no tracker has the scheme wandb:// of 'wandb://team'; there are:" in said
    assert "sqlite://" in said and "tensorboard://" in said
    with pytest.raises(ValueError, match="no tracker has the scheme wandb"):
        open_tracker(Address("wandb://team"), "q", "1")


@pytest.mark.parametrize(
    "uri",
    ["http://127.0.0.1:5000", "sqlite:///mlflow.db", "postgresql+psycopg2://u@h/db"],
)
def test_mlflow_has_the_schemes_of_its_servers_and_databases(uri: str) -> None:
    assert refusal(uri) == "" and backends()[Address(uri).scheme] == "mlflow"
    assert lack(Address(uri)) == ""


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("sqlite:///", "names no place"),
        ("http://", "names no place"),
        ("https:///path", "names no computer"),
        ("http://[::1", "is no address (Invalid IPv6 URL)"),
        ("http://me:secret@h:99999", "is no address (Port out of range 0-65535)"),
    ],
)
def test_an_address_that_can_never_be_reached_is_refused(uri: str, said: str) -> None:
    assert said in refusal(uri) and "secret" not in refusal(uri)


def test_a_uri_without_a_place_and_no_tracking_at_all() -> None:
    assert "names no place" in refusal("tensorboard://")
    assert refusal(None) == "" == refusal("none")


def test_no_refusal_tells_a_password() -> None:
    for scheme in ("tensorboard", "file", "nosuch"):
        said = refusal(f"{scheme}://me:hunter2@there/?token=hunter2")
        assert said and "hunter2" not in said
    assert "is a folder, which would be called so" in refusal("tensorboard://me:hunter2@there")
    assert refusal("tensorboard://there") == ""
    assert isinstance(open_tracker(None, "q", "1"), Nop)


def test_a_store_that_mlflow_has_given_up_is_refused_with_what_to_give_instead() -> None:
    assert "give sqlite:///FILE" in refusal("file:///x")
