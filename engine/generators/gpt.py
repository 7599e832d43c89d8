"""A small GPT: a causal language model of the Llama architecture (Touvron et al. 2302.13971), by
AdamW with warm-up and a cosine that ends at a tenth.

Its loss is cross entropy, or truncated cross entropy (ForTIFAI, 2509.08972), which leaves out the
tokens that the model is already sure of:

    loss = sum over tokens 1[p <= gamma] (-log p) / number of all tokens,

whose gradient at the logits is 1[p_y <= gamma] (p - e_y) / number of all tokens.  It is no
reweighted mean: what is left out still counts below.

`transformers.LlamaForCausalLM.from_pretrained(folder)` opens a saved model; of several replicates
each is a folder of its own.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from engine._tokens import token_dtype
from engine.files import JsonObject
from engine.generators._choices import Tempered, asked
from engine.generators._labels import label_counts, labels_for
from engine.generators._language import Size, TextNet, Writer, begin_of, writing
from engine.generators._pretrained import place_of
from engine.generators._prompts import Prompts, counted
from engine.knowledge import Choose
from engine.parts import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    OnDisk,
    Params,
    PositiveFloat,
    PositiveInt,
)
from engine.samples import Samples
from engine.training.device import device, seeded, tensor
from engine.training.loop import Training, Turn, train
from engine.training.progress import pieces

BETAS = (0.9, 0.99)
END = 0.1  # of the learning rate's cosine
PROMPTS = "prompts.npz"
BASE_LR = 2e-5  # of pretrained weights
SIZES = {
    "tiny": Size(64, 2, 4, 8e-3),  # 0.1 M weights with 65 tokens
    "small": Size(128, 4, 4, 4e-3),  # 0.8 M
    "9m": Size(256, 8, 8, 1e-3),  # 7.3 M with 4096 tokens
    "42m": Size(512, 12, 8, 6e-4),
}


class Gpt:
    """Text [n, replicates, length], of labelled data by label: each class has a BOS of its own.

    Replicates have a network each, trained one after the other.  Of records the completion alone is
    learnt, and drawn to the prompts of the training set.  bias = temperature: draws from
    p ** (1 / temperature); 0: always the most probable token.

    size          preset of the numbers below that are None: tiny (minutes of one core), small, or
                  9m and 42m (millions of weights) for a GPU.
    width         hidden units of a token; None: 64, 128, 256, 512.
    layers        blocks of attention and MLP; None: 2, 4, 8, 12.
    heads         of attention, which must divide width into even numbers; None: 4, 4, 8, 8.
    steps         optimiser steps of a fit.
    batch         texts per step.
    lr            the highest learning rate; None: 8e-3, 4e-3, 1e-3, 6e-4; of base
                  2e-5.
    warmup        steps over which the learning rate rises from nothing.
    weight_decay  of AdamW, of matrices alone.
    dropout       share of attention weights dropped in training, below 1.
    loss          cross_entropy, or tce: tokens of a probability above gamma are left out.
    gamma         of tce, above 0: the greatest probability of a token that is still learnt; 1: all.
    base          folder of a pretrained language model, as save_pretrained writes it: training
                  begins from its weights, on text that its own tokenizer encoded; None: new ones.
    warm_start    go on from the networks of the generation before, where they are of the same
                  shape, instead of from new weights or those of `base`.
    precision     number format of training and drawing: no (float32), tf32, bf16 or fp16, each
                  faster on a GPU and coarser.
    micro_batch   texts whose gradient is computed at a time, which are added: the same step in less
                  memory; None: all of the batch.
    compile       train through torch.compile: slow to start, then faster.
    """

    TINY: ClassVar[Params] = {"steps": 4, "batch": 8, "width": 8, "layers": 1, "heads": 2}
    ACCEPTS = ("text",)
    CONDITIONAL = True
    CONTINUES = "warm_start"
    TOKENIZER = "base"
    KNOWS = ("density", "decoding", "completions")
    COST = "small"

    def __init__(
        self,
        *,
        size: Literal["tiny", "small", "9m", "42m"] = "tiny",
        width: PositiveInt | None = None,
        layers: PositiveInt | None = None,
        heads: PositiveInt | None = None,
        steps: PositiveInt = 800,
        batch: PositiveInt = 16,
        lr: PositiveFloat | None = None,
        warmup: NonNegativeInt = 50,
        weight_decay: NonNegativeFloat = 0.0,
        dropout: Fraction = 0.0,
        loss: Literal["cross_entropy", "tce"] = "cross_entropy",
        gamma: Fraction = 0.99,
        base: OnDisk | None = None,
        warm_start: bool = False,
        precision: Literal["no", "tf32", "bf16", "fp16"] = "no",
        micro_batch: PositiveInt | None = None,
        compile: bool = False,
    ) -> None:
        own = {"width": width, "layers": layers, "heads": heads, "lr": lr}
        given: JsonObject = {name: value for name, value in own.items() if value is not None}
        self.size = replace(SIZES[size], **given)
        if self.size.width % (2 * self.size.heads):
            raise ValueError(
                f"gpt: width {self.size.width} is not an even number of units for each of "
                f"{self.size.heads} heads; give a multiple of {2 * self.size.heads}"
            )
        if dropout == 1 or gamma == 0:
            raise ValueError(
                "gpt: dropout 1 and gamma 0 would never learn; dropout is below 1, gamma above 0"
            )
        if base is not None and (own.keys() & given.keys()) - {"lr"}:
            raise ValueError(
                f"gpt: {', '.join(k for k in given if k != 'lr')} belong to base; leave them out"
            )
        self.base, self.lr = base, self.size.lr if base is None else lr or BASE_LR
        self.warm_start, self.weight_decay, self.dropout = warm_start, weight_decay, dropout
        self.loss, self.gamma = loss, gamma
        self.how = Training(
            steps=steps,
            batch=batch,
            precision=precision,
            decay=True,
            decay_to=END,
            warmup=warmup,
            clip_norm=1.0,
            micro_batch=micro_batch,
            compile=compile,
        )
        self.nets_: list[TextNet] = []  # one per replicate
        self.label_counts_: list[int] = []
        self.prompts_: Prompts | None = None

    # ---- training ----

    def fit(self, data: Samples, rng: np.random.Generator) -> dict[str, float]:
        """ValueError where nobody has said how many tokens there are."""
        labelled = data.declared.classes != 0 and data.y is not None
        y = data.y if labelled else None
        self.label_counts_ = label_counts(y, data)
        self.prompts_ = Prompts.of(data, y)
        about, own = self._about(data), [] if y is None else [y]
        own += [] if self.prompts_ is None else counted(data)
        x = data.x.swapaxes(0, 1)
        reports = [self._fit_one(r, about, x[r], own, rng) for r in range(len(x))]
        del self.nets_[len(reports) :]
        values = np.array([list(report.values()) for report in reports]).mean(0)
        return dict(zip(reports[0], values.tolist(), strict=True))

    def _about(self, data: Samples) -> JsonObject:
        """What a network has to be made for."""
        vocabulary = data.declared.vocabulary
        if vocabulary is None:
            raise ValueError(
                "gpt: the data set does not say how many different tokens it has; let it declare "
                "VOCABULARY"
            )
        classes = max(data.declared.classes or 0, len(self.label_counts_), 1)
        begins: list[int | None] = list(range(vocabulary, vocabulary + classes))
        if self.base is not None:
            begins = [begin_of(self.base, data)] * classes
        return {"vocabulary": vocabulary, "length": data.x.shape[2], "begins": begins}

    def _fit_one(
        self,
        r: int,
        about: JsonObject,
        x: np.ndarray,
        own: list[np.ndarray],
        rng: np.random.Generator,
    ) -> dict[str, float]:
        """Train the network of one replicate on x [n, length].

        own  of each row its label, of labelled data, and its first and last place, of records.
        """
        with seeded(rng):  # also where nothing is new: what follows has the same stream
            net = self._going_on(r, about) or self._fresh(about)
        self.nets_[r:] = [net, *self.nets_[r + 1 :]]
        mean = float((own[-1] - own[-2]).mean()) if self.prompts_ is not None else 0.0
        loss = partial(self._loss, net, mean, tensor(np.asarray(net.about["begins"]), device()))
        turn = Turn(net.module, loss, self.lr, BETAS, weight_decay=self.weight_decay)
        x = x.astype(np.int32) if x.dtype == np.uint16 else np.ascontiguousarray(x)
        return train([turn], [x, *own], rng, self.how)

    def _going_on(self, r: int, about: JsonObject) -> TextNet | None:
        """The network of a replicate that is trained further; a base is not read again for it."""
        if not self.warm_start or r >= len(self.nets_):
            return None
        net = self.nets_[r]
        if self.base is not None:
            return net if net.is_for(about) else None
        fresh = self._fresh(about)
        return net if net.is_like(fresh) else fresh

    def _fresh(self, about: JsonObject) -> TextNet:
        """A network before its first training."""
        if self.base is None:
            return TextNet.new(about, self.size, self.dropout)
        return TextNet.based(place_of(self.base), about, self.dropout)

    def _loss(
        self,
        net: TextNet,
        mean: float,
        begins: Tensor,
        batch: tuple[Tensor, ...],
        noise: torch.Generator,
    ) -> Tensor:
        """Per token.  Of records per mean number of tokens in a completion of the training set, so
        that parts of a minibatch add up to it.
        """
        x = batch[0].long()
        begin = begins[batch[1]] if self.label_counts_ else begins[:1].expand(len(x))
        learnt = self.learnt(net.surprise(x, begin))
        if not mean:
            return learnt.mean()
        first, last = batch[-2:]
        places = torch.arange(x.shape[1], device=x.device)
        counts = (places >= first[:, None]) & (places < last[:, None])
        return (learnt * counts).sum(-1).mean() / mean

    def learnt(self, surprise: Tensor) -> Tensor:
        """-log p of the tokens that count, 0 of the others; what is not a number stays so."""
        if self.loss == "cross_entropy":
            return surprise
        return surprise * (torch.exp(-surprise.detach()) <= self.gamma)

    # ---- drawing ----

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        labels: np.ndarray | None = None,
        bias: float | None = None,
    ) -> Samples:
        """n texts [n, replicates, length]; Finding("extinct") for a class beyond those of the
        training set.
        """
        y = labels_for(n, labels, self.label_counts_)
        choose = Tempered(1.0 if bias is None else bias)
        at_once = self._trained[0].rows_written
        if self.prompts_ is not None:
            return self.prompts_.completed(n, self.generate, choose, rng, y, at_once)
        drawn = [
            self.generate(rows.stop - rows.start, choose, rng, None, None if y is None else y[rows])
            for rows in pieces(n, at_once)
        ]
        return Samples(np.concatenate(drawn), y)

    def complete(
        self,
        prompted: Samples,
        choose: Choose | None,
        rng: np.random.Generator,
        labels: np.ndarray | None = None,
    ) -> Samples:
        """As in knowledge.Completions."""
        prompts, y = Prompts.of(prompted, labels), self._wanted(labels)
        if prompts is None:
            raise ValueError("gpt: these texts have no prompts of their own; give records")
        n, at_once = len(prompted), max(1, len(prompted))
        if choose is None:
            choose, at_once = Tempered(), self._trained[0].rows_written
        return prompts.completed(n, self.generate, choose, rng, y, at_once)

    def generate(
        self,
        n: int,
        choose: Choose,
        rng: np.random.Generator,
        prompts: np.ndarray | None = None,
        labels: np.ndarray | None = None,
    ) -> np.ndarray:
        """As in knowledge.LanguageModel."""
        nets = self._trained
        length, vocabulary = nets[0].length, nets[0].vocabulary
        x = np.empty((n, len(nets), length), dtype=token_dtype(vocabulary))
        m = 0 if prompts is None else prompts.shape[-1]
        if prompts is not None:
            if prompts.shape[:2] != x.shape[:2] or m > length:
                raise ValueError(
                    f"gpt: prompts are {n} x {len(nets)} x at most {length} tokens here, got "
                    f"{list(prompts.shape)}"
                )
            x[..., :m] = prompts
        with writing(self.how.precision):
            begin = nets[0].begin(self._wanted(labels), n)
            writers = [Writer(net, begin, x[:, r, :m]) for r, net in enumerate(nets)]
            for i in range(m, length):
                logits = torch.stack([writer.logits() for writer in writers], 1).flatten(0, 1)
                tokens, parents = asked(choose, logits, rng)
                if parents is not None:
                    x = x.reshape(-1, length)[parents].reshape(x.shape)
                    parents = parents.reshape(n, -1) // len(nets)
                x[..., i] = tokens.reshape(n, -1)
                for r, writer in enumerate(writers):
                    writer.write(x[:, r, i], None if parents is None else parents[:, r])
        return x

    def _wanted(self, labels: np.ndarray | None) -> np.ndarray | None:
        """The labels; ValueError without where it draws by them."""
        if self.label_counts_ and labels is None:
            raise ValueError(
                f"gpt: it was trained on {len(self.label_counts_)} classes; give the labels of the "
                "texts"
            )
        return labels_for(0 if labels is None else len(labels), labels, self.label_counts_)

    # ---- scoring ----

    def logits(self, x: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """float32 [b, replicates, length, V]; see knowledge.LanguageModel."""
        y = self._wanted(labels)
        each = [
            net.scored(net.logits, x[:, r], y, self.how.precision)
            for r, net in enumerate(self._trained)
        ]
        return np.stack(each, 1)

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Log probability of texts x [n, replicates, length], in nats: [n, replicates].  Of
        labelled text the mixture of the classes by their shares.
        """
        counts = np.asarray(self.label_counts_ or [1])
        shares = counts / counts.sum()
        each = [
            -self._surprise(x, np.full(len(x), k)).sum(-1) + np.log(shares[k])
            for k in np.flatnonzero(shares).tolist()
        ]
        values: np.ndarray = np.logaddexp.reduce(each, axis=0)
        return values

    def completion_log_density(self, samples: Samples) -> np.ndarray:
        """Of the completion of each row given its prompt, and its label where it has one, in nats:
        [n, replicates].
        """
        first, last = counted(samples)
        places = np.arange(samples.x.shape[2])
        counts = (places >= first[:, None]) & (places < last[:, None])  # [n, length]
        surprise = self._surprise(samples.x, self._wanted(samples.y))
        values: np.ndarray = -np.where(counts[:, None], surprise, 0.0).sum(-1)
        return values

    def _surprise(self, x: np.ndarray, y: np.ndarray | None) -> np.ndarray:
        """-log p of every token: float64 [n, replicates, length]."""
        each = [
            net.scored(net.surprise, x[:, r], y, self.how.precision)
            for r, net in enumerate(self._trained)
        ]
        return np.stack(each, 1).astype(np.float64)

    @property
    def _trained(self) -> list[TextNet]:
        assert self.nets_, "fit or load comes first"
        return self.nets_

    # ---- files ----

    def save(self, folder: Path) -> None:
        """The folder is a model of transformers; of several replicates each in a folder of it."""
        places = _places(folder, len(self._trained))
        for net, place in zip(self._trained, places, strict=True):
            place.mkdir(exist_ok=True)
            net.save(place, self.label_counts_)
        if self.prompts_ is not None:
            self.prompts_.save(folder / PROMPTS)

    def load(self, folder: Path) -> None:
        replicates = sum(place.is_dir() for place in folder.iterdir()) or 1
        self.nets_ = [TextNet.load(place) for place in _places(folder, replicates)]
        self.label_counts_ = self.nets_[0].about["label_counts"]
        self.prompts_ = Prompts.load(folder / PROMPTS)


def _places(folder: Path, replicates: int) -> list[Path]:
    return [folder] if replicates == 1 else [folder / str(r) for r in range(replicates)]
