"""Two small tasks with known boxes, made of scikit-learn's digits: regions come as features."""

import functools

import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_digits

from tfgen import PhraseGrounding
from tfgen.grounding import boxes as geometry

WORDS = np.random.default_rng(7).normal(size=(15, 32)).astype(np.float32)
CROP = 12


@functools.cache
def digits(first, last):
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.images))[first:last]
    return found.images[order] / 16.0, found.target[order]


TRAIN, TEST = (0, 1400), (1400, 1797)


def resized(picture, size):
    image = Image.fromarray(np.asarray(255 * np.clip(picture, 0, 1), np.uint8))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR), np.float32) / 255.0


def feature(canvas, box):
    x1, y1, x2, y2 = (int(value) for value in box)
    return resized(canvas[y1 : y2 + 1, x1 : x2 + 1], CROP).ravel()


def draw(rng, digit, split):
    images, labels = digits(*split)
    return images[rng.choice(np.flatnonzero(labels == digit))]


def scenes(split, number, seed):
    """Four digits in nine cells, eight regions of which four are near a digit, three are named."""
    rng = np.random.default_rng(seed)
    regions = np.zeros((number, 8, CROP**2), np.float32)
    boxes, truth = np.zeros((number, 8, 4)), np.zeros((number, 3, 4))
    named, absent = np.zeros((number, 3), int), np.zeros((number, 6), int)
    for row in range(number):
        present, cells = rng.choice(10, 4, replace=False), rng.choice(9, 4, replace=False)
        canvas, found = np.zeros((96, 96)), []
        for digit, cell in zip(present, cells):
            size = int(rng.integers(18, 29))
            top, left = rng.integers(0, 33 - size, 2) + 32 * np.array(divmod(cell, 3))
            canvas[top : top + size, left : left + size] = resized(draw(rng, digit, split), size)
            found.append([left, top, left + size - 1, top + size - 1])
        canvas += 0.1 * rng.normal(size=canvas.shape)
        near = np.array(found) + rng.integers(-3, 4, (4, 4))
        corner, size = rng.integers(0, 66, (4, 2)), rng.integers(18, 30, (4, 1))
        offered = np.concatenate([near, np.concatenate([corner, corner + size], 1)])
        offered = np.clip(offered, 0, 95)[rng.permutation(8)]
        boxes[row], order = offered, rng.permutation(4)[:3]
        regions[row] = [feature(canvas, box) for box in offered]
        named[row], truth[row] = present[order], np.array(found)[order]
        absent[row] = rng.permutation([d for d in range(10) if d not in named[row]])[:6]
    noun = rng.integers(0, 3, number)
    first = np.take_along_axis(named, noun[:, None], 1)
    data = {"regions": regions, "words": WORDS[named]}
    data["negatives"] = WORDS[np.concatenate([first, absent], 1)]
    return data, boxes, truth


def confounded(split, number, seed, negatives):
    """A cue tells the type of a scene; one digit of the type's pair stands among five others.

    The negative is the other digit of the pair, which fits the context, or any digit of another
    type.
    """
    rng = np.random.default_rng(seed)
    regions = np.zeros((number, 7, CROP**2), np.float32)
    named, other, place = (np.zeros(number, int) for _ in range(3))
    for row in range(number):
        kind = rng.integers(5)
        named[row] = 2 * kind + rng.integers(2)
        partner = 4 * kind + 1 - named[row]
        far = rng.choice([d for d in range(10) if d // 2 != kind])
        other[row] = partner if negatives == "context" else far
        stripes = 0.5 + 0.5 * np.sin(np.arange(CROP) * (kind + 1) * 0.5)
        cue = np.tile(stripes, (CROP, 1)) + 0.1 * rng.normal(size=(CROP, CROP))
        digit = resized(draw(rng, named[row], split), CROP) + 0.1 * rng.normal(size=(CROP, CROP))
        ground = 0.1 * rng.normal(size=(5, CROP, CROP))
        order = rng.permutation(7)
        regions[row] = np.stack([digit, cue, *ground]).reshape(7, -1)[order]
        place[row] = np.argmax(order == 0)
    data = {"regions": regions, "words": WORDS[named][:, None]}
    data["negatives"] = WORDS[np.stack([named, other], 1)]
    return data, place


def model_for(**options):
    return PhraseGrounding(CROP**2, 32, 32, 2, **options)


def batches(data, batch_size, seed):
    size = len(data["regions"])
    return tf.data.Dataset.from_tensor_slices(data).shuffle(size, seed).repeat().batch(batch_size)


def pointing(model, data, boxes, truth):
    """Share of named digits in whose box the middle of the first region lies."""
    attention = model(data).attention.numpy()
    best = np.take_along_axis(boxes[:, None], attention.argmax(-1)[..., None, None], 2)[:, :, 0]
    points = geometry.centres(best)
    return np.mean(
        [
            geometry.points_inside(point, box)[0, 0]
            for points_, boxes_ in zip(points, truth)
            for point, box in zip(points_, boxes_)
        ]
    )
