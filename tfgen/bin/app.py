"""Flags of every program: and one line and exit code 2 for what the user can mend."""

import math
import os
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence

# TensorFlow reads this while it is imported: warnings and errors only, unless the user asks.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import app, flags, logging

from tfgen import stopping
from tfgen.bin import usage
from tfgen.bin.terminal import outlasting_pipes
from tfgen.errors import UserError, plain_user_errors

USER_ERROR = 2

DEBUG = flags.DEFINE_bool("debug", False, "Show where an error came from, and every log line.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of one run: config, checkpoints, results.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder with data sets, looked at first.")


def required(value, name: str, example: str):
    """The value of a flag that a program cannot do without.

    Raises:
        UserError: it was not given; the message says the example.
    """
    if value is None:
        raise UserError(f"--{name} is missing; {example}")
    return value


def run(name: str, main: Callable[[Sequence[str]], None]) -> None:
    """Runs a binary's `main` on the process's command line and exits.

    Args:
        name: string, the binary's name, said at the start of every error.
        main: function of the arguments that are no flags.
    """
    start(name, main, lambda argv: execute(name, main, argv), lambda argv: parse(name, argv))


def start(name: str, main: Callable, execute: Callable, parse: Callable) -> None:
    """absl's `run`, with signals noted from the beginning."""
    tell(name, main)
    with stopping.watching(name):
        app.run(execute, flags_parser=parse)


def tell(name: str, main: Callable) -> None:
    """Ends the process with 0 if its command line asks for help or the version."""
    if (words := usage.answer(name, main, sys.argv)) is not None:
        print(words)
        sys.exit(0)


def parse(name: str, argv: Sequence[str]) -> list[str]:
    """Parses flags and the config file; a mistake in either ends the process with one line."""
    try:
        _check_config_file(argv)
        return flags.FLAGS(list(argv))
    except Exception as error:
        # A config file may raise anything at all: whatever it is, the user wrote it or named it.
        # The flag itself may not be parsed yet, so look for the word.
        if "--debug" in argv:
            traceback.print_exc()
        said = _plain(one_line(error))
        print(f"{name}: {_field_of(error, argv)}{said}", file=sys.stderr)
        sys.exit(USER_ERROR)


# What Python and absl say of a value that is none of a flag's type, and in words of its user.
_NO_VALUE = {
    r"invalid literal for int\(\) with base \d+: .*": "expected a whole number",
    r"could not convert string to float: .*": "expected a number",
    r"\('Non-boolean argument to boolean flag', .*\)": "expected true or false",
    r"string indices must be integers.*": (
        "a field that is given lies within one that holds a single word; give that one whole"
    ),
}


def _plain(message: str) -> str:
    for said, words in _NO_VALUE.items():
        message = re.sub(said, words, message)
    return message


def _field_of(error, argv) -> str:
    """Of a section that a recipe does not have, which config_flags tells by its last name alone."""
    if isinstance(error, KeyError) and error.args:
        missing = str(error.args[0]).split("'")[1:2]
        for flag in (word.partition("=")[0] for word in argv):
            first, *names = flag.lstrip("-").split(".")
            if first == "config" and set(missing) & set(names):
                return f"{flag} names no field: "
    return ""


def execute(name: str, main: Callable[[Sequence[str]], None], argv: Sequence[str]) -> int:
    """Calls `main` and turns what it raises into an exit code.

    Returns:
        0, or what `main` returns; 2 after a user's mistake or a full or read-only disk; 130, 143
        and 129 when interrupted, terminated or hung up.
    """
    with warnings.catch_warnings(), outlasting_pipes(), stopping.watching(name):
        _quieten(name, DEBUG.value)
        return _execute(name, main, argv)


