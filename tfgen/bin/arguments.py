"""Binaries whose first arguments need no name, as those of `cp` do."""

from collections.abc import Callable, Sequence

from absl import flags

from tfgen.bin import app
from tfgen.errors import UserError


def run(name: str, main: Callable[..., None], words: Sequence[str]) -> None:
    """Runs a binary on the process's command line and exits; see `tfgen.bin.app.run`.

    Args:
        name: string, the binary's name.
        main: function of one string for each of `words`.
        words: sequence of strings, what the arguments are called.
    """
    app.start(
        name, main, lambda argv: execute(name, main, words, argv), lambda argv: parse(name, argv)
    )


def parse(name: str, argv: Sequence[str]) -> list[str]:
    """As `tfgen.bin.app.parse`, with flags anywhere among the arguments."""
    before = flags.FLAGS.is_gnu_getopt()
    flags.FLAGS.set_gnu_getopt(True)
    try:
        return app.parse(name, argv)
    finally:
        flags.FLAGS.set_gnu_getopt(before)


def execute(name: str, main: Callable[..., None], words: Sequence[str], argv: Sequence[str]) -> int:
    """As `tfgen.bin.app.execute`, with the arguments that are no flags."""

    def checked(_):
        given = argv[1:]
        if len(given) != len(words):
            got = " ".join(given) or "nothing"
            raise UserError(f"expected the arguments {' '.join(words)}, got {got}; see --helpfull")
        main(*given)

    return app.execute(name, checked, argv[:1])
