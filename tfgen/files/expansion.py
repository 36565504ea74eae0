"""A limit on what packed files may unpack to, so that a small one cannot exhaust the memory."""

import gzip
import io
import os

from tfgen.errors import DataError
from tfgen.files.names import shown

# dSprites, the emptiest data set that people use, is packed 1:116, and a blank page as an image
# about 1:150; 1:1000 is what a file made to do harm reaches.
MAX_RATIO = 200
ALWAYS_BYTES = 2**28


def check_expansion(
    path: str | os.PathLike,
    packed_bytes: int,
    unpacked_bytes: int,
    always_bytes: int | None = None,
) -> None:
    """Refuses what would take far more memory than its file lets expect.

    Args:
        path: of the file, for the message.
        packed_bytes: integer, bytes that it has.
        unpacked_bytes: integer, bytes that it says it holds.
        always_bytes: integer, bytes that pass in any case; None: 256 MiB.

    Raises:
        DataError: over 200 times as many.
    """
    least = ALWAYS_BYTES if always_bytes is None else always_bytes
    if unpacked_bytes > max(least, MAX_RATIO * packed_bytes):
        raise DataError(
            f"{shown(path)} says that {packed_bytes:,} bytes unpack to {unpacked_bytes:,}, over "
            f"{MAX_RATIO} times as many; if that is right, store it uncompressed"
        )


def unpack_gzip(path: str | os.PathLike, packed: bytes) -> bytes:
    """The content of a gzip file, no more of it than `check_expansion` lets pass.

    What the file says of its length is not believed: its last four bytes may say anything.

    Args:
        path: of the file, for the message.
        packed: bytes of the file.

    Raises:
        DataError: it holds more than that.
        OSError, EOFError, zlib.error: it is damaged.
    """
    most = max(ALWAYS_BYTES, MAX_RATIO * len(packed))
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
        found = file.read(most + 1)
    if len(found) > most:
        raise DataError(
            f"{shown(path)} unpacks from {len(packed):,} bytes to over {most:,}; if that is right, "
            "store it uncompressed"
        )
    return found
