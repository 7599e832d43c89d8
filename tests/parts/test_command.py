"""Any program as a generator: what it is given, what it may leave, and how it is ended."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from engine import commands
from engine.commands import NotAllowed, permitting
from engine.experiment.reader import SpecError, load, read
from engine.generators import _exchange
from engine.generators._exchange import BadOutput, Rows
from engine.generators._program import ProgramFailed
from engine.generators.command import Command
from engine.parts import Finding
from engine.registry import make
from engine.running.timeout import OutOfTime, limit
from engine.samples import Samples, Traits
from engine.spec import Part
from engine.store.artifacts import generator_files
from tests.support.ouro import ROOT

FIT = "python -S -c 'import sys, shutil; shutil.copy(*sys.argv[1:])' {data} {model}/known"
IMAGES, POINTS, TOKENS = Traits("images"), Traits("points", replicates=2), Traits("tokens")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def points(n: int = 6) -> Samples:
    return Samples(rng().standard_normal((n, 1, 2)), traits=Traits("points", replicates=1))


def script(folder: Path, text: str, name: str = "draw.py") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def drawing(folder: Path, text: str, **own: Any) -> Command:
    """A fitted command whose sample line is this Python, which finds n and out."""
    file = script(folder, f"import sys\nn, out = int(sys.argv[1]), sys.argv[2]\n{text}\n")
    line = "python draw.py {n} {out} {seed} {model}"
    data = own.pop("data", points())
    command = Command(fit=FIT, sample=own.pop("sample", line), files=[file], **own)
    command.fit(data, rng())
    return command


# ---- what travels --------------------------------------------------------------------------------

DATA = {
    "points": Samples(rng().standard_normal((5, 2, 3)), None, traits=POINTS),
    "one replicate": Samples(rng().standard_normal((5, 1, 3)), np.arange(5) % 2, traits=POINTS),
    "tokens": Samples(rng().integers(0, 9, (5, 2)), traits=TOKENS),
    "grey": Samples(rng().integers(0, 256, (5, 4, 3, 1)).astype(np.uint8), traits=IMAGES),
    "colour": Samples(
        rng().integers(0, 256, (12, 4, 3, 3)).astype(np.uint8), np.arange(12) % 11, traits=IMAGES
    ),
    "two": Samples(rng().integers(0, 256, (5, 4, 3, 2)).astype(np.uint8), traits=IMAGES),
}


@pytest.mark.parametrize("form", _exchange.FORMATS)
@pytest.mark.parametrize("kind", DATA)
def test_what_is_written_is_read_again_bit_for_bit(kind: str, form: str, tmp_path: Path) -> None:
    data = DATA[kind]
    if form == "png" and data.traits != IMAGES:
        pytest.skip("a picture holds no such numbers")
    place = _exchange.write(data, tmp_path / "data", form)
    again = _exchange.read(place, form, Rows.of(data), len(data), data.y)
    assert again.x.dtype == data.x.dtype and np.array_equal(again.x, data.x)
    assert data.y is None or np.array_equal(again.y, data.y)


def test_one_replicate_has_no_axis_in_the_files(tmp_path: Path) -> None:
    with np.load(_exchange.write(DATA["one replicate"], tmp_path / "a", "npz")) as file:
        assert file["x"].shape == (5, 3) and file["y"].shape == (5,)
    with np.load(_exchange.write(DATA["points"], tmp_path / "b", "npz")) as file:
        assert file["x"].shape == (5, 2, 3) and file.files == ["x"]


def test_pictures_by_class_come_back_in_the_order_that_was_asked_for(tmp_path: Path) -> None:
    data = DATA["colour"]
    place = _exchange.write(data, tmp_path / "data", "png")
    assert sorted(p.name for p in place.iterdir())[:3] == ["00", "01", "02"]
    assert data.y is not None
    drawn = _exchange.read(place, "png", Rows.of(data), 12, data.y[::-1])
    assert drawn.y is not None and drawn.y.tolist() == data.y[::-1].tolist()
    by_label = [sorted(x.tobytes() for x in s.x[s.y == 0]) for s in (data, drawn)]
    assert by_label[0] == by_label[1] and len(by_label[0]) == 2
    with pytest.raises(BadOutput, match=r"asked for \{0: 1, 1: 11\} pictures by label, got"):
        _exchange.read(place, "png", Rows.of(data), 12, np.minimum(np.arange(12), 1))


def test_a_grey_picture_saved_in_colour_is_grey_and_a_coloured_one_is_refused(
    tmp_path: Path,
) -> None:
    grey = DATA["grey"]
    colour = Samples(np.repeat(grey.x, 3, axis=3), traits=IMAGES)
    place = _exchange.write(colour, tmp_path / "a", "png")
    assert np.array_equal(_exchange.read(place, "png", Rows.of(grey), 5, None).x, grey.x)
    place = _exchange.write(Samples(DATA["colour"].x[:5], traits=IMAGES), tmp_path / "b", "png")
    with pytest.raises(BadOutput, match=r"asked for pictures L \[4, 3, 1\], got RGB"):
        _exchange.read(place, "png", Rows.of(grey), 5, None)


def left(place: Path, form: str, kind: str, n: int = 5) -> str:
    """Why what lies there is refused."""
    with pytest.raises(BadOutput) as error:
        _exchange.read(place, form, Rows.of(DATA[kind]), n, None)
    return str(error.value)


def test_what_was_not_asked_for_is_refused_with_what_was_and_what_came(tmp_path: Path) -> None:
    a = tmp_path / "a.npz"
    assert "wrote nothing to {out}" in left(a, "npz", "points")
    for shape in ((4, 2, 3), (6, 2, 3), (5, 3), (5, 2, 4)):
        np.savez(a, x=np.zeros(shape))
        asked = f"asked for `x` of the shape [5, 2, 3], got {list(shape)}"
        assert left(a, "npz", "points") == asked
    np.savez(a, x=np.zeros((5, 2, 3), int))
    assert "as floating-point numbers, got int64" in left(a, "npz", "points")
    np.savez(a, x=np.zeros((5, 4, 3, 1)))
    assert "pictures as uint8 (0..255), got float64" in left(a, "npz", "grey")
    np.savez(a, x=np.full((5, 2), -1))
    assert "tokens, whole numbers from 0" in left(a, "npz", "tokens")
    np.savez(a, samples=np.zeros(5))
    assert left(a, "npz", "points") == "a.npz holds samples; it needs `x`"
    np.savez(a, x=np.array([{}], dtype=object), allow_pickle=True)
    assert "cannot be read" in left(a, "npz", "points")


@pytest.mark.parametrize("form", _exchange.FORMATS)
def test_what_is_half_written_is_refused(form: str, tmp_path: Path) -> None:
    kind = "grey" if form == "png" else "points"
    place = _exchange.write(DATA[kind], tmp_path / "a", form)
    file = sorted(place.iterdir())[2] if form == "png" else place
    file.write_bytes(file.read_bytes()[:-30])
    said = left(place, form, kind)
    assert "cannot be read" in said or "line 5 is not" in said, said
    file.unlink()
    said = left(place, form, kind)
    assert said.startswith("asked for 5 pictures, got 4" if form == "png" else "the program ended")


def test_numbers_that_are_not_finite_are_a_finding(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.full((5, 2, 3), np.nan))
    with pytest.raises(Finding, match="diverged: 30 of 30 values"):
        _exchange.read(tmp_path / "a.npz", "npz", Rows.of(DATA["points"]), 5, None)


# ---- how it is run -------------------------------------------------------------------------------


def test_a_program_finds_its_files_and_few_variables_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "repository" / "deep").mkdir(parents=True)
    (tmp_path / "repository" / "deep" / "code.py").write_text("seen = 7.0")
    text = (
        "import os, json, numpy as np; sys.path.insert(0, 'repository/deep'); import code as own\n"
        "open(sys.argv[3], 'a').close()\n"
        "assert own.seen == 7 and os.environ['PYTHONHASHSEED'] == '0'\n"
        "assert not [name for name in os.environ if 'SECRET' in name]\n"
        "assert sys.stdin.read() == ''\n"
        "assert sorted(os.listdir('.')) == sorted(['draw.py', 'repository', sys.argv[3]])\n"
        "np.savez(out, x=np.zeros((n, 2)))"
    )
    file = script(tmp_path, f"import sys\nn, out = int(sys.argv[1]), sys.argv[2]\n{text}\n")
    files = [file, str(tmp_path / "repository")]
    own = Command(fit=FIT, sample="python draw.py {n} {out} {seed} {model}", files=files)
    assert own.fit(points(), rng())["model_files"] == 1
    assert own.sample(3, rng()).x.shape == (3, 1, 2)
    del own
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("ouro-")] == []


def test_words_are_cut_before_anything_is_filled_in_and_no_shell_reads_them() -> None:
    line = "run 'a b' {data} --to={model}/x ; $(reboot) {\"json\": 1}"
    words = commands.filled(line, {"data": "/a b; rm -rf /", "model": "/m"})
    assert words == ["run", "a b", "/a b; rm -rf /", "--to=/m/x", ";", "$(reboot)", "{json:", "1}"]


def test_an_exit_code_is_an_error_with_the_command_and_its_last_lines(tmp_path: Path) -> None:
    own = drawing(tmp_path, "[print('line', i, file=sys.stderr) for i in range(50)]; sys.exit(3)")
    with pytest.raises(ProgramFailed) as error, permitting(logs=tmp_path / "logs" / "of"):
        own.sample(3, rng())
    said = str(error.value)
    assert "the sample line ended with exit code 3, after" in said and "python draw.py 3 " in said
    assert "line 49" in said and "line 20\n" not in said
    assert "line 20\n" in (tmp_path / "logs" / "of.err").read_text()


def test_a_program_killed_by_a_signal_says_so(tmp_path: Path) -> None:
    for name in ("SIGKILL", "SIGSEGV"):
        own = drawing(tmp_path, f"import os, signal; os.kill(os.getpid(), signal.{name})")
        with pytest.raises(ProgramFailed, match=f"the sample line was killed by {name}, after"):
            own.sample(3, rng())


def test_a_program_that_is_not_there_is_lacking(tmp_path: Path) -> None:
    own = Command(fit="nosuchprogram {data} {model}", sample="a {model} {n} {seed} {out}")
    with pytest.raises(FileNotFoundError, match="no program 'nosuchprogram' for the fit line"):
        own.fit(points(), rng())
    own = Command(fit=FIT, sample="a {model} {n} {seed} {out}", files=[str(tmp_path / "gone.py")])
    with pytest.raises(FileNotFoundError, match=r"no file .*gone\.py"):
        own.fit(points(), rng())


HANGS = """
import os, subprocess, time, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
word = f"import time; time.sleep(600) # {os.path.basename(os.path.dirname(out))}"
subprocess.Popen([sys.executable, "-S", "-c", word])
subprocess.Popen([sys.executable, "-S", "-c", word], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    subprocess.Popen([sys.executable, "-S", "-c", word])
    os._exit(0)
print("ready", flush=True)
"""


def sleepers(mark: str) -> list[psutil.Process]:
    """The processes of a program whose command lines hold its folder's name."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and mark in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_program_that_hangs_is_killed_with_all_its_children(tmp_path: Path) -> None:
    own = drawing(tmp_path, HANGS + "time.sleep(600)", minutes=0.03)
    with (
        pytest.raises(ProgramFailed, match=r"longer than minutes: 0\.03 and was killed") as error,
        permitting(logs=tmp_path / "log"),
    ):
        own.sample(3, rng())
    assert "ready" in (tmp_path / "log.out").read_text(), "it was killed before it hung"
    place = str(error.value).split("draw.py 3 ")[1].split("/out.npz")[0]
    assert sleepers(Path(place).name) == []


def test_the_time_of_a_generation_ends_a_program_too(tmp_path: Path) -> None:
    """What is raised in the thread that waits (resources.timeout_minutes) arrives at once."""
    own = drawing(tmp_path, HANGS + "time.sleep(600)")
    begun = time.monotonic()
    with (
        pytest.raises(OutOfTime),
        permitting(logs=tmp_path / "log"),
        limit(2.0, lambda error, where: None),
    ):
        own.sample(3, rng())
    assert time.monotonic() - begun < 30
    mark = (tmp_path / "log.out").read_text().split("/out.npz")[0].split("/")[-1]
    assert sleepers(mark) == []


def test_what_a_program_leaves_running_is_ended(tmp_path: Path) -> None:
    text = HANGS + "import numpy as np; np.savez(out, x=np.zeros((n, 2)))"
    own = drawing(tmp_path, text + f"\nopen({str(tmp_path / 'place')!r}, 'w').write(out)")
    own.sample(3, rng())
    place = Path((tmp_path / "place").read_text()).parent
    assert sleepers(place.name) == [] and not place.exists()


def test_a_program_ends_when_who_asked_for_it_is_killed(tmp_path: Path) -> None:
    file = script(tmp_path, f"import sys\nout = sys.argv[2]\n{HANGS}time.sleep(600)\n")
    program = (
        "import numpy as np, sys\nfrom engine.generators.command import Command\n"
        "from engine.samples import Samples, Traits\nfrom engine.commands import permitting\n"
        f"own = Command(fit={FIT!r}, sample='python draw.py {{n}} {{out}} {{seed}} {{model}}', "
        f"files=[{file!r}])\n"
        "own.fit(Samples(np.ones((3, 1, 2)), traits=Traits('points')), np.random.default_rng())\n"
        "from pathlib import Path\n"
        f"with permitting(logs=Path({str(tmp_path / 'log')!r})):\n"
        "    own.sample(1, np.random.default_rng())\n"
    )
    asker = psutil.Popen([sys.executable, "-c", program])
    log = tmp_path / "log.out"
    wait_for(lambda: log.exists() and "ready" in log.read_text())
    mark = log.read_text().split("/out.npz")[0].split("/")[-1]
    assert len(sleepers(mark)) >= 4
    asker.kill()
    asker.wait()
    wait_for(lambda: sleepers(mark) == [])


def wait_for(true: Any, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


# ---- the model -----------------------------------------------------------------------------------


def test_a_model_is_made_of_plain_files_and_at_least_one(tmp_path: Path) -> None:
    for text, words in (("pass", "left nothing"), ("os.symlink('/etc/passwd', m + '/a')", "a in")):
        fit = script(tmp_path, f"import os, sys; m = sys.argv[2]; {text}", "fit.py")
        own = Command(
            fit="python fit.py {data} {model}", sample="a {model} {n} {seed} {out}", files=[fit]
        )
        with pytest.raises(BadOutput, match=words):
            own.fit(points(), rng())


def test_a_draw_that_changes_the_model_is_refused(tmp_path: Path) -> None:
    text = "import numpy as np; open(sys.argv[4] + '/cache', 'w'); np.savez(out, x=np.ones((n, 2)))"
    with pytest.raises(BadOutput, match="the sample line changed files in"):
        drawing(tmp_path, text).sample(2, rng())


def test_files_of_a_model_are_kept_as_they_are(tmp_path: Path) -> None:
    fit = "python fit.py {data} {model}"
    text = "import os, sys; os.makedirs(sys.argv[2] + '/deep/er'); "
    text += "open(sys.argv[2] + '/deep/er/w.pt', 'wb').write(bytes(range(256)))"
    own = Command(
        fit=fit, sample="a {model} {n} {seed} {out}", files=[script(tmp_path, text, "fit.py")]
    )
    report = own.fit(points(), rng())
    assert report == {"model_files": 1, "model_bytes": 256}
    kept = generator_files(own)
    assert kept["weights/model/deep/er/w.pt"] == bytes(range(256)) and len(kept) == 2


def test_labels_are_drawn_as_they_were_asked_for(tmp_path: Path) -> None:
    text = (
        "import numpy as np; y = np.loadtxt(sys.argv[3], dtype=int)\n"
        "np.savez(out, x=np.stack([y, y], 1) * 1.0, y=y)"
    )
    data = Samples(rng().standard_normal((6, 1, 2)), np.arange(6) % 3, traits=Traits("points", 3))
    line = "python draw.py {n} {out} {labels} {model} {seed}"
    own = drawing(tmp_path, text, sample=line, conditional=True, data=data)
    drawn = own.sample(4, rng(), np.array([2, 0, 1, 2]))
    assert drawn.y is not None and drawn.y.tolist() == [2, 0, 1, 2]
    assert drawn.x[:, 0, 0].tolist() == [2, 0, 1, 2]
    with pytest.raises(ValueError, match=r"has no \{bias\}, so it cannot draw with 0\.5"):
        own.sample(4, rng(), np.array([2, 0, 1, 2]), bias=0.5)


def test_what_it_draws_with_its_smallest_parameters_is_what_it_drew() -> None:
    """Seeds reach the program as they did: else REVISION is to be raised, or the change undone."""
    own = make("generator", "command", **Command.TINY)
    rows = np.arange(12.0).reshape(6, 1, 2) / 8
    own.fit(Samples(rows, traits=Traits("points", replicates=1)), rng(3))
    drawn = own.sample(8, rng(4)).x[:, 0, 0] * 4
    assert drawn.tolist() == [0, 1, 2, 4, 3, 2, 0, 4]


def test_the_worked_example_fits_what_the_engine_fits(tmp_path: Path) -> None:
    """The script of experiments/ and the generator `gaussian`, on the same points."""
    base = load(ROOT / "experiments" / "command_gaussian.yaml").lineages[0]
    own, theirs = (
        make("generator", "command", **base.generator.params),
        make("generator", "gaussian"),
    )
    real = base.dataset.make().sample(base.n_real, rng())
    own.fit(real, rng())
    theirs.fit(real, rng())
    own.save(tmp_path)
    with np.load(tmp_path / "model" / "normal.npz") as model:
        assert np.allclose(model["mean"], theirs.mean_, rtol=0, atol=1e-12)
        assert np.allclose(model["covariance"], theirs.covariance_, rtol=0, atol=1e-12)
    drawn = own.sample(20, rng(1)).x
    sd = np.sqrt(np.diagonal(theirs.covariance_, axis1=1, axis2=2))  # [replicates, d]
    z = (drawn.mean(0) - theirs.mean_) / (sd / np.sqrt(20))
    assert abs(np.square(z).mean() - 1) < 4 * np.sqrt(2 / z.size)


# ---- the plan ------------------------------------------------------------------------------------

GOOD = {"fit": FIT, "sample": "a {model} {n} {seed} {out}"}
BAD: dict[str, dict[str, Any]] = {
    "a fit line has no placeholder {dta}; it may have {data}, {model}, {seed}, {n}": {
        "fit": "a {dta} {model}"
    },
    "a sample line must have {seed}": {"sample": "a {model} {n} {out}"},
    "this is no command line: No closing quotation": {"fit": "a 'b {data} {model}"},
    "conditional is on, but the sample line has no {labels}": {"conditional": True},
    "the sample line has {labels}, but conditional is off": {
        "sample": "a {model} {n} {seed} {out} {labels}"
    },
    "format png does not go with points": {"format": "png"},
}


def planned(sampling: Any = "plain", **own: Any) -> Any:
    base = {
        "dataset": {"name": "gaussian"},
        "generator": {"name": "command", **GOOD, **own},
        "n_real": 9,
        "sampling": sampling,
        "policy": "replace",
    }
    return read({"base": base, "generations": 1, "seeds": 1})


@pytest.mark.parametrize("words", BAD)
def test_a_line_that_cannot_work_is_refused_by_the_plan(words: str) -> None:
    with pytest.raises(SpecError) as error:
        planned(**BAD[words])
    assert words in str(error.value)
    if words.startswith(("a ", "this")):
        with pytest.raises(ValueError, match=r"command: \w+: "):
            Command(**{**GOOD, **BAD[words]})


def test_a_biased_sampling_needs_a_place_for_its_bias() -> None:
    biased = {"name": "biased", "sampling_bias": 0.5}
    with pytest.raises(SpecError, match=r"the sampling biased needs \{bias\} in the sample line"):
        planned(sampling=biased)
    line = GOOD["sample"] + " {bias}"
    assert planned(sampling=biased, sample=line).lineages


def test_a_line_of_a_file_needs_permission_and_one_of_code_none() -> None:
    with permitting(False):
        with pytest.raises(NotAllowed, match=r"the generator command would run programs .*known"):
            make("generator", "command", **GOOD)
        assert Command(**GOOD).minutes is None
    assert Part("generator", "command", GOOD).command_lines == GOOD


def test_the_version_and_the_contents_of_files_are_in_the_key_and_their_place_is_not(
    tmp_path: Path,
) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    for folder, text in ((a, "1"), (b, "1")):
        folder.mkdir()
        script(folder, text)

    def key(folder: Path, **own: Any) -> str:
        files = [str(folder / "draw.py")]
        return json.dumps(Part("generator", "command", {**GOOD, "files": files, **own}).canonical)

    assert key(a) == key(b) == key(a, minutes=5.0)
    assert key(a, version="2") != key(a)
    before = key(a)
    (a / "draw.py").write_text("2")
    os.utime(a / "draw.py", (1, 1))
    assert key(a) != before
