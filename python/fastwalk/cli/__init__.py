"""The command: ``fastwalk info | ptdump | walk | ...``, a file a command.

Exit status 0 fine, 1 findings, 2 usage or unreadable input; errors are one line on
standard error. A command is a module with ``arguments(parser)`` and ``run(options)``,
which gives the exit status, and a row of :data:`COMMANDS`; only the one that was asked
for is imported, because a command line has to answer at once.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from importlib import import_module
from typing import NoReturn

from ..errors import FastwalkError, RowBudgetError

COMMANDS = {
    "info": "what an image is, and what was found in it",
    "ptdump": "the kernel's own text of its page tables, byte for byte",
    "spaces": "every address space in it: kernel, processes, other roots",
    "walk": "what is mapped where, with effective permissions",
    "translate": "where addresses lead, table by table",
    "audit": "what should not be mapped like that",
    "stats": "leaf sizes, cost of the tables, missed huge pages, reach of the TLB",
    "aliases": "every address that leads to physical memory",
    "diff": "what changed between two images",
    "bulk": "many images at once, a row each",
    "report": "all of it in one HTML file, to look at and to pass on",
}

DESCRIPTION = (
    "What is mapped where, with which permissions, according to the page tables in a memory "
    "image: crash dump, VM snapshot, RAM capture, or the tables alone."
)


class Parser(argparse.ArgumentParser):
    """Usage errors are one line, too."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"fastwalk: {message}; see {self.prog} --help\n")


def main(arguments: list[str] | None = None) -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Runs one command; returns its exit status."""
    try:
        _standard_output()
        if not arguments or arguments[0] not in COMMANDS:
            # What follows the name of no command does not matter.
            return _overview(arguments[:1])
        return _command(arguments[0], arguments[1:])
    except FastwalkError as error:
        if sys.stdout is not None:
            sys.stdout.flush()
        print(f"fastwalk: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("fastwalk: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has seen enough.
        _forget_output()
        return 0
    except OSError as error:
        # Of writing: what reads has errors of its own.
        _forget_output()
        what = f"{error.filename or 'standard output'}: {error.strerror or error}"
        print(f"fastwalk: {what}; write to somewhere else", file=sys.stderr)
        return 2


def _standard_output() -> None:
    """Names of files need not fit its encoding."""
    if sys.stdout is None:
        raise FastwalkError("standard output is closed; give one, or /dev/null")
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _forget_output() -> None:
    """What is left of it cannot be written; Python would complain at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _command(name: str, arguments: list[str]) -> int:
    module = import_module(f"{__name__}.{name.replace('-', '_')}")
    parser = Parser(
        prog=f"fastwalk {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.arguments(parser)
    options = parser.parse_intermixed_args(arguments)
    try:
        status = module.run(options)
    except RowBudgetError as error:
        raise FastwalkError(_over_budget(error, options)) from None
    sys.stdout.flush()
    return int(status)


def _over_budget(error: RowBudgetError, options: argparse.Namespace) -> str:
    """With the arguments that this command has, and that would help."""
    from ..space import ROW_BYTES
    from ..words import rough_size

    known = vars(options)
    ways = []
    if known.get("all_spaces"):
        ways.append("leave out --all-spaces")
    elif "start" in known:
        ways.append("narrow it with --start and --end")
    if known.get("coalesce") in ("none", "physical"):
        ways.append("give --coalesce attributes")
    ways.append(f"give --budget {error.rows} ({rough_size(error.rows * ROW_BYTES)} of memory)")
    found = f"there are {error.rows} rows and the budget is {error.budget}"
    return f"{found}: {', or '.join(ways)}"


def _overview(arguments: list[str]) -> int:
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:<{width}}  {what}" for name, what in COMMANDS.items())
    parser = Parser(
        prog="fastwalk",
        usage="fastwalk COMMAND ... (fastwalk COMMAND --help explains each)",
        description=f"{DESCRIPTION}\n\ncommands:\n{listed}\n\nexample: fastwalk ptdump vmcore",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.version:
        from .._fastwalk import __version__

        print(f"fastwalk {__version__}")
        return 0
    if options.command is not None:
        parser.error(f"there is no command {options.command!r}; there are {', '.join(COMMANDS)}")
    parser.print_help(sys.stderr)
    return 2
