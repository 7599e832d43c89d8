"""Sets that others published are known by their published digests."""

from __future__ import annotations

import tarfile
from hashlib import md5
from pathlib import Path

import pytest

from engine.contents import Lack
from engine.datasets import _torchvision
from engine.datasets._torchvision import PUBLISHED
from engine.registry import make


def test_photographs_of_flowers_are_those_of_their_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive is left beside them; a photograph that was changed, cut or lost since is known,
    and without the archive nothing is.
    """
    monkeypatch.setenv("OUROBOROS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "flowers-102"
    (folder / "jpg").mkdir(parents=True)
    for i in range(3):
        (folder / "jpg" / f"image_0000{i}.jpg").write_bytes(bytes([i]) * 50)
    with tarfile.open(folder / "102flowers.tgz", "w:gz") as archive:
        archive.add(folder / "jpg", "jpg")
    for name in PUBLISHED["flowers102"]:
        (folder / name).write_text(name)
    ours = {f: md5((folder / f).read_bytes()).hexdigest() for f in PUBLISHED["flowers102"]}
    monkeypatch.setitem(PUBLISHED, "flowers102", ours)  # as if these were the ones
    digest = md5((folder / "102flowers.tgz").read_bytes()).hexdigest()
    monkeypatch.setattr(_torchvision, "ARCHIVE", ("102flowers.tgz", digest))

    def told() -> object:
        return make("dataset", "flowers102", root=str(tmp_path)).contents()

    assert not isinstance(told(), Lack) and not isinstance(told(), Lack)
    photograph = folder / "jpg" / "image_00001.jpg"
    for harmed in (bytes(49) + b"2", bytes(20), None):
        photograph.unlink() if harmed is None else photograph.write_bytes(harmed)
        found = told()
        assert isinstance(found, Lack) and "`ouro download flowers102" in found.fix
    (folder / "102flowers.tgz").unlink()
    assert not isinstance(told(), Lack)
