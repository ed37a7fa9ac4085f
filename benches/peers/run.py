"""fastwalk and what one would use instead, on the same images: one table.

    make bench-peers                              # walks and translations
    python benches/peers/run.py --names frag      # some of it
    python benches/peers/run.py --gib 1024 --names direct4k --peers numpy kernel addrxlat

Every peer runs in an environment of its own (`make peers`), as job.py says; one that is not
there is named in the table. Its answer is compared with what the image was made to give
before its time counts. The slow ones are run on an image with 16 MiB of tables, and their
time is multiplied; the table says so. Seconds are wall-clock seconds of one thread, medians;
`x` is how many times as fast fastwalk is, with one thread.

Results are kept in images/peers.json; `--write` puts the tables into README.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import images  # noqa: E402
import numpy as np  # noqa: E402
import numpy_peer  # noqa: E402
import readme  # noqa: E402
from aims import PEERS as AIMS  # noqa: E402
from measure import Times, Walked, check, in_turn, warm  # noqa: E402

PLACE = HERE.parents[1] / "build" / "peers"
"""Where `make peers` puts them."""
RESULTS = images.FOLDER / "peers.json"
SMALL = 8
"""GiB of virtual memory with 16 MiB of tables."""
NAMES = {
    "direct4k": "uniform",
    "frag": "fragmented",
    "sparse": "sparse",
}
TRANSLATIONS = 10_000_000
FEW = 100_000
"""Translations that a slow peer is asked for."""
CUT = 131_071
"""Ranges after which MemProcFS gives up."""

Found = dict[str, Any]


class WrongAnswer(Exception):
    """A peer that found something else than what is there."""


@dataclass(frozen=True)
class Peer:
    """How one is run."""

    name: str
    way: str
    slow: bool = False
    """Run on less, and multiplied."""
    dump: bool = False
    """Wants an image that has the mapped memory too, not only the tables."""

    def command(self, what: str, made: images.Made, addresses: Path | None) -> list[str]:
        """The command line, whose answer is as job.py says."""
        if self.name == "addrxlat":
            last = [str(addresses)] if addresses else [str(made.start), str(made.end), "3"]
            where = [made.path, str(images.SKIP), str(made.roots[0])]
            return [str(PLACE / "addrxlat"), what, *where, *last]
        described = Path(made.path).with_suffix(".json")
        script = HERE / f"{self.name}_peer.py"
        python = PLACE / self.name / "bin" / "python"
        return [str(python), str(script), what, str(described)] + [str(addresses)] * bool(addresses)

    def missing(self) -> bool:
        """Whether `make peers` could not install it, or was not run."""
        there = PLACE / self.name
        return not (there if self.name == "addrxlat" else there / "bin" / "python").exists()

    def run(self, what: str, made: images.Made, addresses: Path | None = None) -> Found:
        """Its answer, not yet compared."""
        command = self.command(what, made, addresses)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise WrongAnswer(f"{self.name} failed: {last}")
        found: Found = json.loads(done.stdout.strip().splitlines()[-1])
        return found


PEERS = [
    Peer("addrxlat", "libaddrxlat from C, `addrxlat_walk()` a page"),
    Peer("memprocfs", "`maps.pte()` of the process it makes of a root", dump=True),
    Peer("drgn", "the function behind `follow_phys()`, a page at a time", slow=True, dump=True),
    Peer("volatility3", "`Intel32e.mapping()` over a layer that reads with pread", slow=True),
]
INSIDE = {
    "numpy": "NumPy, level by level, 64 tables at a time",
    "kernel": "the kernel's own algorithm in Rust: depth first, three indirect calls an entry",
}
"""Peers that run in this process, in turn with fastwalk."""


@contextmanager
def given(peer: Peer, made: images.Made) -> Iterator[images.Made]:
    """The image as a peer wants it, its tables in the page cache. One with the mapped
    memory is a copy that has that as a hole in the file, taken away again: drgn and
    MemProcFS believe no entry that leads to where there is no memory."""
    path = Path(made.path)
    if not peer.dump:
        warm(made.path, made.addresses())
        yield made
        return
    copy = path.with_name(f"{path.stem}-whole.elf")
    described = copy.with_suffix(".json")
    try:
        subprocess.run(["cp", "--sparse=always", str(path), str(copy)], check=True)
        tables = path.stat().st_size - images.SKIP
        mapped = made.end - made.start
        with copy.open("r+b") as out:
            out.truncate(images.SKIP + tables + mapped)
            segments = [(0, images.SKIP, tables), (images.PHYSICAL, images.SKIP + tables, mapped)]
            out.write(images.elf_header(segments))
        text = json.loads(path.with_suffix(".json").read_text()) | {"path": str(copy)}
        described.write_text(json.dumps(text))
        warm(str(copy), made.addresses())
        yield images.Made(**text)
    finally:
        copy.unlink(missing_ok=True)
        described.unlink(missing_ok=True)


def compare(peer: str, found: Found, made: images.Made) -> str:
    """What was wrong with an answer that is not the whole one, if that is known of the peer;
    raises WrongAnswer for any other difference."""
    ranges = found["ranges"]
    if peer == "memprocfs":
        if ranges["rows"] == made.answer["rows"] and found["pages"] == made.answer["leaves"]:
            return ""
        # The last range is not whole when it gives up.
        pages = np.cumsum(np.asarray(Walked(made).walk().size)[:CUT]) >> np.uint64(12)
        if ranges["rows"] == CUT and pages[-2] < found["pages"] <= pages[-1]:
            part = found["pages"] / made.answer["leaves"]
            return f"cut at {CUT:,} ranges, {part:.0%} of the pages"
    else:
        expected = {name: made.contiguous[name] for name in ("rows", "start", "size", "pa")}
        if ranges == expected and found["pages"] == made.answer["leaves"]:
            return ""
    raise WrongAnswer(f"{peer} found {found}, expected {made.contiguous} or {made.answer}")


def inside(walked: Walked, names: list[str]) -> Times:
    """fastwalk and the peers of this process, in turn, answers compared."""
    made = walked.made
    check(walked.walk(), made)
    memory = numpy_peer.memory(made.path, images.SKIP)

    def numpy() -> None:
        rows = numpy_peer.walk(memory, made.roots[0], made.start, made.end)
        columns = {"start": rows.start, "size": rows.size, "pa": rows.pa, "attributes": rows.flags}
        found = {name: int(column.sum(dtype=np.uint64)) for name, column in columns.items()}
        found |= {"rows": len(rows.start), "leaves": numpy_peer.leaves(rows)}
        if found != made.answer:
            raise WrongAnswer(f"numpy found {found}, expected {made.answer}")

    contenders: dict[str, Callable[[], object]] = {
        "fastwalk": lambda: walked.walk() and None,
        "two": lambda: walked.walk(threads=2) and None,
        "numpy": numpy,
        "kernel": walked.kernel,
        "read": walked.read,
    }
    chosen = {k: v for k, v in contenders.items() if k in ("fastwalk", "two", "read", *names)}
    return in_turn(chosen, rounds=7)


def walks(name: str, gib: int, names: list[str]) -> Found:
    """All peers on one image."""
    made = images.get(name, gib)
    times = inside(Walked(made), names)
    results: Found = {
        who: {"seconds": times.median(who), "against": times.median("fastwalk")}
        for who in ("fastwalk", "two", "read", *INSIDE)
        if who in times
    }
    for peer in PEERS:
        if peer.name not in names:
            continue
        results[peer.name] = one(peer, made, name) if not peer.missing() else {"missing": True}
        results[peer.name]["against"] = times.median("fastwalk")
        print(f"{name} {gib} GiB: {peer.name} {results[peer.name]}", flush=True)
    return results


def one(peer: Peer, made: images.Made, name: str) -> Found:
    """One peer on one image."""
    told = images.get(name, SMALL) if peer.slow else made
    factor = made.table_bytes / told.table_bytes
    with given(peer, told) as image:
        found = peer.run("walk", image)
    note = compare(peer.name, found, told)
    seconds = statistics.median(found["seconds"]) * factor
    return {"seconds": seconds, "factor": factor, "note": note, "version": found["version"]}


def translations(gib: int, names: list[str]) -> dict[str, Found]:
    """Ten million addresses, in random order and sorted."""
    made = images.get("direct4k", gib)
    walked = Walked(made)
    random = np.random.default_rng(3)
    vas = random.integers(made.start, made.end, TRANSLATIONS, dtype=np.uint64)
    results: dict[str, Found] = {}
    for order in ("random", "sorted"):
        if order == "sorted":
            vas.sort()
        found = walked.space.translate(vas, threads=1)
        if found.mask.any() or (found.data != vas - np.uint64(made.start - images.PHYSICAL)).any():
            raise WrongAnswer("fastwalk translates wrongly")
        times = in_turn({"fastwalk": lambda: walked.space.translate(vas, threads=1)}, rounds=9)
        each: Found = {"fastwalk": {"seconds": times.median("fastwalk")}}
        for peer in PEERS:
            if peer.name in names and peer.name in ("addrxlat", "drgn"):
                each[peer.name] = (
                    translated(peer, made, vas) if not peer.missing() else {"missing": True}
                )
                each[peer.name]["against"] = times.median("fastwalk")
                print(f"translate {order}: {peer.name} {each[peer.name]}", flush=True)
        results[order] = each
    return results


def translated(peer: Peer, made: images.Made, vas: numpy_peer.Words) -> Found:
    """One peer's translations: for a slow one, of some addresses out of each stretch."""
    asked = vas[:: len(vas) // FEW] if peer.slow else vas
    with given(peer, made) as image, tempfile.NamedTemporaryFile() as addresses:
        asked.tofile(addresses.name)
        found = peer.run("translate", image, Path(addresses.name))
    expected = asked - np.uint64(made.start - images.PHYSICAL)
    if (found["count"], found["sum"]) != (len(asked), int(expected.sum(dtype=np.uint64))):
        raise WrongAnswer(f"{peer.name} translates wrongly")
    factor = len(vas) / len(asked)
    seconds = statistics.median(found["seconds"]) * factor
    return {"seconds": seconds, "factor": factor, "version": found["version"]}


# ---- Tables ---------------------------------------------------------------------------


def seconds_of(seconds: float) -> str:
    """Three digits."""
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:,.3g} s".replace(".0 s", " s")


