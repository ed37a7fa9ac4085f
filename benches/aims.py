"""What is to be reached, as ratios where higher is better."""

from __future__ import annotations

READING = "against plain reading of the same tables"
AIMS: dict[str, tuple[str, float]] = {
    "scan uniform avx512 x1": (f"scan and count, uniform, {READING}", 0.8),
    "scan frag avx512 x1": ("the same, fragmented", 0.5),
    "scan sparse avx512 x1": ("the same, sparse", 0.5),
    "walk direct4k R": (f"walk, uniform 4K pages, 64 GiB, {READING}", 0.9),
    "walk direct4k R x2": ("the same, two threads each", 0.9),
    "walk direct4k 1 TiB R": ("walk, uniform, 1 TiB", 0.9),
    "walk direct4k 1 TiB R x2": ("the same, two threads each", 0.9),
    "walk frag R": ("walk, fragmented, tables scattered, 1.05 M rows", 0.65),
    "walk sparse R": ("walk, sparse, 1.83 M rows", 0.65),
    "walk frag two threads": ("fragmented, two threads against one, where reading scales so", 1.6),
    "walk sparse two threads": ("sparse, two threads against one, where reading scales so", 1.6),
    "walk direct4k kernel-shaped": ("uniform, 64 GiB, against kernel-shaped", 15),
    "walk direct4k 1 TiB kernel-shaped": ("uniform, 1 TiB, against kernel-shaped", 15),
    "walk frag kernel-shaped": ("fragmented, against kernel-shaped", 7),
    "walk sparse kernel-shaped": ("sparse, against kernel-shaped", 8),
    "walk direct4k NumPy": ("uniform, 64 GiB, against NumPy", 25),
    "walk direct4k 1 TiB NumPy": ("uniform, 1 TiB, against NumPy", 25),
    "walk frag NumPy": ("fragmented, against NumPy", 12),
    "walk sparse NumPy": ("sparse, against NumPy", 18),
    "walk fresh": ("first touch of a fresh mapping, opening included", 0.9),
    "walk pages": ("one row a page, 16.8 M rows, huge pages", 0.6),
    "walk pages small": ("one row a page, 4K pages", 0.6),
    "walk kasan": ("16 TiB of KASAN shadow", 1 / 1.5),
    "walk kasan kernel-shaped": ("16 TiB of KASAN shadow, against kernel-shaped", 2000),
    "walk fleet": ("500 roots sharing the kernel half", 1 / 1.2),
    "memory direct4k": ("memory beyond the mapped image, uniform", 1),
    "memory frag": ("memory, fragmented", 1),
    "memory sparse": ("memory, sparse", 1),
    "cold bytes": ("cold image, tables scattered: bytes", 1 / 1.15),
    "cold time": ("cold image, tables scattered: time", 1 / 1.2),
    "format 1M lines": ("a million lines of ptdump text", 1),
    "format command": ("`fastwalk ptdump` of a recorded kernel", 1),
    "open 4 GiB raw": ("opening 4 GiB beyond mapping, raw", 1.0),
    "open 4 GiB elf": ("the same, ELF", 1.0),
    "open 4 GiB kdump": ("the same, kdump-compressed", 1.0),
    "kdump once": ("walk of a kdump-compressed image: decompressions", 1.0),
    "roots x1": ("look for roots at every place of a cached image, against reading it", 0.5),
    "roots x2": ("the same, two threads each", 0.5),
}
"""By the names that the benches tell: what it is, and the ratio to reach."""

PEERS: dict[str, dict[str, float]] = {
    "direct4k": {"kernel": 15, "numpy": 25, "addrxlat": 200, "volatility3": 20_000},
    "frag": {"kernel": 7, "numpy": 12, "addrxlat": 70, "volatility3": 8_000},
    "sparse": {"kernel": 8, "numpy": 18, "addrxlat": 400, "volatility3": 10_000},
    "translate random": {"addrxlat": 25, "drgn": 50},
}
"""How many times as fast, by image and peer."""
