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
def ratios() -> Iterator[dict[str, float]]:
    """The ratios of this session, kept together with those of earlier ones."""
    found: dict[str, float] = {}
    yield found
    RATIOS.parent.mkdir(exist_ok=True)
    kept = json.loads(RATIOS.read_text()) if RATIOS.exists() else {}
    RATIOS.write_text(json.dumps(kept | found, indent=1, sort_keys=True) + "\n")


@pytest.fixture
def tell(ratios: dict[str, float], capsys: pytest.CaptureFixture[str]) -> Tell:
    """Tells a ratio (higher is better) under a name, with what it is made of."""

    def say(name: str, ratio: float, what: str) -> None:
        ratios[name] = round(ratio, 4)
        with capsys.disabled():
            print(f"{name:<34} {ratio:10.2f}  {what}")

    return say