def cell(result: Found | None, aim: float | None = None) -> str:
    """Seconds, how many times as fast fastwalk is, and what else there is to say."""
    if result is None:
        return "not run"
    if result.get("missing"):
        return "not there (`make peers`)"
    seconds = result["seconds"]
    factor = seconds / result["against"]
    many = f"{factor:,.0f}" if factor >= 20 else f"{factor:.1f}" if factor >= 2 else f"{factor:.2f}"
    times = f", x {result['factor']:.0f}" if result.get("factor", 1) > 1.5 else ""
    note = f" ({result['note']})" if result.get("note") else ""
    wanted = "" if aim is None else f" (to reach: {aim:,.0f})"
    return f"{seconds_of(seconds)}{times}; **{many} x**{wanted}{note}"


def table(results: dict[str, Found]) -> str:
    """What was measured, a row a peer."""
    walked = [key for key in results if not key.startswith("translate")]
    lines = [
        "| | " + " | ".join(title(key) for key in walked) + " |",
        "|---|" + "---|" * len(walked),
    ]
    for who in ("fastwalk", "two"):
        label = "fastwalk" if who == "fastwalk" else "fastwalk, two threads"
        cells = (seconds_of(results[key][who]["seconds"]) for key in walked)
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    lines.append(
        "| plain vectorised reading of the same tables, and nothing else | "
        + " | ".join(cell(results[key].get("read")) for key in walked)
        + " |"
    )
    for who, way in [*INSIDE.items(), *((peer.name, peer.way) for peer in PEERS)]:
        versions = {results[key].get(who, {}).get("version", "") for key in walked} - {""}
        label = " ".join([who, *versions])
        cells = (cell(results[key].get(who), aim_of(key, who)) for key in walked)
        lines.append(f"| {label}: {way} | " + " | ".join(cells) + " |")
    translated = [key for key in results if key.startswith("translate")]
    if translated:
        lines += ["", "| 10 M translations | random | sorted |", "|---|---|---|"]
        cells = (seconds_of(results[key]["fastwalk"]["seconds"]) for key in translated)
        lines.append("| fastwalk | " + " | ".join(cells) + " |")
        for who in ("addrxlat", "drgn"):
            cells = (cell(results[key].get(who), aim_of(key, who)) for key in translated)
            lines.append(f"| {who} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def aim_of(key: str, peer: str) -> float | None:
    """How many times as fast fastwalk is to be; the aims are for 64 GiB and more."""
    name, size = key.split()
    if name == "translate":
        return AIMS.get(key, {}).get(peer)
    return AIMS[name].get(peer) if int(size) >= 64 else None


def title(key: str) -> str:
    """Of an image's results."""
    name, gib = key.split()
    size = f"{int(gib) // 1024} TiB" if int(gib) >= 1024 else f"{gib} GiB"
    return f"{NAMES[name]}, {size}"


def main() -> None:
    """Runs what is asked for, and prints the table of all results so far."""
    every = [*INSIDE, *(peer.name for peer in PEERS)]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--names", nargs="*", default=[*NAMES, "translate"])
    parser.add_argument("--peers", nargs="*", default=every, choices=every)
    parser.add_argument("--gib", type=int, default=64, help="GiB of virtual memory")
    parser.add_argument("--write", action="store_true", help="put the tables into README.md")
    options = parser.parse_args()
    kept: dict[str, Found] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in options.names:
        if name == "translate":
            for order, each in translations(options.gib, options.peers).items():
                kept[f"translate {order}"] = each
        else:
            key = f"{name} {options.gib}"
            kept[key] = kept.get(key, {}) | walks(name, options.gib, options.peers)
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    ordered = sorted(kept.items(), key=lambda item: item[0].startswith("translate"))
    text = table(dict(ordered))
    print(text)
    if options.write:
        readme.put("peers", text)
        readme.put("machine", readme.machine())


if __name__ == "__main__":
    main()
