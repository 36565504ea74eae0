"""What lies at a path and is no regular file."""

import os
import socket


def irregular_files(folder):
    """Paths by what lies there: what a reader of regular files must not open."""
    os.mkfifo(folder / "pipe")
    # The path of a socket is short by law, that of a test's folder is not.
    place = os.getcwd()
    try:
        os.chdir(folder)
        with socket.socket(socket.AF_UNIX) as found:
            found.bind("socket")
    finally:
        os.chdir(place)
    (folder / "link").symlink_to("pipe")
    return {
        "a folder": folder,
        "a named pipe": folder / "pipe",
        "a socket": folder / "socket",
        "a device": "/dev/zero",
        "a named pipe.": folder / "link",
    }
