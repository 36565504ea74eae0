"""Signals that end a run: what they raise, and how a training ends its step first."""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any


class Terminated(BaseException):
    """SIGTERM arrived. Not an `Exception`, so that nothing on the way takes it for an error."""


@contextlib.contextmanager
def stopping_on_signals(model: Any) -> Iterator[None]:
    """Lets a first SIGINT or SIGTERM end `fit` after the current step, with all that it saves.

    Afterwards the signal's own exception is raised. A second signal raises it at once.
    """
    arrived = []
    exceptions = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}

    def handle(number, frame):
        del frame
        if arrived:
            raise exceptions[number]
        arrived.append(number)
        model.stop_training = True

    previous = {number: signal.signal(number, handle) for number in exceptions}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if arrived:
        raise exceptions[arrived[0]]
