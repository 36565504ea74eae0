"""A limit on what packed files may unpack to, so that a small one cannot exhaust the memory."""

import os

from tfgen.errors import DataError
from tfgen.files.names import shown

# dSprites, the emptiest data set that people use, is packed 1:116, and a blank page as an image
# about 1:150; 1:1000 is what a file made to do harm reaches.
MAX_RATIO = 200
ALWAYS_BYTES = 2**28


def check_expansion(path: str | os.PathLike, packed_bytes: int, unpacked_bytes: int) -> None:
    """Refuses what would take far more memory than its file lets expect.

    Args:
        path: of the file, for the message.
        packed_bytes: integer, bytes that it has.
        unpacked_bytes: integer, bytes that it says it holds; up to 256 MiB pass in any case.

    Raises:
        DataError: over 200 times as many.
    """
    if unpacked_bytes > max(ALWAYS_BYTES, MAX_RATIO * packed_bytes):
        raise DataError(
            f"{shown(path)} says that {packed_bytes:,} bytes unpack to {unpacked_bytes:,}, over "
            f"{MAX_RATIO} times as many; if that is right, store it uncompressed"
        )
