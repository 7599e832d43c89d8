"""`.ci/audit` fails for a known hole, and neither fails nor is fooled where pip-audit's service is
out of reach.
"""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

AUDIT = Path(__file__).parent.parent / ".ci" / "audit"
HOLE = {"id": "PYSEC-2019-217", "fix_versions": ["2.10.1"], "aliases": ["CVE-2019-10906"]}
BY_DESIGN = {"id": "GHSA-6wgj-66m2-xxp2", "fix_versions": [], "aliases": ["CVE-2023-48022"]}
JINJA = {"name": "jinja2", "version": "2.10", "vulns": [HOLE]}
RAY = {"name": "ray", "version": "2.60.0", "vulns": [BY_DESIGN]}
TORCH = {"name": "torch", "version": "2.13.0", "vulns": []}
UNREACHED = {"name": "jinja2", "skip_reason": "Dependency not found"}


def audited(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> int:
    """The exit code when pip-audit answers with these reports, one after the other; an exception
    stands for none.
    """
    module = runpy.run_path(str(AUDIT))
    left = list(answers)

    def ran(*words: Any, **_: Any) -> None:
        if "-o" in words:
            answer = left.pop(0)
            Path(words[-1]).write_text(
                answer if isinstance(answer, str) else json.dumps({"dependencies": answer})
            )

    scope = module["main"].__globals__
    monkeypatch.setitem(scope, "ran", ran)
    monkeypatch.setattr(scope["venv"], "create", lambda *_, **__: None)
    return int(module["main"]())


@pytest.mark.parametrize(
    ("answers", "code", "said"),
    [
        (([JINJA], [TORCH, RAY]), 0, "no known holes in 2 versions beside 1 accepted"),
        (([JINJA], [TORCH, JINJA]), 1, "jinja2 2.10: PYSEC-2019-217, repaired in 2.10.1"),
        (([JINJA], [TORCH, UNREACHED]), 0, "1 versions are unknown to its service: jinja2"),
        (([UNREACHED], [UNREACHED]), 0, "was skipped: its service does not know"),
        (([{**JINJA, "vulns": []}], []), 0, "was skipped: its service does not know"),
        (("",), 0, "was skipped: its service does not answer"),
    ],
)
def test_a_hole_fails_and_silence_is_called_silence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answers: Any,
    code: int,
    said: str,
) -> None:
    assert audited(monkeypatch, *answers) == code and said in capsys.readouterr().out


def test_all_pinned_versions_are_asked_for() -> None:
    pins = runpy.run_path(str(AUDIT))["pins"]()
    assert len(pins) > 150 and all(pin.count("==") == 1 for pin in pins)
    assert {pin.split("==")[0] for pin in pins} >= {"ray", "mlflow", "torch", "pytest", "moto"}


def test_what_cannot_run_is_skipped() -> None:
    module = runpy.run_path(str(AUDIT))
    with pytest.raises(module["Unanswered"], match="no tool"):
        module["ran"]("/nowhere/pip-audit", what="no tool")
    with pytest.raises(module["Unanswered"], match="exit 3"):
        module["ran"]("sh", "-c", "exit 3", what="exit 3", fine=(0, 1))
