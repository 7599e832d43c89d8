"""GAN Memory with no forgetting (Cong et al. 2006.07543): one frozen generator of images, and for
every task a style of it that nothing learnt later changes.

The base is a WGAN of this project (DCGAN networks, gradient penalty; the paper has GP-GAN networks
under an R1 penalty), trained on the first task, or read from a folder and then trained on no data
of this lineage.  A later task learns two numbers for each filter, the biases, and a column for each
of its classes, all from those of the base on, against a copy of the base's critic which is thrown
away; so what a task comes to depends on the base and its own rows alone, not on the tasks between.
Drawing class k uses the style of the task that k arrived with.

What a task is, the labels say: classes in the training set that no style knows yet are a new task,
learnt from their own rows; the styles of all others stay as they are, to the bit.  In a training
set without a new class, as in every loop whose classes are all there from the start, each task
with a class in it is learnt again, from the base on and from the rows of its classes; a class of
such a task without a row in it is gone.  Data without labels are one task.

Five tasks of two digits (8 x 8, 115 rows a class, 400 steps, width 16, policy replay, seed 0): OTDD
of the first task after each is 38, 53, 42, 39, 39 here and 38, 45, 72, 96, 101 of a wgan trained
anew on its own replay; its floor is 32.  A solver ends at .94 and .91.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from engine.files import JsonObject
from engine.generators._labels import labels_for
from engine.generators._pretrained import config_of, place_of
from engine.generators._styles import StyledGenerator, critic_of
from engine.parts import Fraction, NonNegativeFloat, OnDisk, PositiveFloat, PositiveInt
from engine.registry import make
from engine.samples import Samples
from engine.training.device import device, tensor
from engine.training.progress import pieces
from engine.training.weights import load_weights, save_weights

BATCH_OUT = 1024  # images drawn at a time
WIDTH, LATENT = 32, 64  # of a base without a folder
BASE = "base"  # folder of the frozen networks within a model's
WANTED = "a conditional or unconditional model of images that the generator wgan has saved"


class GanMemory:
    """Images uint8 [n, height, width, channels] of any size, by class label where they have labels.

    steps           updates of the generator in the training of the base.
    style_steps     updates of a style in the training of a task; None: as many as steps.
    critic_steps    updates of the critic before each of them.
    batch           images per update, each of the critic's on a minibatch of its own.
    lr              Adam's learning rate for the base and both critics.
    style_lr        Adam's learning rate for a style and its critic; None: as lr.
    betas           Adam's two decays of its running means, each below 1.
    width           channels at half an image's resolution, doubled at each halving; None: 32, or
                    the base's.
    latent          number of latent variables; None: 64, or the base's.
    penalty_weight  of the penalty on the critic's slope, the paper's lambda of WGAN-GP.
    ema             decay per step of the average of the weights, which is what is kept, below 1; 0:
                    the last weights.
    base            folder that the generator wgan has saved a model of images in (weights/ of a
                    model in an output): it is frozen, and the first task has a style as all others
                    have; None: the base is trained on the first task.
    precision       number format of training: no (float32), tf32 or bf16, each faster on a GPU and
                    coarser.
    """

    ACCEPTS = ("images",)
    CONDITIONAL = True
    CONTINUES = True
    COST = "small"
    TINY = {"steps": 6, "width": 4, "latent": 8, "batch": 16, "critic_steps": 1}

    def __init__(
        self,
        *,
        steps: PositiveInt = 1000,
        style_steps: PositiveInt | None = None,
        critic_steps: PositiveInt = 5,
        batch: PositiveInt = 64,
        lr: PositiveFloat = 5e-4,
        style_lr: PositiveFloat | None = None,
        betas: tuple[Fraction, Fraction] = (0.0, 0.9),
        width: PositiveInt | None = None,
        latent: PositiveInt | None = None,
        penalty_weight: NonNegativeFloat = 10.0,
        ema: Fraction = 0.0,
        base: OnDisk | None = None,
        precision: Literal["no", "tf32", "bf16"] = "no",
    ) -> None:
        own = {"width": width, "latent": latent}
        if base is not None and (given := [name for name, value in own.items() if value]):
            raise ValueError(f"{', '.join(given)} belong to base; leave them out")
        self.how: JsonObject = {
            "critic_steps": critic_steps,
            "batch": batch,
            "betas": betas,
            "width": width or WIDTH,
            "latent": latent or LATENT,
            "penalty_weight": penalty_weight,
            "ema": ema,
            "precision": precision,
        }
        self.of_base = {"steps": steps, "lr": lr}
        self.of_style = {"steps": style_steps or steps, "lr": style_lr or lr}
        self._wgan(True, **self.of_base)  # refuses what a wgan refuses
        self.base = base
        self.base_: Any = None  # the wgan whose networks are frozen
        self.styles_: dict[int, StyledGenerator] = {}  # by task; without one: the base itself
        self.tasks_: list[list[int]] = []  # the classes of each
        self.counts_: list[int] = []  # rows that each class was learnt from; none of unlabelled

    def _wgan(self, conditional: bool, **how: Any) -> Any:
        return make("generator", "wgan", conditional=conditional, **self.how, **how)

    # ---- training ----

    def fit(self, data: Samples, rng: np.random.Generator) -> dict[str, float]:
        y = np.zeros(len(data), np.int64) if data.y is None else data.y
        present = np.unique(y).tolist()
        if self.base_ is None and self.base is None:
            self.base_ = self._wgan(data.y is not None, **self.of_base)
            report: dict[str, float] = self.base_.fit(data, rng)
            self.tasks_ = [present]
            self._count(data.y, present)
            return report
        if self.base_ is None:
            self.base_ = self._given(data.x.shape[1:])
        reports = {}
        for task in self._to_learn(present):
            classes = [k for k in self.tasks_[task] if k in present]
            self.tasks_[task] = classes
            rows = np.isin(y, classes)
            within = None if data.y is None else np.searchsorted(classes, y[rows])
            reports[task] = self._learn(task, data.x[rows], within, rng)
            self._count(data.y, classes)
        if len(reports) == 1:
            return next(iter(reports.values()))
        return {f"{k}/task_{task}": v for task, own in reports.items() for k, v in own.items()}

    def _given(self, shape: tuple[int, ...]) -> Any:
        """The base from its folder; ValueError where that holds none for such images."""
        assert self.base is not None
        folder = place_of(self.base)
        config = config_of(folder, WANTED)
        if "label_counts" not in config or "shape" not in config:
            raise ValueError(f"base: {folder} holds another network; {WANTED} is wanted")
        if config["shape"] != list(shape):
            raise ValueError(
                f"base: the model in {folder} draws images {config['shape']} (height, width, "
                f"channels), the data are {list(shape)}"
            )
        base = self._wgan(bool(config["label_counts"]), **self.of_base)
        try:
            base.load(folder)
        except (OSError, RuntimeError, ValueError) as error:
            raise ValueError(f"base: the weights in {folder} cannot be read: {error}") from None
        return base

    def _to_learn(self, present: list[int]) -> list[int]:
        """The tasks that are learnt from a training set with these classes."""
        known = {k for classes in self.tasks_ for k in classes}
        if new := [k for k in present if k not in known]:
            self.tasks_.append(new)
            return [len(self.tasks_) - 1]
        return [i for i, own in enumerate(self.tasks_) if not set(own).isdisjoint(present)]

    def _learn(
        self, task: int, x: np.ndarray, y: np.ndarray | None, rng: np.random.Generator
    ) -> dict[str, float]:
        """A style for images x of classes y, 0.. within the task, from the base on."""
        base = self.base_.model_.to(device()).requires_grad_(False)
        classes, own = 0 if y is None else len(self.tasks_[task]), self._base_classes()
        like = [own[i % len(own)] for i in range(classes)] if own else []
        style = StyledGenerator(base.generator, base.latent, classes)
        style.start_from_labels(base.generator, like)
        gan = copy.copy(base)
        gan._modules = {"generator": style, "critic": critic_of(base.critic, like, classes)}
        wgan = self._wgan(y is not None, **self.of_style)
        report: dict[str, float] = wgan.train(gan, x, y, rng)
        style.requires_grad_(False)
        self.styles_[task] = style
        return report

    def _base_classes(self) -> list[int]:
        """The classes that the base was trained on."""
        counts = self.base_.config_["label_counts"]
        return [k for k, n in enumerate(counts) if n]

    def _count(self, y: np.ndarray | None, classes: list[int]) -> None:
        """Keep how many rows each class was learnt from; classes of no task have none."""
        if y is None:
            return
        found, known = np.bincount(y, minlength=len(self.counts_)), self.counts_
        self.counts_ = [known[k] if k < len(known) else 0 for k in range(len(found))]
        there = {k for own in self.tasks_ for k in own}
        for k in range(len(found)):
            if k in classes:
                self.counts_[k] = int(found[k])
            elif k not in there:
                self.counts_[k] = 0

    # ---- drawing ----

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        labels: np.ndarray | None = None,
        bias: float | None = None,
    ) -> Samples:
        """bias scales the latents' standard deviation (truncation).

        The i-th sample depends on rng and its label only.  Finding("extinct") for a class that no
        style knows.
        """
        assert self.base_ is not None, "fit or load comes first"
        y, config = labels_for(n, labels, self.counts_), self.base_.config_
        z = rng.standard_normal((n, config["latent"]), dtype=np.float32)
        z *= np.float32(1 if bias is None else bias)
        x = np.empty((n, *config["shape"]), np.uint8)
        if y is None:
            for piece in pieces(n, BATCH_OUT):
                x[piece] = self._drawn(0, z[piece], None)
            return Samples(x, None)
        for task, classes in enumerate(self.tasks_):
            rows = np.flatnonzero(np.isin(y, classes))
            within = np.searchsorted(classes, y[rows]) if task in self.styles_ else y[rows]
            for piece in pieces(len(rows), BATCH_OUT):
                x[rows[piece]] = self._drawn(task, z[rows[piece]], within[piece])
        return Samples(x, y)

    @torch.inference_mode()
    def _drawn(self, task: int, z: np.ndarray, y: np.ndarray | None) -> np.ndarray:
        base, on = self.base_.model_, device()
        generator = self.styles_.get(task, base.generator)
        image = generator(tensor(z, on), None if y is None else tensor(y, on))
        drawn: np.ndarray = base.write(image).cpu().numpy()
        return drawn

    # ---- files ----

    def save(self, folder: Path) -> None:
        """The base as wgan keeps it in base/, all styles in weights.safetensors."""
        assert self.base_ is not None, "fit or load comes first"
        (folder / BASE).mkdir()
        self.base_.save(folder / BASE)
        config = {"tasks": self.tasks_, "counts": self.counts_, "styled": sorted(self.styles_)}
        styles = nn.ModuleDict({str(task): style for task, style in sorted(self.styles_.items())})
        save_weights(styles, folder, config)

    def load(self, folder: Path) -> None:
        config = json.loads((folder / BASE / "config.json").read_text())
        self.base_ = self._wgan(bool(config["label_counts"]), **self.of_base)
        self.base_.load(folder / BASE)
        styles, own = load_weights(folder, self._styles)
        self.tasks_, self.counts_ = own["tasks"], own["counts"]
        for task, style in styles.items():
            assert isinstance(style, StyledGenerator)
            style.freeze(self.base_.model_.generator)
            style.requires_grad_(False)
            self.styles_[int(task)] = style

    def _styles(self, config: JsonObject) -> nn.ModuleDict:
        base, labelled = self.base_.model_, bool(config["counts"])
        return nn.ModuleDict(
            {
                str(task): StyledGenerator(
                    base.generator, base.latent, len(config["tasks"][task]) if labelled else 0
                )
                for task in config["styled"]
            }
        )
