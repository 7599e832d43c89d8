"""A language with a known law: a Markov chain over tokens whose transition table is drawn once.

To text what a Gaussian is to points: its entropy, and the cross entropy of any model with a table
of transitions, are sums rather than estimates.  Every sequence begins after nothing but BOS.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from engine._tokens import begin_code, context_codes, token_dtype
from engine.parts import NonNegativeInt, Params, PositiveFloat, PositiveInt, traits_of
from engine.samples import Samples

HELD_OUT = 7_140_005  # names the stream of held-out sequences
MOST_CELLS = 1 << 22  # of the transition table


class Markov:
    """Tokens [n, replicates, length] in 0..outcomes-1.

    outcomes       V, the number of different tokens: the vocabulary.
    order          tokens that the next one depends on; 0: independent tokens.
    length         tokens of a sequence.
    concentration  of the Dirichlet law that each row of the table is drawn from: near 0 the next
                   token is all but certain; at 1 all its probabilities are equally likely.
    law_seed       names the table; another number is another language.
    replicates     independent data sets side by side, each with a model and metrics of its own: the
                   more, the narrower every standard error.
    """

    TINY: ClassVar[Params] = {"outcomes": 4, "length": 6, "replicates": 3}
    GIVES = "text"
    CLASSES = 0
    REPLICATES = "replicates"
    VOCABULARY = "outcomes"
    LENGTH = "length"
    KNOWS = ("density", "cross entropy")

    def __init__(
        self,
        *,
        outcomes: PositiveInt = 8,
        order: NonNegativeInt = 1,
        length: PositiveInt = 32,
        concentration: PositiveFloat = 0.3,
        law_seed: NonNegativeInt = 0,
        replicates: PositiveInt = 1,
    ) -> None:
        self.outcomes, self.order, self.length = outcomes, order, length
        self.concentration, self.law_seed, self.replicates = concentration, law_seed, replicates
        contexts = (outcomes + 1) ** order
        if contexts * outcomes > MOST_CELLS:
            raise ValueError(
                f"markov: a table of (outcomes + 1)^order x outcomes = {contexts:,} x {outcomes:,} "
                f"is too large, {MOST_CELLS:,} numbers are allowed; lower order or outcomes"
            )
        law = np.random.default_rng(law_seed)
        self.table_ = law.dirichlet(np.full(outcomes, concentration), contexts)  # [contexts, V]

    def sample(self, n: int, rng: np.random.Generator) -> Samples:
        v, base, m = self.outcomes, self.outcomes + 1, self.order
        cdf = np.cumsum(self.table_, axis=1)
        cdf /= cdf[:, -1:]
        x = np.empty((n, self.replicates, self.length), dtype=token_dtype(v))
        code = np.full((n, self.replicates), begin_code(v, m))
        for i in range(self.length):
            u = rng.random(code.shape)
            token = np.zeros(code.shape, dtype=np.int64)
            for w in range(v - 1):
                token += u >= cdf[code, w]
            x[..., i] = token
            code = (code * base + token) % base**m
        return Samples(x, traits=traits_of(self))

    def held_out(self, n: int) -> Samples:
        return self.sample(n, np.random.default_rng(HELD_OUT))

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Log probability of sequences x [n, replicates, length] under the truth, in nats: [n,
        replicates], -inf where it is 0.
        """
        p = self.table_[context_codes(x, self.outcomes, self.order), x]
        values: np.ndarray = np.log(p, out=np.full(p.shape, -np.inf), where=p > 0).sum(-1)
        return values

    def entropy(self) -> float:
        """Of a sequence, in nats per token: exact."""
        return float(self.cross_entropy_of(self.table_[None])[0])

    def cross_entropy_of(self, transitions: np.ndarray) -> np.ndarray:
        """Mean of -log q(next token | the m before it) over the positions of a sequence and the
        truth, in nats: exact, by the forward recursion of context probabilities.

        transitions [replicates, (V+1)^m, V], rows in the order of `_tokens.context_codes`; the
        result [replicates], inf where the model excludes what the truth draws.
        """
        v, base = self.outcomes, self.outcomes + 1
        m = max(self.order, _order(transitions.shape[1], base))
        codes = np.arange(base**m)
        p = self.table_[codes % len(self.table_)]  # [contexts, V]
        log_q = np.log(
            transitions,
            out=np.full(transitions.shape, -np.inf),
            where=transitions > 0,
        )[:, codes % transitions.shape[1]]
        with np.errstate(invalid="ignore"):  # of what the truth never says nothing counts
            cost = -np.where(p > 0, p * log_q, 0.0).sum(-1)  # [replicates, contexts]
        after = (codes[:, None] * base + np.arange(v)) % base**m  # [contexts, V]
        pi = (codes == begin_code(v, m)).astype(float)  # of contexts at position i
        visits = np.zeros(len(codes))
        for _ in range(self.length):
            visits += pi
            pi = np.bincount(after.ravel(), (pi[:, None] * p).ravel(), len(codes)).astype(float)
        seen = visits > 0
        values: np.ndarray = cost[:, seen] @ visits[seen] / self.length
        return values


def _order(contexts: int, base: int) -> int:
    """m of base^m contexts."""
    return round(math.log(contexts) / math.log(base))
