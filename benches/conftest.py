"""What all benches share: how a figure is told, and where the figures go."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER), str(FOLDER / "peers")]

RATIOS = FOLDER / "images" / "ratios.json"
"""Where a run leaves its ratios; ratios.json in this folder has those to hold them
against (check.py)."""
TOLD = FOLDER / "images" / "told.json"
"""Where a run leaves all that it told, for README.md (figures.py)."""

Tell = Callable[[str, float, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Sizes by flag: `make bench BENCH='--gib 1024 -k "scan and direct4k"'`."""
    parser.addoption("--gib", type=int, help="GiB of virtual memory of the images")


@pytest.fixture(scope="session")
def gib(pytestconfig: pytest.Config) -> int | None:
    """What --gib says; None: each image's usual size."""
    told: int | None = pytestconfig.getoption("--gib")
    return told


def sized(name: str, gib: int | None) -> str:
    """An image's name in a ratio's."""
    return name if gib is None else f"{name} {gib} GiB"


@pytest.fixture(scope="session")
def told() -> Iterator[dict[str, tuple[float, str]]]:
    """What this session tells, kept together with what earlier ones told."""
    found: dict[str, tuple[float, str]] = {}
    yield found
    RATIOS.parent.mkdir(exist_ok=True)
    ratios = {name: ratio for name, (ratio, _) in found.items()}
    kept = json.loads(RATIOS.read_text()) if RATIOS.exists() else {}
    RATIOS.write_text(json.dumps(kept | ratios, indent=1, sort_keys=True) + "\n")
    kept = json.loads(TOLD.read_text()) if TOLD.exists() else {}
    texts = {name: {"ratio": ratio, "what": what} for name, (ratio, what) in found.items()}
    TOLD.write_text(json.dumps(kept | texts, indent=1) + "\n")


@pytest.fixture
def tell(told: dict[str, tuple[float, str]], capsys: pytest.CaptureFixture[str]) -> Tell:
    """Tells a ratio (higher is better) under a name, with what it is made of."""

    def say(name: str, ratio: float, what: str) -> None:
        told[name] = round(ratio, 4), what
        with capsys.disabled():
            print(f"{name:<34} {ratio:10.2f}  {what}")

    return say
