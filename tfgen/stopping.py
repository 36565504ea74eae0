"""Signals that end a program: noted when they arrive, obeyed where the work says so.

An exception raised in a signal handler is lost where it lands in a finaliser or in the callback of
a weak reference: work would go on, and end with success. So handlers only take a note, and loops
look at it. Where no loop looks for long, or a user asks a second time, a thread ends the process:
everything the project writes is whole at any moment.
"""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Iterator

WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}
PATIENCE = 10.0  # seconds from a signal to the end of a process that does not look
_TWICE = 0.5  # seconds; closer signals are one: shell and kernel both tell of a closed terminal


class Stopped(BaseException):
    """A signal asked the program to stop.

    Not an `Exception`, so that nothing on the way takes it for an error.

    Attributes:
        number: integer, the signal's number.
    """

    def __init__(self, number: int):
        super().__init__(WORDS[number])
        self.number = number


class _Watch:
    """What has arrived, and the thread that hears of it even while the program computes."""

    def __init__(self, name: str):
        self.name = name
        self.arrived: int | None = None
        self.patient = 0
        self._reading, self._writing = os.pipe()
        try:
            self._terminal = os.dup(2)  # as it is now: loading libraries are kept off it
        except OSError:
            self._terminal = os.open(os.devnull, os.O_WRONLY)
        os.set_blocking(self._writing, False)
        self._previous: dict[int, object] = {}
        self._thread = threading.Thread(target=self._listen, daemon=True, name="signals")

    def begin(self) -> None:
        self._previous_wakeup = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in WORDS:
            # What the parent chose to ignore, as nohup does, stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._note)
        self._thread.start()

    def end(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_wakeup)
        os.write(self._writing, b"\0")
        self._thread.join()
        for descriptor in (self._reading, self._writing, self._terminal):
            os.close(descriptor)

    def _note(self, number, frame):
        del frame
        if self.arrived is None:
            self.arrived = number

    def _listen(self) -> None:
        first, since = None, 0.0
        while True:
            wait = None if first is None else max(0.0, since + PATIENCE - time.monotonic())
            if not select.select([self._reading], [], [], wait)[0]:
                if self.patient:
                    since = time.monotonic()
                    continue
                self._give_up(first)
            number = os.read(self._reading, 1)[0]
            if number == 0:
                return
            if number not in self._previous:
                continue
            self._note(number, None)
            if first is None:
                first, since, asked = number, time.monotonic(), time.monotonic()
            elif number == signal.SIGINT and time.monotonic() - asked > _TWICE:
                self._give_up(first)

    def _give_up(self, number: int) -> None:
        cursor = "\x1b[?25h" if os.isatty(self._terminal) else ""
        with contextlib.suppress(OSError):
            os.write(self._terminal, f"{cursor}{message(self.name, number)}\n".encode())
        os._exit(128 + number)


_watch: _Watch | None = None


@contextlib.contextmanager
def watching(name: str) -> Iterator[None]:
    """Within the block SIGINT, SIGTERM and SIGHUP are noted, and `check` obeys them.

    A block within another, or outside of the main thread, changes nothing.

    Args:
        name: string, the program's name, for the message of a process that has to be ended.
    """
    global _watch
    if _watch is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    _watch = _Watch(name)
    _watch.begin()
    try:
        yield
    finally:
        ended, _watch = _watch, None
        ended.end()


def requested() -> bool:
    """Whether a signal has asked the program to stop."""
    return _watch is not None and _watch.arrived is not None


def check() -> None:
    """Raises `Stopped` if a signal has asked the program to stop; for loops, once a round."""
    if requested():
        raise Stopped(_watch.arrived)


@contextlib.contextmanager
def patient() -> Iterator[None]:
    """Within the block a signal is waited for as long as it takes: a step ends and is saved."""
    watch = _watch
    if watch is not None:
        watch.patient += 1
    try:
        yield
    finally:
        if watch is not None:
            watch.patient -= 1


def message(name: str, number: int) -> str:
    """What a program that was stopped says last."""
    return f"{name}: {WORDS[number]}; run the same command again to continue"
