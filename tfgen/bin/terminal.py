"""What a person sees while a binary works."""

import contextlib
import errno
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from tfgen import stopping
from tfgen.errors import UserError

_SECONDS_BETWEEN_LINES = 60.0  # in a log file

# What writing to a reader that is gone, or to a terminal that was closed, fails with.
_NOBODY_READS = (errno.EPIPE, errno.EIO, errno.ENXIO)


@contextlib.contextmanager
def quiet_import(debug: bool = False, onednn: bool = True) -> Iterator[None]:
    """Keeps what libraries say while they load off the terminal, unless debugging.

    TensorFlow's C++ writes to the file descriptor before any setting of ours can reach it (that
    there is no GPU, for instance). If loading fails by no fault of the user, all
    that was said is shown.

    Args:
        debug: whether to keep nothing off the terminal.
        onednn: whether TensorFlow takes oneDNN's kernels on all x86 processors instead of only the
            newest, unless the user decided. Our networks then run in two thirds of the time; but it
            fails in some convolutions that we do not use (`tfgen.privacy.network.self_check`), so
            programs for networks of any make leave it as TensorFlow has it.
    """
    if onednn:
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if debug:
        yield
        return
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
            _settle_tensorflow()
            stopping.check()
        except UserError:
            raise
        except Exception:
            said.seek(0)
            os.write(saved, said.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def say(text: object) -> None:
    """Prints lines for a person, with what would steer a terminal as escapes."""
    from tfgen.files.names import printable

    print(printable(str(text)), flush=True)


class _Outlasting:
    """A stream that is written to as long as somebody reads, and to nowhere from then on."""

    def __init__(self, stream):
        self._stream = stream

    def write(self, text):
        return self._try(self._stream.write, text)

    def writelines(self, lines):
        return self._try(self._stream.writelines, lines)

    def flush(self):
        return self._try(self._stream.flush)

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def _try(self, function, *arguments):
        try:
            return function(*arguments)
        except OSError as error:
            if error.errno not in _NOBODY_READS:
                if error.filename is None:
                    error.filename = self._stream.name
                raise
            # The descriptor itself, so that what is buffered, and what C++ says, goes there too.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextlib.contextmanager
def outlasting_pipes() -> Iterator[None]:
    """Within the block work goes on when whoever reads its output ends, as `head` does."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_Outlasting, streams)
    try:
        yield
        sys.stdout.flush()
    finally:
        sys.stdout, sys.stderr = streams


@contextlib.contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar with the time left; yields a function that takes how much is done.

    Where nobody watches (a log file), what takes long prints a line a minute. The function raises
    `tfgen.stopping.Stopped` if a signal has arrived.
    """
    if not sys.stdout.isatty():
        yield _lines(title, total)
        return
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeElapsedColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, transient=True) as bar:
        task = bar.add_task(title, total=total)

        def advance(done):
            stopping.check()
            bar.update(task, completed=done)

        yield advance


def _lines(title: str, total: int) -> Callable[[int], None]:
    """What is told how much is done, and prints it once a minute."""
    from tfgen.training.progress import clock

    begun = said = time.monotonic()

    def advance(done):
        nonlocal said
        stopping.check()
        now = time.monotonic()
        if now - said >= _SECONDS_BETWEEN_LINES and 0 < done < total:
            said = now
            left = clock((now - begun) / done * (total - done))
            say(f"{title}: {done:,} of {total:,}  {left} left")

    return advance


@contextlib.contextmanager
def waiting() -> Iterator[Callable[[str], None]]:
    """For work that cannot tell how far it is: shows what is being done, and since when.

    Yields a function that takes what begins now. Where nobody watches, it prints that. It raises
    `tfgen.stopping.Stopped` if a signal has arrived.
    """
    if not sys.stdout.isatty():

        def said(title):
            stopping.check()
            say(f"{title} ...")

        yield said
        return
    from rich import progress as bars

    columns = (
        bars.SpinnerColumn(),
        bars.TextColumn("{task.description}"),
        bars.TimeElapsedColumn(),
    )
    with bars.Progress(*columns, transient=True) as line:
        task = line.add_task("", total=None)

        def shown(title):
            stopping.check()
            line.reset(task, description=title)

        yield shown


def _settle_tensorflow():
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    tf.config.list_physical_devices()  # looks for GPUs, and says what it misses
