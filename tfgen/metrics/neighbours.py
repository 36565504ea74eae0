"""Nearest training images: whether samples were invented or remembered.

The protocol of the NCP-VAE paper: images are resized to 64 x 64 and compared by the Euclidean
distance of their central 40 x 40 pixels.
"""

import numpy as np
import tensorflow as tf
from sklearn.neighbors import NearestNeighbors

from tfgen.data.doors import as_images
from tfgen.errors import DataError
from tfgen.metrics.features import batches_of

SIZE, CROP = 64, 40


def nearest_neighbours(
    images: np.ndarray, training_images: np.ndarray, num_neighbours: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Distances and indices of the training images nearest to each image.

    Args:
        images: array `[B, H, W, C]`, float in [0, 1] or uint8.
        training_images: array `[N, H, W, C]`, likewise.
        num_neighbours: integer, how many. Defaults to `1`.

    Returns:
        Distances and indices, each `[B, num_neighbours]`, the nearest first.

    Raises:
        DataError: shapes differ, there are too few training images, or pixels are out of range.
    """
    if images.shape[1:] != training_images.shape[1:] or len(training_images) < num_neighbours:
        raise DataError(
            f"images of shape {images.shape} cannot be compared with {training_images.shape}; "
            f"expected equal image shapes and at least {num_neighbours} training images"
        )
    search = NearestNeighbors(n_neighbors=num_neighbours, algorithm="brute")
    search.fit(_centres(training_images))
    return search.kneighbors(_centres(images))


def _centres(images, batch_size: int = 1000):
    rows = []
    for batch in batches_of(images, batch_size):
        resized = tf.image.resize(as_images(batch), (SIZE, SIZE), antialias=True)
        centre = tf.image.resize_with_crop_or_pad(resized, CROP, CROP)
        rows.append(np.reshape(centre, (len(batch), -1)))
    return np.concatenate(rows)
