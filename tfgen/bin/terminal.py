"""What a person sees while a binary works."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator

from tfgen.errors import UserError


@contextlib.contextmanager
def quiet_import(debug: bool = False, onednn: bool = True) -> Iterator[None]:
    """Keeps what libraries say while they load off the terminal, unless debugging.

    TensorFlow's C++ writes to the file descriptor before any setting of ours can reach it (that
    there is no GPU, for instance). If loading fails by no fault of the user, all
    that was said is shown.

    Args:
        debug: keeps nothing off the terminal.
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
        except UserError:
            raise
        except Exception:
            said.seek(0)
            os.write(saved, said.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


@contextlib.contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar with the time left; yields a function that takes how much is done.

    Where nobody watches (a log file), there is none.
    """
    if not sys.stdout.isatty():
        yield lambda done: None
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
        yield lambda done: bar.update(task, completed=done)


@contextlib.contextmanager
def waiting() -> Iterator[Callable[[str], None]]:
    """For work that cannot tell how far it is: shows what is being done, and since when.

    Yields a function that takes what begins now. Where nobody watches, it prints that.
    """
    if not sys.stdout.isatty():
        yield lambda title: print(f"{title} ...", flush=True)
        return
    from rich import progress as bars

    columns = (
        bars.SpinnerColumn(),
        bars.TextColumn("{task.description}"),
        bars.TimeElapsedColumn(),
    )
    with bars.Progress(*columns, transient=True) as line:
        task = line.add_task("", total=None)
        yield lambda title: line.reset(task, description=title)


def _settle_tensorflow():
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    tf.config.list_physical_devices()  # looks for GPUs, and says what it misses
