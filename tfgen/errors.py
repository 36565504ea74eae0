"""What went wrong, said once and in the user's words."""

import contextlib
import re
from collections.abc import Iterator


class UserError(ValueError):
    """Something the user can mend: the message says what came, what was expected and how to fix it.

    Binaries print it in one line and exit with code 2.
    """


class DataError(UserError):
    """A data set that is missing, unreadable, or not what its name promises."""


class ConfigError(UserError):
    """A configuration field that does not exist or holds an impossible value."""


class CheckpointError(UserError):
    """A checkpoint that is truncated, corrupt, or belongs to another architecture."""


class ExportError(UserError):
    """An export target that exists already, or an artefact that disagrees with its model."""


# Keras's words around an error within `call`, which it prints in bold.
_CALL = re.compile(r"Exception encountered when calling .*?\n\n\x1b\[1m(.*?)\x1b\[0m\n", re.DOTALL)


def reason_of(error: BaseException) -> str:
    """The first line of what a foreign exception says; its type where it says nothing.

    TensorFlow's names of its own nodes, `{{node ...}}` and `[Op:...]`, say nothing to anyone.
    """
    text = re.sub(r"\{\{.*?\}\}\s*|\s*\[Op:\w+\]( name: *)?", "", str(error))
    return next((line for line in text.splitlines() if line.strip()), type(error).__name__)


def user_error_in(error: BaseException) -> UserError | None:
    """The `UserError` that was raised within a function of TensorFlow's, out of its error.

    TensorFlow hands on as text what a function raises: in a `tf.data` pipeline followed by the
    traceback or as a failed assertion, and while tracing a function behind it. Keras puts what was
    called, and with what, around the sentence of a layer.
    """
    kinds = {kind.__name__: kind for kind in (UserError, *UserError.__subclasses__())}
    sentence = rf"\b({'|'.join(kinds)}): ([^\n]+)"
    text = str(error)
    if isinstance(error, UserError) and (said := _CALL.match(text)):
        return type(error)(said[1])
    found = re.search(rf"{sentence}\nTraceback \(most", text)
    if found is None and (failed := re.search(rf"assertion failed: \[{sentence}\]", text)):
        return kinds[failed[1]](failed[2].replace("] [", ""))  # of parts, words and numbers
    if found is None and text.startswith("in user code:"):
        found = re.search(rf"{sentence}\s*$", text)
    return kinds[found[1]](found[2]) if found else None


@contextlib.contextmanager
def plain_user_errors() -> Iterator[None]:
    """Raises a `UserError` that TensorFlow hands on as text as itself.

    Raises:
        UserError: of a `tf.data` pipeline or a traced function within.
    """
    try:
        yield
    except Exception as error:
        found = user_error_in(error)
        if found is None:
            raise
        raise found from error
