"""Decoding of language models: temperature, nucleus (Holtzman 1904.09751), top-k, beam search, and
texts that go on from real ones.

Shumailov 2305.17493 gives half of a real text and searches with 5 beams; Gerstgrasser 2404.01413
lowers the temperature to .3.  Not `biased`, which is each family's own knob.
"""

from __future__ import annotations

from typing import ClassVar, cast

import numpy as np

from engine.knowledge import Choose, Completions, LanguageModel
from engine.parts import (
    Around,
    Dataset,
    Draw,
    Fraction,
    Generator,
    Needs,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
)
from engine.samples import Prompted, Samples, concat
from engine.samplings._choice import Beams, chosen, log_probabilities
from engine.samplings._in_turn import rows_in_turn


class Decode:
    """Texts token by token; with its defaults `plain`, to the bit.

    temperature  the model's probabilities to the power of 1 / temperature; 0: always the most
                 likely token (greedy).
    top_p        only the smallest set of tokens whose probability reaches it, at least one; 1: all.
    top_k        only so many most likely tokens, before top_p; 0: all.
    beams        above 1: the most likely text that a search with so many beams finds; nothing is
                 drawn, and texts without a prompt are all the same one.
    prompt       so many first tokens are those of a real text, the real texts in turn; the rest is
                 written by the model.  Below the length of the texts.  Records have prompts of
                 their own, to which completions are written, whatever the model has learnt from.
    batch        texts (with their beams) written at a time: a matter of memory.
    """

    ACCEPTS = ("text",)
    NEEDS: ClassVar[Needs] = {"model.decoding": {}}
    PROMPTS = "prompt"
    RECORDS = True
    TINY = {"temperature": 0.8, "top_p": 0.9, "prompt": 1}

    def __init__(
        self,
        *,
        temperature: NonNegativeFloat = 1.0,
        top_p: Fraction = 1.0,
        top_k: NonNegativeInt = 0,
        beams: PositiveInt = 1,
        prompt: NonNegativeInt = 0,
        batch: PositiveInt = 1000,
    ) -> None:
        self.temperature, self.top_p, self.top_k = temperature, top_p, top_k
        self.beams, self.prompt, self.batch = beams, prompt, batch
        self._honest = (temperature, top_p, top_k) == (1, 1, 0)
        if beams > 1 and not self._honest:
            raise ValueError(
                f"decode: {beams} beams search for the most likely text and draw nothing; leave "
                "temperature, top_p and top_k out, or beams"
            )

    def prepare(
        self, dataset: Dataset, real: Samples, founder: Generator, rng: np.random.Generator
    ) -> None:
        """ValueError for a prompt that leaves nothing to write, and for one beside those of
        records.
        """
        if self.prompt and real.prompt_lengths is not None:
            raise ValueError("decode: records have prompts of their own; leave prompt out")
        if self.prompt >= real.x.shape[-1]:
            raise ValueError(
                f"decode: prompt must be below the length of the texts, {real.x.shape[-1]}, got "
                f"{self.prompt}"
            )

    def draw(self, generator: Generator, n: int, around: Around, rng: np.random.Generator) -> Draw:
        labels = around.labels
        if around.real.prompt_lengths is not None:
            return Draw(self._completed(generator, n, around, rng), {})
        if self._honest and self.beams == 1 and not self.prompt:
            return Draw(generator.sample(n, rng, labels=labels), {})
        model = cast(LanguageModel, generator)
        real = None
        if self.prompt:
            real = around.real.take(rows_in_turn(around.real, n, labels))
        each = []
        for i in range(0, n, at_once := max(1, self.batch // self.beams)):
            prompts = None if real is None else real.x[i : i + at_once, :, : self.prompt]
            own = None if labels is None else labels[i : i + at_once]
            each.append(self._texts(model, min(at_once, n - i), prompts, own, rng))
        x = np.concatenate(each).astype(around.real.x.dtype, copy=False)
        prompted = None if real is None else Prompted(real, self.prompt)
        y = None if labels is None else np.array(labels)
        return Draw(Samples(x, y, prompted=prompted), {})

    def _texts(
        self,
        model: LanguageModel,
        n: int,
        prompts: np.ndarray | None,
        labels: np.ndarray | None,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """n texts [n, replicates, length]."""
        if self.beams == 1:
            return model.generate(n, self._choose, rng, prompts, labels)
        begun = None if prompts is None else np.repeat(prompts, self.beams, axis=0)
        own = None if labels is None else np.repeat(labels, self.beams)
        search = Beams(n, self.beams)
        x = model.generate(n * self.beams, search, rng, begun, own)
        return x[:: self.beams]

    # ---- records ----

    def _completed(
        self, generator: Generator, n: int, around: Around, rng: np.random.Generator
    ) -> Samples:
        """Completions of the prompts of the real records, in turn."""
        model, labels = cast(Completions, generator), around.labels
        real = around.real.take(rows_in_turn(around.real, n, labels))
        groups, each = self._together(real), []
        for rows in groups:
            beams = np.repeat(rows, self.beams)
            own = None if labels is None else labels[beams]
            found = model.complete(real.take(beams), self._chooser(real, len(rows)), rng, own)
            each.append(found.take(slice(None, None, self.beams)))  # the likeliest beam is first
        x = concat(each).take(np.argsort(np.concatenate(groups)))
        return Samples(x.x, x.y, beside=x.beside, prompted=Prompted(real))

    def _together(self, real: Samples) -> list[np.ndarray]:
        """Rows that are written at a time; by beams those with prompts of one length, since a
        search begins at once.
        """
        n, lengths = len(real), real.prompt_lengths
        assert lengths is not None
        if self.beams == 1:
            at_once = n if self._honest else self.batch
            return [np.arange(i, min(i + at_once, n)) for i in range(0, n, at_once)]
        order, at_once = np.argsort(lengths, kind="stable"), max(1, self.batch // self.beams)
        alike = np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)
        return [same[i : i + at_once] for same in alike for i in range(0, len(same), at_once)]

    def _chooser(self, real: Samples, texts: int) -> Choose | None:
        """How tokens are chosen; None: as the model does."""
        if self.beams > 1:
            own = real.declared.tokenizer
            return Beams(texts, self.beams, None if own is None else own.eos)
        return None if self._honest else self._choose

    def _choose(self, logits: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, None]:
        u = rng.random(len(logits))
        log_p = log_probabilities(logits)
        how = {"temperature": self.temperature, "top_p": self.top_p}
        return chosen(log_p, u, top_k=self.top_k, **how), None
