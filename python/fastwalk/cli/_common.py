"""What the commands share: arguments, and how an image and a space come of them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import fastwalk
from fastwalk._fastwalk import isas
from fastwalk.errors import FastwalkError

if TYPE_CHECKING:
    from fastwalk import AddressSpace, Image
    from fastwalk.mappings import Mappings
    from fastwalk.spaces import Spaces


MOST_THREADS = 1024
"""As many as the core takes."""


class UsageError(FastwalkError):
    """Arguments that do not go together."""


def number(text: str) -> int:
    """A number as people write it: 0x1a16000, 4096, -4096."""
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number; write 0x1a16000 or 4096"
        ) from None


def address(text: str) -> int:
    """A 64-bit address."""
    value = number(text)
    if not 0 <= value < 1 << 64:
        raise argparse.ArgumentTypeError(f"{text} is no 64-bit address")
    return value


def count(text: str) -> int:
    """A number that is at least 0."""
    value = number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is less than 0")
    return value


def threads(text: str) -> int:
    """A number of threads that there can be."""
    value = number(text)
    if not 1 <= value <= MOST_THREADS:
        raise argparse.ArgumentTypeError(f"{text} threads are not 1 to {MOST_THREADS}")
    return value


def isa(text: str) -> str:
    """An instruction set that this machine has."""
    known = isas()
    if text not in known:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not here; this machine has {', '.join(known)}"
        )
    return text


def image_arguments(parser: argparse.ArgumentParser, name: str = "IMAGE") -> None:
    """IMAGE, and how to open it."""
    parser.add_argument("image", metavar=name, help="the image, of any format")
    group = parser.add_argument_group("the image")
    group.add_argument(
        "--image-format", metavar="NAME", help="its format, where its content misleads"
    )
    group.add_argument(
        "--base",
        type=address,
        metavar="PA",
        help="physical address of a raw image's first byte (default: as its kernel tells, or 0)",
    )
    group.add_argument(
        "--part",
        action="append",
        default=[],
        metavar="FILE",
        dest="parts",
        help="another file of an image in several; can be given again",
    )
    group.add_argument(
        "--decompress-limit",
        type=count,
        metavar="BYTES",
        help="most bytes that a compressed image may come to (default 64 GiB; 0: refuse it)",
    )
    group.add_argument(
        "--decompress-folder",
        metavar="DIR",
        help="where to decompress to (default: TMPDIR, or /tmp)",
    )
    group.add_argument(
        "--layout", metavar="FILE", help="roots, views and markers; overrides the image"
    )


def space_arguments(parser: argparse.ArgumentParser) -> None:
    """Which address space."""
    group = parser.add_argument_group("the address space")
    group.add_argument("--view", metavar="NAME", help="a view of the layout (default: its own)")
    group.add_argument("--root", metavar="NAME|PA", help="a root: its name, or its address")
    group.add_argument("--mode", metavar="NAME", help="a paging mode, such as x86_64-4level")
    group.add_argument(
        "--pid", type=count, metavar="N", help="the process of that number, found in the image"
    )
    group.add_argument(
        "--comm", metavar="NAME", help="the process of that name, found in the image"
    )
    group.add_argument(
        "--half", metavar="NAME", help="the half of the addresses that a root shows (high, low)"
    )


def work_arguments(parser: argparse.ArgumentParser) -> None:
    """How to work."""
    group = parser.add_argument_group("the work")
    group.add_argument("--threads", type=threads, metavar="N", help="threads (default: all)")
    group.add_argument("--isa", type=isa, metavar="NAME", help="scalar, avx2, avx512 or neon")
    group.add_argument("--budget", type=count, metavar="ROWS", help="most rows to allocate")


def open_image(options: argparse.Namespace) -> Image:
    """Opens the image; what is wrong with it goes to standard error."""
    opened = fastwalk.open(
        options.image,
        format=options.image_format,
        base=options.base,
        layout=options.layout,
        parts=options.parts,
        decompress_limit=options.decompress_limit,
        decompress_folder=options.decompress_folder,
        progress=_decompressing if sys.stderr.isatty() else None,
    )
    for warning in opened.warnings:
        warn(warning)
    return opened


def _decompressing(read: int, total: int, written: int) -> None:
    done = 100 * read // total if total else 100
    end = "\n" if read == total else ""
    print(f"\rfastwalk: decompressing, {done}%, {written >> 20} MiB", end=end, file=sys.stderr)


def choose_space(options: argparse.Namespace) -> AddressSpace:
    """The address space that options name; the default view's where they name none."""
    image = open_image(options)
    root: str | int | None = options.root
    if isinstance(root, str) and root[:1].isdigit():
        try:
            root = address(root)
        except argparse.ArgumentTypeError as error:
            raise UsageError(f"--root: {error}") from None
    if sum(given is not None for given in (options.view, root, options.pid, options.comm)) > 1:
        raise UsageError("give one of --view, --root, --pid and --comm: each says the root")
    if options.pid is not None or options.comm is not None:
        root = _process(image, options.pid, options.comm)
    return image.space(options.mode, root, half=options.half, view=options.view)


def _process(image: Image, pid: int | None, comm: str | None) -> str:
    """The name of a process's root."""
    known = [space for space in image.spaces() if space.pid is not None]
    found = [space for space in known if comm in (None, space.comm) and pid in (None, space.pid)]
    found = [space for space in found if space.root.role == "process"]
    asked = f"--pid {pid}" if comm is None else f"--comm {comm}"
    if not found:
        some = ", ".join(f"{space.pid} {space.comm}" for space in known[:8]) or "none"
        raise UsageError(
            f"{asked}: no such process with memory of its own in {image.name}; it has: {some}; "
            "see fastwalk spaces"
        )
    if len(found) > 1:
        several = ", ".join(str(space.pid) for space in found)
        raise UsageError(f"{asked}: several processes have that name, give --pid: {several}")
    return found[0].name


def unlabelled(va: int) -> str:
    """Nothing to print behind an address."""
    return ""


def labels(space: AddressSpace) -> Callable[[int], str]:
    """What to print behind an address: the nearest symbol, where the image has symbols
    and the address is the kernel's."""
    symbols = space.image.symbols if space.layout is not None else None
    if symbols is None:
        return unlabelled

    def label(va: int) -> str:
        found = symbols.label(va)
        return f"  {found}" if found else ""

    return label


def all_spaces(options: argparse.Namespace) -> Spaces:
    """Every address space of the image."""
    chosen = (options.view, options.root, options.mode, options.half, options.pid, options.comm)
    if any(given is not None for given in chosen):
        raise UsageError("--all-spaces is all of them; leave out what chooses one")
    return open_image(options).spaces()


def walk_physical(options: argparse.Namespace) -> Mappings:
    """The true mappings of one space, or with --all-spaces of all; warnings go to standard
    error."""
    work = (options.threads, options.isa, options.budget, True)
    if options.all_spaces:
        maps = all_spaces(options).walk_physical(*work)
    else:
        maps = choose_space(options).walk_physical(*work)
    for warning in maps.warnings:
        warn(warning)
    return maps


def warn(text: str) -> None:
    """One line on standard error."""
    print(f"fastwalk: warning: {text}", file=sys.stderr)