def _execute(name, main, argv):
    try:
        if len(argv) > 1:
            raise UserError(f"unexpected argument {argv[1]!r}; all arguments are flags")
        with plain_user_errors():
            code = main(argv) or 0
        stopping.check()
        return code
    except UserError as error:
        return _report(name, one_line(error), USER_ERROR)
    except OSError as error:
        _let_go_of_output()
        place = f" {_name(error.filename)}" if error.filename else ""
        return _report(name, f"cannot use{place}: {error.strerror or one_line(error)}", USER_ERROR)
    except MemoryError as error:
        return _report(name, _memory(error), USER_ERROR)
    except (stopping.Stopped, KeyboardInterrupt) as stopped:
        number = getattr(stopped, "number", signal.SIGINT)
        print(stopping.message(name, number), file=sys.stderr)
        return 128 + number
    except Exception as error:
        if type(error).__name__ == "ResourceExhaustedError":  # tf.errors, not imported here
            return _report(name, _exhausted(error), USER_ERROR)
        raise


def _name(path) -> str:
    from tfgen.files.names import shown

    return repr(path) if isinstance(path, int) else f"'{shown(path)}'"


def _memory(error: MemoryError) -> str:
    """Which of the many numbers of a run was too large cannot be told; what was asked for can."""
    reason = one_line(error).removeprefix("MemoryError")
    asked = f" ({reason})" if reason else ""
    return f"out of memory{asked}; ask for less at once, or use a machine with more"


def _exhausted(error: BaseException) -> str:
    """TensorFlow says so of memory and of disks."""
    reason = str(error).strip().partition("\n")[0]
    if "OOM" not in reason and "alloc" not in reason.lower():
        return one_line(error)
    found = [f"--{name}" for name in ("batch_size",) if name in flags.FLAGS]
    if "config" in flags.FLAGS:
        found.append("--config.data.batch_size")
    sizes = f" ({' or '.join(found)})" if found else ""
    return f"out of memory ({reason}); a smaller model, or smaller batches{sizes}, need less"


def finite(flag: flags.FlagHolder) -> flags.FlagHolder:
    """The flag, which from now on takes no NaN and no infinity: both pass any bound."""
    flags.register_validator(
        flag.name, lambda value: value is None or math.isfinite(value), "expected a finite number"
    )
    return flag


def _let_go_of_output():
    """Where nothing can be printed, what waits to be is dropped: it would end Python with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def numbers(name: str, words: Sequence[str]) -> list[float]:
    """The value of a list flag as numbers of at least 0.

    Raises:
        UserError: one of them is none.
    """
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = [-1.0]
    if not all(0 <= value < float("inf") for value in values):
        raise UserError(f"--{name} is {','.join(words)!r}; expected numbers of at least 0")
    return values


def one_line(error: BaseException) -> str:
    """An error's message on one line, never empty."""
    text = str(error)
    if isinstance(error, KeyError) and error.args:  # its string is its message, quoted once more
        text = f"there is no {error.args[0]}"
    if "Error whilst parsing config file" in text:  # followed by a whole traceback
        text = text.strip().splitlines()[-1].partition(": ")[2]
    from tfgen.files.names import shown

    return shown(" ".join(text.split())) or type(error).__name__


def _check_config_file(argv):
    """A missing config file, named: config_flags would only fail later, when it is first read."""
    for word, following in zip(argv, [*argv[1:], ""]):
        found = re.fullmatch(r"--?config(?:=(.*))?", word)
        if found:
            path = (following if found[1] is None else found[1]).partition(":")[0]
            if not os.path.isfile(path):
                raise UserError(f"there is no config file {path!r}; the recipes lie in configs/")


def _report(name, message, code):
    if DEBUG.value:
        traceback.print_exc()
    print(f"{name}: {message}", file=sys.stderr)
    return code


def _quieten(name, debug):
    """Leaves only this program's own words on the terminal, unless debugging."""
    if debug:
        return
    logging.set_verbosity(logging.ERROR)
    logging.set_stderrthreshold("error")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("always", category=UserWarning)

    def show(message, *_, **__):
        print(f"{name}: warning: {one_line(message)}", file=sys.stderr)

    warnings.showwarning = show
