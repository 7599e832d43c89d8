"""Interpolated n-gram model with absolute discounting (Ney, Essen & Kneser 1994), in closed form.

p_k(w | c) = max(N(c, w) - D, 0) / N(c) + D U(c) / N(c) p_{k-1}(w | c'), with c' the context c
without its oldest token, U(c) the number of different tokens that followed c, p_0 = 1 / V, and
p_k = p_{k-1} where c was never seen.  Not Kneser-Ney: lower orders count tokens, not contexts.
Without discount it is maximum likelihood: an n-gram that was not drawn never comes back under
replace, as in the chain of Seddik 2404.05090.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from engine._tokens import MOST_CODES, begin_code, context_codes, token_dtype
from engine.generators._contexts import Contexts
from engine.generators._tables import Inverse, capped, log, tempered
from engine.knowledge import Choose
from engine.parts import Fraction, Params, PositiveFloat, PositiveInt
from engine.samples import Samples, Traits

MOST_CELLS = 1 << 27  # numbers of a model: rows of seen contexts, a column for each token
MOST_TOKENS = 1 << 17  # scored at a time: what a processor keeps close
DENSE = 1 << 22  # n-grams that may be counted in a table; above, what occurs is sorted
Counts = tuple[np.ndarray, np.ndarray]  # codes of n-grams, ascending, and how often each occurs


class Ngram:
    """p_ [rows, V]: a row for every context that was seen, those of no token first.

    Labelled data give a model per class, and text is drawn by label; a class that it was never
    trained on draws uniform tokens.  bias = temperature: draws from p ** (1 / temperature).

    order     n: the next token depends on the n - 1 before it.
    discount  D, taken from every count and given to the shorter context; 0: maximum likelihood.
    gamma     the largest probability of a token: what is above is given to the others in proportion
              (the fixed point of truncated cross entropy, ForTIFAI 2509.08972); 1: no cap.
    """

    TINY: ClassVar[Params] = {"order": 2}
    ACCEPTS = ("text",)
    CONDITIONAL = True
    KNOWS = ("density", "transitions", "decoding", "limits")
    COST = "tiny"

    def __init__(
        self,
        *,
        order: PositiveInt = 3,
        discount: Fraction = 0.75,
        gamma: PositiveFloat = 1.0,
    ) -> None:
        self.order, self.discount, self.gamma = order, discount, gamma
        if gamma > 1:
            raise ValueError(f"ngram: gamma is a probability, at most 1; got {gamma}")
        if gamma < 1 and discount == 0:
            raise ValueError(
                "ngram: gamma below 1 needs a discount above 0: what it takes from one token is "
                f"given to others that are possible; got gamma {gamma}, discount 0"
            )

    # ---- fit -------------------------------------------------------------------------------------

    def fit(self, data: Samples, rng: np.random.Generator) -> dict[str, float]:
        """ValueError where nobody has said how many tokens there are, or the model is too large."""
        vocabulary = data.declared.vocabulary
        if vocabulary is None:
            raise ValueError(
                "ngram: the data set does not say how many different tokens it has; let it declare "
                "VOCABULARY"
            )
        blocks = data.blocks or (data,)
        self.vocabulary_, (self.replicates_, self.length_) = vocabulary, blocks[0].x.shape[1:]
        labelled = data.declared.classes != 0 and blocks[0].y is not None
        self.classes_, self.shares_ = 1, np.ones(1)
        if labelled:
            self.classes_ = data.declared.classes or max(_classes(block) for block in blocks)
            each = [_by_class(block, self.classes_) for block in blocks]
            self.shares_ = np.stack(each).sum(0) / len(data)
        known = replace(data.declared, classes=self.classes_, replicates=self.replicates_)
        if why := self.beyond(known):
            raise ValueError(why)
        self._smooth(_merged([self._counted(block, labelled) for block in blocks]))
        return {"contexts": len(self.codes_) / self._groups}

    @property
    def _groups(self) -> int:
        """Models side by side: of class k and replicate r the group k * replicates + r."""
        groups: int = self.classes_ * self.replicates_
        return groups

    @property
    def _stride(self) -> int:
        """Codes of contexts of n - 1 tokens; those of group g begin at g times that."""
        return begin_code(self.vocabulary_, self.order - 1) + 1

    def beyond(self, data: Traits) -> str:
        """As in knowledge.Limits."""
        v, groups = data.vocabulary, (data.classes or 1) * (data.replicates or 1)
        if v is None:
            return ""
        if self.gamma * v < 1:
            return (
                f"ngram: gamma {self.gamma} is below 1 / {v}, the mean probability of a token; "
                "raise gamma"
            )
        if self.order >= MOST_CODES.bit_length() or groups * (v + 1) ** self.order >= MOST_CODES:
            return (
                f"ngram: order {self.order} over {v:,} tokens has more n-grams than can be "
                "numbered; lower order"
            )
        return ""

    def _counted(self, block: Samples, labelled: bool) -> Counts:
        """N-grams of a block: code ((group, context), token), remembered by the block."""
        key = ("ngram", self.order, self.vocabulary_, labelled)
        if key not in block.memo:
            across = np.arange(self.replicates_)[None, :, None]
            group = across if not labelled else _column(block) * self.replicates_ + across
            codes = context_codes(block.x, self.vocabulary_, self.order - 1)
            codes += group * self._stride
            codes *= self.vocabulary_ + 1
            codes += block.x
            block.memo[key] = _tallied(codes.ravel(), self._stride * (self.vocabulary_ + 1))
        counts: Counts = block.memo[key]
        return counts

    def _smooth(self, counted: Counts) -> None:
        """Rows of every order, the shortest contexts first."""
        (codes, counts), v = counted, self.vocabulary_
        last = Contexts(np.zeros(0), np.zeros(0), v, self.order).last
        contexts, tokens = codes // (v + 1), codes % (v + 1)
        p = np.full((self._groups, v), 1 / v)
        seen = np.arange(self._groups) * self._stride  # of no token: of every group, trained or not
        rows, levels = list[np.ndarray](), list[np.ndarray]()
        for m in range(self.order):
            own = last(contexts, m)
            known, seen = seen, np.unique(own) if m else seen
            self._fits(sum(map(len, levels)) + len(seen))
            table = _table(np.searchsorted(seen, own), tokens, counts, (len(seen), v))
            p = self._interpolated(table, p[np.searchsorted(known, last(seen, m - 1))])
            rows.append(p)
            levels.append(seen)
        self.p_ = capped(np.concatenate(rows), self.gamma)  # [rows, V]
        self.codes_ = np.concatenate(levels)  # [rows]
        self.sizes_ = np.array([len(level) for level in levels])  # rows of 0, 1, ... tokens
        self._contexts = Contexts(self.codes_, self.sizes_, v, self.order)

    def _fits(self, rows: int) -> None:
        if rows * self.vocabulary_ > MOST_CELLS:
            raise ValueError(
                f"ngram: order {self.order} has {rows:,} contexts of {self.vocabulary_:,} tokens, "
                f"more than {MOST_CELLS:,} numbers; lower order"
            )

    def _interpolated(self, table: np.ndarray, parent: np.ndarray) -> np.ndarray:
        """p_k of counts [rows, V] and p_{k-1} of the shorter contexts, [rows, V]."""
        total = table.sum(1, keepdims=True)
        given_up = self.discount * np.count_nonzero(table, axis=1)[:, None]
        table -= self.discount
        np.maximum(table, 0.0, out=table)
        table += given_up * parent
        values: np.ndarray = np.divide(table, total, out=parent, where=total > 0)
        return values

    # ---- draw and score --------------------------------------------------------------------------

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        labels: np.ndarray | None = None,
        bias: float | None = None,
    ) -> Samples:
        """n texts [n, replicates, length], by label where it was fitted to labelled ones (drawn
        from the shares of the classes where none are given).
        """
        y = self._seen(labels)
        if self.classes_ > 1 and y is None:
            y = rng.choice(self.classes_, n, p=self.shares_).astype(np.int64)
        p = self.p_ if bias is None or bias == 1 else tempered(self.p_, bias)
        x = np.empty((n, self.replicates_, self.length_), dtype=token_dtype(self.vocabulary_))
        draw, walk = Inverse(p), self._contexts.walk(self._groups_of(n, y))
        for i in range(self.length_):
            token = draw(walk.row, rng.random(walk.row.shape))
            x[..., i] = token
            walk.advance(token)
        return Samples(x, None if y is None else np.array(y))

    def generate(
        self,
        n: int,
        choose: Choose,
        rng: np.random.Generator,
        prompts: np.ndarray | None = None,
        labels: np.ndarray | None = None,
    ) -> np.ndarray:
        """As in knowledge.LanguageModel."""
        log_p, group = log(self.p_), self._groups_of(n, self._seen(self._wanted(labels)))
        x = np.empty((n, self.replicates_, self.length_), dtype=token_dtype(self.vocabulary_))
        begin = 0 if prompts is None else _begun(x, prompts)
        walk = self._contexts.walk(group)
        for i in range(self.length_):
            if i >= begin:
                token, parents = choose(log_p[walk.row.ravel()], rng)
                if parents is not None:
                    x = x.reshape(-1, self.length_)[parents].reshape(x.shape)
                    walk.go_on_from(parents)
                x[..., i] = token.reshape(group.shape)
            walk.advance(x[..., i])
        return x

    def logits(self, x: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Log-probabilities [b, replicates, length, V]; see knowledge.LanguageModel."""
        group = self._groups_of(len(x), self._wanted(labels))
        values: np.ndarray = log(self.p_)[self._contexts.along(x, group)]
        return values

    def _groups_of(self, n: int, y: np.ndarray | None) -> np.ndarray:
        """The model of each of n texts with labels y [n], [n, replicates]."""
        group = np.tile(np.arange(self.replicates_), (n, 1))
        if y is not None and self.classes_ > 1:
            group += np.asarray(y)[:, None] * self.replicates_
        return group

    def _checked(self, labels: np.ndarray | None) -> np.ndarray | None:
        """The same labels; ValueError where one is no class that it was trained on."""
        if labels is not None and len(labels) and int(labels.max()) >= self.classes_ > 1:
            raise ValueError(
                f"ngram: asked for class {int(labels.max())}, and it was trained on "
                f"{self.classes_} classes, 0 to {self.classes_ - 1}"
            )
        return labels

    def _seen(self, labels: np.ndarray | None) -> np.ndarray | None:
        """The same labels, to draw by; ValueError where a class had no text, which is uniform."""
        if self.classes_ > 1 and (asked := self._checked(labels)) is not None:
            seen = np.flatnonzero(self.shares_)
            for label in np.setdiff1d(asked, seen).tolist():
                raise ValueError(
                    f"ngram: asked to draw class {label}, of which it was trained on no text; its "
                    f"classes are {', '.join(map(str, seen.tolist()))}"
                )
        return labels

    def _wanted(self, labels: np.ndarray | None) -> np.ndarray | None:
        if labels is None and self.classes_ > 1:
            raise ValueError(
                f"ngram: it was trained on {self.classes_} classes, each with a model of its own; "
                "give the labels of the texts"
            )
        return self._checked(labels)

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Log probability of texts x [n, replicates, length], in nats: [n, replicates], -inf where
        it is 0.  Of labelled text the mixture of the classes by their shares.
        """
        each = self.log_density_by_class(x)
        for score, share in zip(each, self.shares_, strict=True):
            score += np.log(share) if share else 0.0
        values: np.ndarray = np.logaddexp.reduce(each, axis=0)
        return values

    def log_density_by_class(self, x: np.ndarray) -> np.ndarray:
        """The same of each class by itself, [classes, n, replicates]: -inf of one without data."""
        values: np.ndarray = np.stack([self._scored(x, k) for k in range(self.classes_)])
        return values

    def _scored(self, x: np.ndarray, k: int) -> np.ndarray:
        """Of class k: [n, replicates]."""
        if self.shares_[k] == 0:
            return np.full(x.shape[:2], -np.inf)
        group = self._groups_of(len(x), None) + k * self.replicates_
        many = self.p_.size < x.size
        p, score = (log(self.p_) if many else self.p_).ravel(), np.empty(x.shape[:2])
        at_once = max(1, MOST_TOKENS // (self.replicates_ * x.shape[2]))
        for start in range(0, len(x), at_once):
            some = slice(start, start + at_once)
            walk, each = self._contexts.walk(group[some]), np.empty(x[some].shape)
            for i in range(x.shape[2]):
                each[..., i] = p[walk.advance(x[some, :, i])]
            score[some] = (each if many else log(each)).sum(-1)
        return score

    def transitions(self) -> np.ndarray:
        """p(w | c) for every context of n - 1 tokens, seen or not: [replicates, (V+1)^(n-1), V].

        ValueError for labelled text, which has no such table, and for one that is too large.
        """
        cells = self.replicates_ * self._stride * self.vocabulary_
        if self.classes_ > 1 or cells > MOST_CELLS:
            reason = "one per class" if self.classes_ > 1 else f"{cells:,} numbers"
            raise ValueError(f"ngram: there is no single table of transitions: {reason}")
        codes = np.arange(self.replicates_ * self._stride).reshape(self.replicates_, -1)
        table: np.ndarray = self.p_[self._contexts.row(codes)]
        return table

    # ---- files -----------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        about = [self.vocabulary_, self.replicates_, self.length_, self.classes_]
        np.savez(
            folder / "ngram.npz",
            p=self.p_,
            codes=self.codes_,
            sizes=self.sizes_,
            shares=self.shares_,
            about=np.array(about),
        )

    def load(self, folder: Path) -> None:
        with np.load(folder / "ngram.npz", allow_pickle=False) as saved:
            self.p_, self.codes_, self.sizes_ = saved["p"], saved["codes"], saved["sizes"]
            self.shares_, about = saved["shares"], saved["about"].tolist()
        self.vocabulary_, self.replicates_, self.length_, self.classes_ = about
        self._contexts = Contexts(self.codes_, self.sizes_, self.vocabulary_, len(self.sizes_))


# ---- counts --------------------------------------------------------------------------------------


def _column(block: Samples) -> np.ndarray:
    """The labels of a block [n, 1, 1]."""
    assert block.y is not None
    return block.y[:, None, None]


def _classes(block: Samples) -> int:
    assert block.y is not None
    return int(block.y.max(initial=0)) + 1


def _by_class(block: Samples, classes: int) -> np.ndarray:
    assert block.y is not None
    counts: np.ndarray = np.bincount(block.y, minlength=classes)
    return counts


def _tallied(codes: np.ndarray, per_group: int) -> Counts:
    """How often each code occurs, those that do."""
    high = int(codes.max(initial=0)) // per_group * per_group + per_group
    if high <= max(DENSE, len(codes)):
        counts = np.bincount(codes, minlength=1)
        found = np.flatnonzero(counts)
        return found, counts[found]
    return np.unique(codes, return_counts=True)


def _merged(parts: Sequence[Counts]) -> Counts:
    """The counts of several blocks together."""
    if len(parts) == 1:
        return parts[0]
    codes, of = np.unique(np.concatenate([c for c, _ in parts]), return_inverse=True)
    counts = np.bincount(of, np.concatenate([n for _, n in parts]))
    return codes, np.rint(counts).astype(np.int64)


def _table(
    rows: np.ndarray, tokens: np.ndarray, counts: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Counts [rows, V] of n-grams (row, token)."""
    flat: np.ndarray = np.bincount(rows * shape[1] + tokens, counts, shape[0] * shape[1])
    return flat.reshape(shape)


# ---- prompts -------------------------------------------------------------------------------------


def _begun(x: np.ndarray, prompts: np.ndarray) -> int:
    """Write prompts [n, replicates, m] into texts x [n, replicates, length]; m."""
    m: int = prompts.shape[-1]
    if prompts.shape[:2] != x.shape[:2] or m > x.shape[2]:
        raise ValueError(
            f"ngram: prompts are {list(x.shape[:2])} x at most {x.shape[2]} tokens here, got "
            f"{list(prompts.shape)}"
        )
    x[..., :m] = prompts
    return m
