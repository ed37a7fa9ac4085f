"""What is to be reached, as ratios where higher is better."""

from __future__ import annotations

AIMS: dict[str, float] = {
    # Reading and counting, against reading.
    "scan uniform avx512 x1": 0.8,
    "scan frag avx512 x1": 0.5,
    "scan sparse avx512 x1": 0.5,
    # Whole walks, against reading the same tables and nothing else.
    "walk direct4k R": 0.9,
    "walk direct4k R x2": 0.9,
    "walk direct4k 1 TiB R": 0.9,
    "walk direct4k 1 TiB R x2": 0.9,
    "walk frag R": 0.65,
    "walk sparse R": 0.65,
    "walk frag two threads": 1.6,
    "walk sparse two threads": 1.6,
    "walk direct4k kernel-shaped": 15,
    "walk direct4k 1 TiB kernel-shaped": 15,
    "walk frag kernel-shaped": 7,
    "walk sparse kernel-shaped": 8,
    "walk direct4k NumPy": 25,
    "walk direct4k 1 TiB NumPy": 25,
    "walk frag NumPy": 12,
    "walk sparse NumPy": 18,
    "walk fresh": 0.9,
    "walk pages": 0.6,
    "walk pages small": 0.6,
    "walk kasan": 1 / 1.5,
    "walk kasan kernel-shaped": 2000,
    "walk fleet": 1 / 1.2,
    "memory direct4k": 1,
    "memory frag": 1,
    "memory sparse": 1,
    "cold bytes": 1 / 1.15,
    "cold time": 1 / 1.2,
    "format 1M lines": 1,
    "format command": 1,
}
"""By the names that the benches tell."""

PEERS: dict[str, dict[str, float]] = {
    "direct4k": {"kernel": 15, "numpy": 25, "addrxlat": 200, "volatility3": 20_000},
    "frag": {"kernel": 7, "numpy": 12, "addrxlat": 70, "volatility3": 8_000},
    "sparse": {"kernel": 8, "numpy": 18, "addrxlat": 400, "volatility3": 10_000},
    "translate random": {"addrxlat": 25, "drgn": 50},
}
"""How many times as fast, by image and peer."""
