"""Filling a quota by hand: a generator that counts, and a judge that keeps even numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.parts import Finding
from engine.samples import Samples
from engine.samplings._quota import Ledger, Quota, Verdict

RNG = np.random.default_rng(0)


class Counter:
    """Draws 0, 1, 2, ...; remembers the labels it was asked for."""

    def __init__(self) -> None:
        self.drawn, self.asked = 0, list[list[int] | None]()

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        labels: np.ndarray | None = None,
        bias: float | None = None,
    ) -> Samples:
        self.asked.append(None if labels is None else labels.tolist())
        numbers = np.arange(self.drawn, self.drawn + n, dtype=float)[:, None]
        self.drawn += n
        return Samples(numbers, labels)


def even(candidates: Samples, rng: np.random.Generator) -> Verdict:
    number = candidates.x[:, 0]
    return number % 2 == 0, {"number": number}


def filled(generator: Any, labels: list[int] | None, n: int, expected: float, batch: int) -> Any:
    wanted = None if labels is None else np.array(labels)
    return Quota(n, wanted, expected, attempts=10, batch=batch).fill(generator, even, RNG)


def test_a_quota_without_classes_is_filled_batch_by_batch() -> None:
    """5 of the 10 first numbers are even: batches of 4, of 4, and of the 2 that one more needs."""
    generator = Counter()
    draw = filled(generator, None, n=5, expected=0.5, batch=4)
    assert generator.asked == [None] * 3 and generator.drawn == 10
    assert draw.samples.x[:, 0].tolist() == [0, 2, 4, 6, 8] and draw.samples.y is None
    assert draw.report == {"acceptance": 0.5, "number": 4.5, "number/kept": 4.0}


def test_a_quota_of_classes_asks_for_the_classes_that_are_missing() -> None:
    """Places of class 0, 1, 1; the numbers 0 and 2 pass, so that a place of class 1 is left."""
    generator = Counter()
    draw = filled(generator, [1, 0, 1], n=3, expected=1.0, batch=100)
    assert generator.asked == [[0, 1, 1], [1, 1]], "one missing, of two thirds that pass"
    assert draw.samples.y.tolist() == [1, 0, 1]
    assert draw.samples.x[:, 0].tolist() == [2, 0, 4]
    kept = {"number": 2.0, "number/kept": 2.0}
    assert draw.report == {"acceptance": 3 / 5, **kept}


def test_replicates_count_as_candidates_of_their_own() -> None:
    """Two replicates of one number: in the first all pass, in the second the even ones."""

    def uneven(candidates: Samples, rng: np.random.Generator) -> Verdict:
        number = candidates.x[:, :, 0]
        return (number % 2 == 0) | np.array([True, False]), {"number": number}

    class Twice(Counter):
        def sample(self, *given: Any, **named: Any) -> Samples:
            one = super().sample(*given, **named)
            return Samples(np.repeat(one.x[:, None, :], 2, axis=1), one.y)

    draw = Quota(2, None, 1.0, attempts=10, batch=2).fill(Twice(), uneven, RNG)
    assert draw.samples.x[:, :, 0].tolist() == [[0, 0], [1, 2]]
    assert draw.report["acceptance"] == 6 / 8, "2 + 1 of the first pair, 2 + 1 of the second"


def test_a_quota_counts_as_unfilled_after_ten_times_the_attempts_in_a_row() -> None:
    ledger = Ledger(attempts=2)
    ledger.note(20, 10)  # half: as many as there must be, and the count begins anew
    ledger.note(19, 0)
    assert ledger.share == 0.5, "never fewer than 1 in `attempts` are expected"
    with pytest.raises(Finding, match=r"of the last 20 samples .* kept 0, fewer than 1 in 2") as it:
        ledger.note(1, 0)
    assert it.value.status == "quota_unfilled" and it.value.reason.endswith("(in all 10 of 40)")


def test_what_passed_lately_says_how_many_candidates_the_next_places_cost() -> None:
    ledger = Ledger(attempts=10)
    assert ledger.share == 1.0
    ledger.note(30, 15)
    ledger.note(10, 5)
    assert ledger.share == 0.5
    ledger.note(60, 20)
    assert ledger.share == 0.4, "40 of 100"
    ledger.note(10, 2)
    assert ledger.share == 0.2, "after 10 x attempts the count begins anew"
