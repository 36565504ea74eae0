"""The ground everything that writes stands on: files whole or not at all, tensors, pictures."""

from tfgen.files.images import grid, save_grid
from tfgen.files.replacing import replace_dir, replace_file

__all__ = ["grid", "replace_dir", "replace_file", "save_grid"]
