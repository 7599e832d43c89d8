"""How a token is chosen from the logits of a language model: plainly, or at a temperature; on the
device where the logits are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.knowledge import Choose
from engine.training.device import torch_generator

COLDEST = 1e-30  # logits divided by less are infinite in float32


@dataclass(frozen=True)
class Tempered:
    """Draws from p ** (1 / temperature); at 0, or what is as small to float32, the most probable
    token.

    Of logits [rows, V] that are no tensor by inversion, so that a row takes one number; of a tensor
    by the largest of the logits with Gumbel noise, on its device.
    """

    temperature: float = 1.0

    def __call__(
        self, logits: np.ndarray | Tensor, rng: np.random.Generator
    ) -> tuple[np.ndarray, None]:
        if isinstance(logits, Tensor):
            return self._noisy(logits, rng).argmax(1).cpu().numpy(), None
        if self.temperature < COLDEST:
            return logits.argmax(1), None
        if self.temperature != 1:
            logits = logits / np.float32(self.temperature)
        return _inverted(logits.astype(np.float64), rng), None

    def _noisy(self, logits: Tensor, rng: np.random.Generator) -> Tensor:
        if self.temperature < COLDEST:
            return logits
        noise = torch.empty_like(logits).exponential_(generator=torch_generator(rng, logits.device))
        return logits / self.temperature - noise.log()


@dataclass
class Forced:
    """Another choice, but the tokens of prompts [rows, longest] of these lengths, from a place on,
    where they have not ended.
    """

    choose: Choose
    tokens: np.ndarray
    lengths: np.ndarray
    place: int

    def __call__(
        self, logits: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray | None]:
        found, parents = self.choose(logits, rng)
        if self.place < self.tokens.shape[1]:
            found = np.where(self.place < self.lengths, self.tokens[:, self.place], found)
        self.place += 1
        return found, parents


def asked(
    choose: Choose, logits: Tensor, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """What a choice makes of logits: those of our own take them on a GPU as they are, where all of
    a large vocabulary would be long on its way.
    """
    near: Any = logits
    if not (logits.is_cuda and isinstance(choose, Tempered | Forced)):
        near = logits.cpu().numpy()
    return choose(near, rng)


def _inverted(p: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Tokens [rows] of logits [rows, V], which are overwritten."""
    p -= p.max(1, keepdims=True)
    np.exp(p, out=p)
    ends = np.cumsum(p, axis=1, out=p)
    ends /= ends[:, -1:]
    tokens: np.ndarray = (ends <= rng.random((len(ends), 1))).sum(1)
    return tokens
