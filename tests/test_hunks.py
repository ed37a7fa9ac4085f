"""Where two texts differ: against what the hunks say themselves, and how long it takes."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastwalk.cli._hunks import Hunk, hunks

LINES = st.lists(st.sampled_from("abcdefgh"), max_size=30)


@given(LINES, LINES)
def test_what_is_between_hunks_is_equal(a: list[str], b: list[str]) -> None:
    at = done = 0
    for first, behind, other, other_behind in hunks(a, b):
        assert at <= first <= behind
        assert done <= other <= other_behind
        assert a[at:first] == b[done:other]
        assert a[first:behind] != b[other:other_behind]
        at, done = behind, other_behind
    assert a[at:] == b[done:]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("", "", []),
        ("abc", "abc", []),
        ("abc", "axc", [Hunk(1, 2, 1, 2)]),
        ("abc", "ac", [Hunk(1, 2, 1, 1)]),
        ("ac", "abc", [Hunk(1, 1, 1, 2)]),
        ("abcde", "xbcdy", [Hunk(0, 1, 0, 1), Hunk(4, 5, 4, 5)]),
        ("aab", "ab", [Hunk(1, 2, 1, 1)]),
    ],
)
def test_hunks(a: str, b: str, expected: list[Hunk]) -> None:
    assert list(hunks(a, b)) == expected


def test_many_lines_that_differ() -> None:
    a = [f"{n:x} {n % 2}" for n in range(200_000)]
    b = [f"{n:x} {int(n % 3 > 0)}" for n in range(200_000)]
    start = time.process_time()
    assert sum(1 for _ in hunks(a, b)) == 33_333
    assert time.process_time() - start < 10
