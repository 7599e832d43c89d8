"""Any program as a generator: what it is given, what it may leave, and how it is ended."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image
from safetensors.numpy import save_file

from engine import commands
from engine.commands import NotAllowed, permitting
from engine.experiment.reader import SpecError, read
from engine.experiment.sources import load
from engine.generators import _exchange, _program
from engine.generators._exchange import BadOutput, Rows
from engine.generators._program import ProgramFailed
from engine.generators._supervisor import KEPT
from engine.generators.command import Command
from engine.parts import Finding
from engine.registry import make
from engine.running import timeout
from engine.running.failure import failure_of
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


def test_pictures_are_read_as_viewers_show_them_and_a_pipe_is_none(tmp_path: Path) -> None:
    colour = DATA["colour"]
    place = _exchange.write(Samples(colour.x[:5], traits=IMAGES), tmp_path / "a", "png")
    for file in list(place.iterdir()):
        Image.open(file).convert("RGBA").save(file)
    (place / "._0000000.png").write_bytes(b"left by a stick")
    os.mkfifo(place / "x.png")
    found = _exchange.read(place, "png", Rows.of(colour), 5, None)
    assert np.array_equal(found.x, colour.x[:5])


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


def refused(place: Path, form: str, kind: str, labels: np.ndarray | None) -> str:
    """Why what lies there is refused where these labels were asked for."""
    with pytest.raises(BadOutput) as error:
        _exchange.read(place, form, Rows.of(DATA[kind]), 5, labels)
    return str(error.value)


def write_y(place: Path, form: str, y: Any) -> Path:
    """Points with these labels, as a program may write them."""
    x = np.zeros((5, 3))
    if form == "npz":
        np.savez(place.with_suffix(".npz"), x=x, y=np.asarray(y))
    elif form == "safetensors":
        save_file({"x": x, "y": np.asarray(y)}, place.with_suffix(".safetensors"))
    else:
        lines = [json.dumps({"x": [0, 0, 0], "y": own}) for own in y]
        place.with_suffix(".jsonl").write_text("\n".join(lines))
    return place.with_suffix(f".{form}")


@pytest.mark.parametrize("form", _exchange.FORMATS[:3])
def test_labels_that_were_not_asked_for_are_named_with_their_row(form: str, tmp_path: Path) -> None:
    asked = np.array([0, 1, 0, 1, 0])
    for y, said in (
        ([0, 1, 1, 0, 0], "its `y` is 1 in row 3, where {labels} asked for 0"),
        ([0, 1, 0, 1, 9], "its `y` is 9 in row 5, where {labels} asked for 0"),
        ([[0], [1], [0], [1], [0]], "asked for `y` of the shape [5], got [5, 1]"),
    ):
        why = refused(write_y(tmp_path / "a", form, y), form, "one replicate", asked)
        assert why == f"{said}; write the rows in the order of {{labels}}, or leave `y` out"
    for y in ([0.0, 1.0, 0.0, 1.0, 0.0], [0, 1, 0, 1, 0]):
        place = write_y(tmp_path / "a", form, y)
        found = _exchange.read(place, form, Rows.of(DATA["one replicate"]), 5, asked)
        assert found.y is not None and found.y.tolist() == asked.tolist()
    if form != "safetensors":  # which holds no text
        why = refused(write_y(tmp_path / "a", form, list("01010")), form, "one replicate", asked)
        assert why.startswith("its `y` is 0 in row 1, where {labels} asked for 0"), "text is none"


def test_lines_are_read_as_other_programs_end_and_begin_them(tmp_path: Path) -> None:
    """A mark of the byte order, line ends of Windows, an empty line; but not half of the labels."""
    place, asked = tmp_path / "a.jsonl", np.arange(5) % 2
    lines = [json.dumps({"x": [i, 0, 0], "y": i % 2}) for i in range(5)]
    place.write_text("\ufeff" + "\r\n".join(lines) + "\r\n\r\n", encoding="utf-8", newline="")
    found = _exchange.read(place, "jsonl", Rows.of(DATA["one replicate"]), 5, asked)
    assert found.x[:, 0, 0].tolist() == [0, 1, 2, 3, 4]
    place.write_text("\n".join([*lines[:3], json.dumps({"x": [0, 0, 0]}), lines[4]]))
    said = "a.jsonl, line 4: either all lines have a `y`, or none"
    assert refused(place, "jsonl", "one replicate", asked) == said
    place.write_text("\n".join([*lines[:2], "[1, 2, 3]", *lines[3:]]))
    assert refused(place, "jsonl", "one replicate", asked).startswith("a.jsonl, line 3 is not")


def test_labels_of_pictures_are_told_by_folders_or_order_alone(tmp_path: Path) -> None:
    """What else lies there is not read, and taking no notice would label pictures wrongly."""
    asked = np.array([0, 1, 0, 1, 0])
    place = _exchange.write(Samples(DATA["grey"].x, traits=IMAGES), tmp_path / "a", "png")
    (place / "labels.csv").write_text("0000000.png,1\n")
    why = refused(place, "png", "grey", asked)
    assert why.startswith("labels.csv in {out} is not read; labels are told by")
    assert len(_exchange.read(place, "png", Rows.of(DATA["grey"]), 5, None)) == 5
    (place / "0000000.png").unlink()
    assert refused(place, "png", "grey", None).endswith("4 files *.png (and labels.csv)")
    labelled = Samples(DATA["grey"].x, asked, traits=IMAGES)
    for name in ("cat", "-1", "1.0"):
        place = _exchange.write(labelled, tmp_path / "b", "png")
        (place / "1").rename(place / name)
        said = f"folders in {{out}} are named by their label (0, 1, ...), not {name}"
        assert refused(place, "png", "grey", asked) == said
        shutil.rmtree(place)
    place = _exchange.write(labelled, tmp_path / "b", "png")
    (place / "1").rename(place / "7")
    said = "asked for {1: 2} pictures by label, got {7: 2}"
    assert refused(place, "png", "grey", asked) == said


def test_a_pipe_or_a_folder_in_place_of_the_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npz")
    assert left(tmp_path / "a.npz", "npz", "points") == "{out} (a.npz) is a pipe, not a file"
    (tmp_path / "b.jsonl").mkdir()
    assert left(tmp_path / "b.jsonl", "jsonl", "points").endswith("is a folder, not a file")
    (tmp_path / "c").write_text("")
    assert left(tmp_path / "c", "png", "grey") == "{out} (c) is a file, not a folder"


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


def test_of_a_program_that_prints_without_end_the_beginning_and_the_end_are_kept(
    tmp_path: Path,
) -> None:
    """However much it is: what was written is two lengths of KEPT, and the note between them."""
    text = "import os; os.write(1, b'first\\n'); [os.write(1, b'x' * 65536) for _ in range(500)]"
    own = drawing(tmp_path, text + "; os.write(1, b'last'); os.write(2, b'why'); sys.exit(3)")
    with pytest.raises(ProgramFailed, match=r"why$"), permitting(logs=tmp_path / "log"):
        own.sample(3, rng())
    title, _, rest = (tmp_path / "log.out").read_bytes().partition(b"\n")
    first, note, last = rest.split(b"\n# ")[0], rest.split(b"\n# ")[1].split(b"\n")[0], rest[-KEPT:]
    assert title.startswith(b"# 20") and len(first) == KEPT and first.startswith(b"first\nxx")
    left_out = 6 + 500 * 65536 + 4 - 2 * KEPT
    assert note == f"{left_out:,} bytes are left out here".encode()
    assert last.endswith(b"xxlast") and len(rest) == 2 * KEPT + len(note) + 4


class Asking(threading.Thread):
    """Draws in another thread, until it is told to end."""

    def __init__(self, own: Command, log: Path) -> None:
        super().__init__(daemon=True)
        self.own, self.log = own, log

    def run(self) -> None:
        with permitting(logs=self.log), pytest.raises(OutOfTime):
            self.own.sample(3, rng())

    def printed(self) -> bytes:
        file = Path(f"{self.log}.out")
        return file.read_bytes() if file.exists() else b""

    def end(self) -> None:
        assert self.ident is not None
        timeout._raise_in(self.ident, OutOfTime)
        self.join()


PRINTS_ON = """
import time
print("x" * 300_000, flush=True)
print("how far", flush=True)
time.sleep(600)
"""


def test_the_end_of_what_is_printed_is_there_while_a_program_runs(tmp_path: Path) -> None:
    """It can be watched, and is there when everybody is killed."""
    own = drawing(tmp_path, PRINTS_ON, minutes=10.0)
    asker = Asking(own, tmp_path / "log")
    asker.start()
    try:
        wait_for(lambda: b"how far" in asker.printed())
    finally:
        asker.end()
    assert asker.printed().count(b"how far") == 1


def test_the_log_of_many_generations_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    log, most = tmp_path / "log.out", _program.MOST_PRINTED
    cut = 0
    log.write_bytes(b"begin")
    for i in range(5):
        log.write_bytes(log.read_bytes() + b"x" * most + b"end %d" % i)
        cut += log.stat().st_size
        _program.shorten(log)
        cut -= log.stat().st_size
        text = log.read_bytes()
        assert text.startswith(b"begin") and text.endswith(b"end %d" % i) and len(text) < most
    (note,) = _program.LEFT_OUT.findall(text)
    assert abs(int(note.replace(b",", b"")) - cut) < 500, "the notes themselves are some of it"
    _program.shorten(log)
    assert log.read_bytes() == text, "what is short enough stays"


def test_the_last_words_of_a_program_are_in_the_record_of_the_failure(tmp_path: Path) -> None:
    """Neither a long command line nor long lines push them out."""
    line = "python draw.py {n} {out} {seed} {model} " + "x" * 3000
    own = drawing(tmp_path, "sys.exit('y' * 3000 + 'the reason')", sample=line)
    with pytest.raises(ProgramFailed) as error:
        own.sample(3, rng())
    said = failure_of(error.value, 1).message
    assert "ended with exit code 1" in said and "draw.py 3" in said
    assert said.endswith("the reason")


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
