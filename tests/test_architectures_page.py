"""docs/architectures.md says what the descriptions say."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "docs"))

import make_architectures


def test_the_page_is_up_to_date() -> None:
    assert make_architectures.PAGE.read_text() == make_architectures.text(), (
        "run: python docs/make_architectures.py"
    )
