"""Readers of the MATLAB files of two data sets, SVHN and OMNIGLOT."""

from pathlib import Path

import numpy as np

from tfgen.data.arrays import MissingSplitError, Split, readable
from tfgen.data.labels import as_labels
from tfgen.data.mat_format import read_mat
from tfgen.data.ranges import as_levels
from tfgen.files.names import shown


def read_svhn_mat(path: Path, split: str) -> Split:
    """`train_32x32.mat` or `test_32x32.mat` of SVHN: X [32, 32, 3, N], y [N, 1] with 10 for 0."""
    arrays = read_mat(path, ("X", "y"))
    with readable(path, "a MATLAB file of SVHN"):
        images, labels = np.moveaxis(arrays["X"], -1, 0), arrays["y"]
    images = as_levels(images, f"{shown(path)}: X")
    labels = as_labels(labels, len(images), f"{shown(path)}: y")
    return Split(images, labels._replace(numbers=labels.numbers % 10))


def read_chardata_mat(path: Path, split: str) -> Split:
    """OMNIGLOT 28x28 as the importance-weighted autoencoder (Burda et al., 2016) uses it.

    Images are columns of 784 intensities in [0, 1], each stored column by column.
    """
    prefix = {"train": "", "test": "test"}.get(split)
    if prefix is None:
        raise MissingSplitError(f"{shown(path)} has the splits train and test, not {split!r}")
    arrays = read_mat(path, (f"{prefix}data", f"{prefix}target"))
    with readable(path, "the MATLAB file of OMNIGLOT"):
        images = arrays[f"{prefix}data"].T.reshape(-1, 28, 28).transpose(0, 2, 1)
        labels = np.argmax(arrays[f"{prefix}target"], axis=0)
    images = as_levels(images, shown(path))
    return Split(images, as_labels(labels, len(images), shown(path)))
