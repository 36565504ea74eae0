"""Names that a user chose, so that they do not disturb the text around them.

In a sentence, letters that are written from right to left take the numbers and stops after them
along: of "attack: <Arabic name>. 100 % of the labels" a browser makes "attack: 100 .<name> % of the
labels". And characters that turn the direction of writing would turn all that follows. So names
with such letters stand in an isolate (Unicode Standard Annex 9), and of such
characters only the code is written.
"""

import unicodedata
from collections.abc import Mapping
from typing import Any

_TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
_LEFTWARDS = ("R", "AL", "AN")
_BEGIN, _END = "\N{FIRST STRONG ISOLATE}", "\N{POP DIRECTIONAL ISOLATE}"


def isolated(value: Any) -> Any:
    """Every text in nested dicts, lists and tuples, keys as well, as a sentence can take it in.

    Args:
        value: string, dict, list or tuple; anything else is returned as it is.
    """
    if isinstance(value, str):
        return _isolated_text(value)
    if isinstance(value, Mapping):
        return {isolated(key): isolated(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(isolated, value))
    return value


def _isolated_text(text):
    if text.isascii():
        return text
    turning = [c for c in text if unicodedata.bidirectional(c) in _TURNING]
    text = text.translate({ord(c): f"<U+{ord(c):X}>" for c in turning})
    if any(unicodedata.bidirectional(c) in _LEFTWARDS for c in text):
        return f"{_BEGIN}{text}{_END}"
    return text
