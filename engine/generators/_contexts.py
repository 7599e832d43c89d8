"""The contexts of an n-gram model that were seen, a row of its tables each, and the row that comes
next.

Which longest seen context a text is in after a token depends on the one it was in before and on the
token, since a context was only seen where its beginning was: a table of rows by row and token walks
through texts without a search.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from engine._tokens import begin_code

MOST_STEPS = 1 << 23  # numbers of a table of rows; above, each row is searched


class Contexts:
    """codes [rows]: (group, tokens), those of no token first, ascending among equally many tokens;
    sizes: how many have 0, 1, ... order - 1 tokens.  Group g is at g * stride.
    """

    def __init__(self, codes: np.ndarray, sizes: np.ndarray, vocabulary: int, order: int) -> None:
        self.codes, self.sizes, self.v, self.order = codes, sizes, vocabulary, order
        self.stride = begin_code(vocabulary, order - 1) + 1
        self._begins = np.cumsum(sizes) - sizes

    def last(self, codes: np.ndarray, m: int) -> np.ndarray:
        """The last m tokens of contexts."""
        rest = codes % self.stride
        values: np.ndarray = codes - rest + rest % (self.v + 1) ** max(m, 0)
        return values

    def row(self, codes: np.ndarray) -> np.ndarray:
        """Of contexts (group, order - 1 tokens) the row of the longest one that was seen."""
        flat = codes.ravel()
        row = flat // self.stride  # no token: a row for each group
        left = np.arange(len(flat))
        for m in range(len(self.sizes) - 1, 0, -1):
            place, found = self._find(m, self.last(flat[left], m))
            row[left[found]] = place[found]
            left = left[~found]
            if not len(left):
                break
        return row.reshape(codes.shape)

    def _level(self, m: int) -> slice:
        """The rows of contexts of m tokens."""
        return slice(int(self._begins[m]), int(self._begins[m] + self.sizes[m]))

    def _find(self, m: int, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of contexts of m tokens, and which of them were seen."""
        level = self.codes[self._level(m)]
        place = np.minimum(np.searchsorted(level, wanted), len(level) - 1)
        return self._begins[m] + place, level[place] == wanted

    @cached_property
    def steps(self) -> np.ndarray | None:
        """The row after each row and token [rows * V]; None: the table would be too large."""
        if len(self.codes) * self.v > MOST_STEPS:
            return None
        table = np.empty((len(self.codes), self.v), dtype=np.int32)
        table[self._level(0)] = np.arange(self.sizes[0])[:, None]
        for m in range(self.order):
            if m:  # without its oldest token it goes on alike,
                shorter, _ = self._find(m - 1, self.last(self.codes[self._level(m)], m - 1))
                table[self._level(m)] = table[shorter]
            if m + 1 < self.order:  # but where a longer context was seen
                longer = self.codes[self._level(m + 1)]
                rest, token = longer % self.stride, longer % (self.v + 1)
                before, _ = self._find(m, longer - rest + rest % self._span(m + 1) // (self.v + 1))
                row, inside = np.arange(len(longer)) + self._begins[m + 1], token < self.v
                table[before[inside], token[inside]] = row[inside]
        return table.ravel()

    def _span(self, m: int) -> int:
        span: int = (self.v + 1) ** m
        return span

    def walk(self, group: np.ndarray) -> Walk:
        """Texts of these groups, before their first token."""
        return Walk(self, group)

    def along(self, x: np.ndarray, group: np.ndarray) -> np.ndarray:
        """The row before each token of texts x [..., length] of groups [...]."""
        rows = np.empty(x.shape, dtype=np.int64)
        walk = self.walk(group)
        for i in range(x.shape[-1]):
            rows[..., i] = walk.row
            walk.advance(x[..., i])
        return rows


class Walk:
    """Where many texts are: row [...], the longest context that was seen."""

    def __init__(self, contexts: Contexts, group: np.ndarray) -> None:
        self._contexts, self._steps = contexts, contexts.steps  # [rows * V]
        self._code = group * contexts.stride + (contexts.stride - 1)
        self.row = contexts.row(self._code)

    def advance(self, token: np.ndarray) -> np.ndarray:
        """Each text has one more token [...]; its place in a table of all rows and tokens."""
        place: np.ndarray = self.row * self._contexts.v + token
        if self._steps is not None:
            self.row = self._steps[place]
            return place
        stride, base = self._contexts.stride, self._contexts.v + 1
        rest = self._code % stride
        self._code = self._code - rest + (rest * base + token) % stride
        self.row = self._contexts.row(self._code)
        return place

    def go_on_from(self, parents: np.ndarray) -> None:
        """Text i of all in a row is where text parents[i] was."""
        self.row = self.row.ravel()[parents].reshape(self.row.shape)
        self._code = self._code.ravel()[parents].reshape(self._code.shape)
