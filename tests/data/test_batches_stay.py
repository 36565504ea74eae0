"""Batches of every seed, step and shard are, byte for byte, those that earlier trainings saw."""

import hashlib
import itertools

import numpy as np
import pytest

from tfgen.data import Pipeline, Source

OPTIONS = {
    "plain": {},
    "five": dict(num_bits=5),
    "dynamic_flip": dict(binarize="dynamic", flip=True),
    "fixed": dict(binarize="fixed"),
    "threshold": dict(binarize="threshold", flip=True),
}
# Recorded from commit cd514ca, whose pipeline had these options built in.
RECORDED = {
    "large plain training": "aefe1ab92cf1032e",
    "large plain evaluation": "8a5f7a015ce651b1",
    "large five training": "af66b888e9cfba20",
    "large five evaluation": "00ad90ead71d0499",
    "large dynamic_flip training": "5ba2ddaed205badf",
    "large dynamic_flip evaluation": "a46280fec4612572",
    "large fixed training": "8aeb1cd9c9cb0637",
    "large fixed evaluation": "a46280fec4612572",
    "large threshold training": "437a0301e2b2052d",
    "large threshold evaluation": "26f437833ef96147",
    "small plain training": "3fbe0fc96545387e",
    "small plain evaluation": "8a5f7a015ce651b1",
    "small five training": "46a09c1434d3f0d5",
    "small five evaluation": "00ad90ead71d0499",
    "small dynamic_flip training": "fac29b778c23c115",
    "small dynamic_flip evaluation": "500f979449eaf40a",
    "small fixed training": "e975ef320f6b47c5",
    "small fixed evaluation": "500f979449eaf40a",
    "small threshold training": "b857c45ded7f8729",
    "small threshold evaluation": "26f437833ef96147",
}


@pytest.fixture(scope="module")
def sources():
    """Orders come from sorting below 1024 images, from a cipher above."""
    images = np.random.default_rng(0).integers(0, 256, (1500, 6, 4, 3), np.uint8)
    arrays = {"images": images, "labels": np.arange(1500)}
    few = {name: array[:50] for name, array in arrays.items()}
    return {"large": Source("made", "train", arrays), "small": Source("made", "test", few)}


@pytest.mark.parametrize("case", RECORDED)
def test_batches_are_those_recorded(sources, case):
    size, label, mode = case.split()
    training = mode == "training"
    digest = hashlib.sha256()
    for seed, (num_shards, batch_size) in itertools.product((0, 7), ((1, 12), (3, 4))):
        for shard_index in range(num_shards):
            pipeline = Pipeline(
                sources[size],
                batch_size,
                seed=seed,
                training=training,
                shard_index=shard_index,
                num_shards=num_shards,
                **OPTIONS[label],
            )
            for step in (0, 3, 130 if training else 2):
                batch = pipeline.batch(step)
                digest.update(batch["images"].numpy().tobytes())
                digest.update(batch["labels"].numpy().tobytes())
    assert digest.hexdigest()[:16] == RECORDED[case]
