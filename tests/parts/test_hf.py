"""Data sets of the library `datasets`: what it saved gives what a file and a folder give."""

from __future__ import annotations

import importlib.util
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.contents import Contents, Lack
from engine.contracts.check import check
from engine.identity import Part
from engine.parts import traits_of
from engine.registry import make

datasets = pytest.importorskip("datasets")
LINES = [f"line {i} of a long story," for i in range(200)]


@pytest.fixture(scope="module")
def tales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hf") / "tales"
    rows = {"text": LINES, "n": [*range(200)]}
    train = datasets.Dataset.from_dict(rows)
    datasets.DatasetDict({"train": train, "test": train.select(range(20))}).save_to_disk(folder)
    return folder


def png(value: int, mode: str = "L") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (9, 7), value if mode == "L" else (value, 0, 9)).save(buffer, "png")
    return buffer.getvalue()


def pictures(folder: Path, mode: str = "L", **more: Any) -> Path:
    cells = [{"bytes": png(i * 10, mode), "path": None} for i in range(20)]
    rows = {"image": cells, "kind": [i % 2 for i in range(20)], "word": ["a", "b"] * 10, **more}
    kinds = {"image": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"])}
    features = datasets.Features({**kinds, "word": datasets.Value("string")})
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(folder)
    return folder


def test_a_column_of_texts_is_what_a_file_of_its_lines_is(tales: Path, tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("\n".join(LINES))
    for params in ({"length": 10}, {"tokens": "bpe", "vocabulary": 270, "length": 5}):
        own = make("dataset", "hf_text", path=str(tales), **params)
        file = make("dataset", "text", path=str(tmp_path / "own.txt"), **params)
        assert (own.training_set().x == file.training_set().x).all()
        assert (own.held_out(99).x == file.held_out(99).x).all()
        assert traits_of(own) == traits_of(file)
    known = own.contents()
    assert isinstance(known, Contents) and known.name == f"{tales} (train, text)"


def test_pictures_are_those_of_a_folder(tmp_path: Path) -> None:
    for mode, channels in (("L", 1), ("RGB", 3)):
        path = pictures(tmp_path / mode, mode)
        own = make("dataset", "hf_images", path=str(path), label="kind", size=4)
        for i in range(20):
            kind = tmp_path / f"{mode} folder" / ["cat", "dog"][i % 2]
            kind.mkdir(parents=True, exist_ok=True)
            (kind / f"{i:02}.png").write_bytes(png(i * 10, mode))
        folder = make("dataset", "images", path=str(tmp_path / f"{mode} folder"), size=4)
        train, known = own.training_set(), own.contents()
        assert known.classes == ("cat", "dog") and known.shape == (4, 4, channels)
        assert (known.per_class, known.apart) == ((8, 8), (2, 2))
        assert traits_of(own).classes == 2 and train.x.shape == (16, 4, 4, channels)
        both = np.concatenate([train.x, own.held_out(9).x])
        others = np.concatenate([folder.training_set().x, folder.held_out(9).x])
        assert sorted(both[:, 0, 0, 0].tolist()) == sorted(others[:, 0, 0, 0].tolist())
        assert (train.x[:, 0, 0, 0] // 10 % 2 == train.y).all()
    words = make("dataset", "hf_images", path=str(path), label="word", size=4)
    assert words.contents().classes == ("a", "b")
    assert make("dataset", "hf_images", path=str(path), size=4).training_set().y is None


def test_the_contracts_of_data_sets_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the smallest parameters, which lead to nothing on other machines."""
    datasets.Dataset.from_dict({"text": LINES}).save_to_disk(tmp_path / "tales")
    cells = [{"bytes": png(i, "RGB"), "path": None} for i in range(0, 256, 3)]
    features = datasets.Features({"image": datasets.Image()})
    rows = datasets.Dataset.from_dict({"image": cells}, features=features)
    rows.save_to_disk(tmp_path / "pictures")
    monkeypatch.setenv("OUROBOROS_DATA", str(tmp_path))
    for name in ("hf_text", "hf_images"):
        found = check("dataset", name)
        assert not [str(verdict) for verdict in found if verdict.fault]
        assert any(verdict.rule.startswith("draws exactly") for verdict in found)


def test_it_is_known_by_what_is_in_it(tales: Path, tmp_path: Path) -> None:
    key = Part("dataset", "hf_text", {"path": str(tales)}).text
    moved = shutil.copytree(tales, tmp_path / "moved")
    assert Part("dataset", "hf_text", {"path": str(moved)}).text == key and "tales" not in key
    other = datasets.Dataset.from_dict({"text": LINES[:-1]})
    other.save_to_disk(tmp_path / "other")
    assert Part("dataset", "hf_text", {"path": str(tmp_path / "other")}).text != key


def test_a_set_in_the_cache_is_opened_offline_by_its_name(
    tales: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        pytest.fail("the network was asked")

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    (tmp_path / "rows.jsonl").write_text("\n".join(f'{{"text": "{line}"}}' for line in LINES))
    datasets.load_dataset(
        "json", data_files=str(tmp_path / "rows.jsonl"), cache_dir=str(tmp_path / "first")
    )
    (made,) = (tmp_path / "first" / "json").glob("*/*/*/json-train.arrow")
    home = tmp_path / "cache" / "me___tales" / "default" / "0.0.0" / "abc"
    shutil.copytree(made.parent, home)
    (home / "json-train.arrow").rename(home / "tales-train.arrow")
    about = (home / "dataset_info.json").read_text().replace('"json"', '"tales"')
    (home / "dataset_info.json").write_text(about)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.create_connection", refused)
    monkeypatch.setattr("socket.socket.connect", refused)
    own = make("dataset", "hf_text", cached="me/tales", length=10)
    folder = make("dataset", "hf_text", path=str(tales), length=10)
    assert (own.training_set().x == folder.training_set().x).all()
    part = Part("dataset", "hf_text", {"cached": "me/tales"})
    assert "CONTENT" in part.canonical
    absent = make("dataset", "hf_text", cached="me/other").contents()
    assert isinstance(absent, Lack) and "load_dataset('me/other')" in absent.fix
    assert not datasets.config.HF_HUB_OFFLINE


def test_without_the_library_it_is_said_how_to_install_it(
    tales: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in ("hf_text", "hf_images"):
        found = make("dataset", name, path=str(tales)).contents()
        assert isinstance(found, Lack)
        assert str(found).startswith("no library datasets at")
        assert found.fix == "install it: pip install 'ouroboros-engine[hf]'"


TEXT: list[tuple[dict[str, Any], str]] = [
    ({"column": "words"}, r"tales: there is no column 'words'; there are: text, n"),
    ({"column": "n"}, r"column n of .*tales holds int64, and no texts"),
    ({"split": "dev"}, r"tales has no split 'dev'; it has: test, train"),
    ({"length": 9999}, r"column text of .* has 5,.* characters, less than a block of 9,999"),
]


@pytest.mark.parametrize(("params", "said"), TEXT)
def test_what_is_no_column_of_texts_gets_one_sentence(
    tales: Path, params: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said) as error:
        make("dataset", "hf_text", path=str(tales), **params).contents()
    assert "\n" not in str(error.value)


def test_faults_of_sets_and_parameters_are_named(tales: Path, tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": ["a", None]}).save_to_disk(tmp_path / "null")
    with pytest.raises(ValueError, match=r"column text of .*null, row 2: the cell is null"):
        make("dataset", "hf_text", path=str(tmp_path / "null")).contents()
    assert isinstance(make("dataset", "hf_text", path=str(tmp_path / "none")).contents(), Lack)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no data set; path is a folder that datasets"):
        make("dataset", "hf_text", path=str(tmp_path / "empty")).contents()
    damaged = shutil.copytree(tales, tmp_path / "damaged")
    for arrow in damaged.glob("*/*.arrow"):
        arrow.write_bytes(b"no arrow")
    with pytest.raises(ValueError, match="damaged cannot be opened as a data set") as error:
        make("dataset", "hf_text", path=str(damaged)).contents()
    assert "\n" not in str(error.value)
    for params in ({}, {"path": "a", "cached": "b"}):
        with pytest.raises(ValueError, match="give path, a folder, or cached, a name"):
            make("dataset", "hf_text", **params)
    with pytest.raises(ValueError, match=r"cached is a name such as user/set, got '../a'"):
        make("dataset", "hf_text", cached="../a")
    with pytest.raises(ValueError, match="balanced draws need classes"):
        make("dataset", "hf_images", path="a", balanced=True)
    with pytest.raises(ValueError, match=r"column text of .* holds no pictures"):
        make("dataset", "hf_images", path=str(tales), column="text").contents()
    odd = pictures(tmp_path / "odd", word=["a", None] * 10)
    with pytest.raises(ValueError, match=r"row 2: 'word' is None, and no class"):
        make("dataset", "hf_images", path=str(odd), label="word").contents()
    cells = [{"bytes": b"no picture", "path": None}] * 20
    bad = pictures(tmp_path / "bad", image=cells)
    with pytest.raises(ValueError, match=r"row 1: 'image' cannot be read as a picture"):
        make("dataset", "hf_images", path=str(bad)).contents()
