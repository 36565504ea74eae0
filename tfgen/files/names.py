"""Names of files as text for people."""

import os


def shown(path: str | os.PathLike) -> str:
    """A file's name as one printable line, whatever bytes it is made of.

    Bytes that are no UTF-8 and characters that would steer a terminal appear as escapes.
    """
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
