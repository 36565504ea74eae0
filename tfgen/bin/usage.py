"""What a program says of itself: `--help`, `--helpfull` and `--version`.

absl lists the flags of the file that was started, which of a console script is a wrapper without
any, and ends with 1.
"""

import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence

from absl import flags

import tfgen

_HELP = ("help", "helpshort", "h", "?")
_WIDTH = 100


def answer(name: str, main: Callable, argv: Sequence[str]) -> str | None:
    """What the flags ask to be told; None if they ask for work.

    Args:
        name: string, the program's name.
        main: its function, whose module says what it does.
        argv: sequence of strings, the command line.
    """
    for word in argv[1:]:
        if word == "--":
            return None
        flag = word.lstrip("-") if word.startswith("-") else None
        if flag == "version":
            return f"{name} of tfgen {tfgen.__version__}"
        if flag == "helpfull":
            return flags.FLAGS.get_help().strip()
        if flag in _HELP:
            return "\n".join(_help(main))
    return None


def _help(main) -> Iterator[str]:
    own = sys.modules[main.__module__]
    yield inspect.cleandoc(own.__doc__ or "")
    groups = flags.FLAGS.flags_by_module_dict()
    # A file that is started is known to absl by its path.
    names = [name for name in (own.__name__, sys.argv[0]) if name in groups]
    names += sorted(name for name in groups if name.startswith("tfgen.") and name not in names)
    for name in names:
        title = "Flags" if name in (own.__name__, sys.argv[0]) else _title(name)
        yield f"\n{title}:"
        for flag in sorted(groups[name], key=lambda flag: flag.name):
            yield from _described(flag)
    yield "\nEverywhere:"
    yield from _row("--version", "Print the version and stop.")
    yield from _row("--helpfull", "Print the flags of the libraries as well.")


def _title(module: str) -> str:
    """The first sentence of a module's docstring, as far as its colon."""
    first = (sys.modules[module].__doc__ or module).strip().splitlines()[0]
    return first.partition(":")[0].rstrip(".")


def _described(flag: flags.Flag) -> Iterator[str]:
    text = " ".join((flag.help or "").split())
    if flag.default is not None and flag.default != []:
        text += f" (default: {flag.default_as_str})"
    yield from _row(f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}", text)


def _row(flag: str, text: str) -> Iterator[str]:
    yield f"  {flag}"
    yield from textwrap.wrap(text, _WIDTH, initial_indent="      ", subsequent_indent="      ")
