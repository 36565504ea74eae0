"""Names of files as text for people."""

import os

from tfgen.errors import UserError


def shown(path: str | os.PathLike) -> str:
    """A file's name as one printable line, whatever bytes it is made of.

    Bytes that are no UTF-8 and characters that would steer a terminal appear as escapes.
    """
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable(text: str) -> str:
    """Text of several lines, each as `shown` would have it."""
    return "\n".join(shown(line) for line in text.split("\n"))


def plain_name(name: str, what: str, error: type[UserError] = UserError) -> str:
    """A name that a file or folder can have, once it is known to lead nowhere else.

    Args:
        name: string, given by a user.
        what: it names, for the message.
        error: what to raise. Defaults to `UserError`.

    Raises:
        error: it is empty, a path, or holds characters that are not printable.
    """
    if name in ("", ".", "..") or "/" in name or "\\" in name or shown(name) != name:
        raise error(f"the name of {what} is {name!r}; expected a plain name, not a path")
    return name
