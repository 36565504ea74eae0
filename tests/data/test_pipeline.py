"""Batches are a function of seed and step; evaluation does not depend on how it is batched."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgen.data import Pipeline, Source, load
from tfgen.errors import ConfigError, DataError

# A subset is given by its seed alone, on every machine and with every NumPy.
TAKEN = [28, 11, 10, 41, 2, 27, 38, 31, 22]


@pytest.fixture(scope="module")
def source():
    """50 distinct images whose label is their index."""
    images = np.random.default_rng(0).integers(0, 256, (50, 6, 4, 3), np.uint8)
    return Source("made", "train", {"images": images, "labels": np.arange(50)})


def batches(pipeline, count, start_step=0):
    return list(pipeline.dataset(start_step).take(count).as_numpy_iterator())


def assert_same(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


@pytest.mark.parametrize("options", [{}, {"binarize": "dynamic", "flip": True}])
def test_resuming_continues_bit_for_bit(source, options):
    pipeline = Pipeline(source, 8, seed=3, **options)
    whole = batches(pipeline, 20)
    again = Pipeline(source, 8, seed=3, **options)
    for start in (0, 5, 6, 13):
        assert_same(batches(again, 20 - start, start), whole[start:])
    assert_same([again.batch(7)], [whole[7]])


def test_an_epoch_has_every_image_once_in_a_new_order(source):
    pipeline = Pipeline(source, 10)
    assert pipeline.steps_per_epoch == 5
    labels = np.stack([batch["labels"] for batch in batches(pipeline, 10)]).reshape(2, 50)
    for epoch in labels:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(50))
    assert (labels[0] != labels[1]).mean() > 0.5
    other = np.concatenate([batch["labels"] for batch in batches(Pipeline(source, 10, seed=1), 5)])
    assert (labels[0] != other).mean() > 0.5


def test_an_incomplete_training_batch_is_left_out(source):
    pipeline = Pipeline(source, 8)
    assert pipeline.steps_per_epoch == 6
    labels = np.concatenate([batch["labels"] for batch in batches(pipeline, 6)])
    assert len(np.unique(labels)) == 48


def test_images_are_those_of_the_labels(source):
    for batch in batches(Pipeline(source, 8), 2):
        assert batch["images"].dtype == np.float32
        expected = source.images[batch["labels"]] / np.float32(255)
        np.testing.assert_array_equal(batch["images"], expected)


def test_training_draws_anew_at_every_access(source):
    pipeline = Pipeline(source, 10, binarize="dynamic")
    first, second = (
        {
            int(label): image
            for batch in part
            for label, image in zip(batch["labels"], batch["images"])
        }
        for part in (batches(pipeline, 5), batches(pipeline, 5, start_step=5))
    )
    assert all((first[label] != second[label]).any() for label in first)
    assert set(np.unique(np.stack(list(first.values())))) == {0.0, 1.0}


@pytest.mark.parametrize("binarize", ["dynamic", "fixed", None])
def test_evaluation_does_not_depend_on_the_batch_size(source, binarize):
    def passed(batch_size, **options):
        pipeline = Pipeline(source, batch_size, training=False, binarize=binarize, **options)
        parts = list(pipeline.dataset().as_numpy_iterator())
        assert len(parts) == pipeline.steps_per_epoch == -(-50 // batch_size)
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    whole = passed(50)
    np.testing.assert_array_equal(whole["labels"], np.arange(50))
    for batch_size in (1, 7, 64):
        assert_same([passed(batch_size)], [whole])
    if binarize:
        assert (passed(50, seed=1)["images"] != whole["images"]).any()


def test_evaluation_can_start_late(source):
    pipeline = Pipeline(source, 8, training=False, binarize="dynamic")
    assert_same(batches(pipeline, 9, start_step=4), batches(pipeline, 9)[4:])
    assert batches(pipeline, 9, start_step=7) == []


def test_fixed_draws_are_those_of_evaluation(source):
    evaluation = Pipeline(source, 50, training=False, binarize="fixed", seed=2)
    drawn = batches(evaluation, 1)[0]["images"]
    for batch in batches(Pipeline(source, 10, binarize="fixed", seed=2), 10):
        np.testing.assert_array_equal(batch["images"], drawn[batch["labels"]])


def test_threshold_and_bits(source):
    batch = batches(Pipeline(source, 5, training=False, binarize="threshold"), 1)[0]
    np.testing.assert_array_equal(batch["images"], source.images[:5] > 127)
    batch = batches(Pipeline(source, 5, training=False, num_bits=5), 1)[0]
    np.testing.assert_array_equal(batch["images"], (source.images[:5] >> 3) / np.float32(31))


def test_flips_only_in_training(source):
    flipped = Pipeline(source, 50, training=False, flip=True).batch(0)["images"]
    np.testing.assert_array_equal(flipped, source.images / np.float32(255))
    batch = Pipeline(source, 50, flip=True).batch(0)
    plain = source.images[batch["labels"]] / np.float32(255)
    mirrored = (batch["images"] == plain[:, :, ::-1]).numpy().all(axis=(1, 2, 3))
    assert 5 < mirrored.sum() < 45
    np.testing.assert_array_equal(batch["images"][~mirrored], plain[~mirrored])


@pytest.mark.parametrize("training", [True, False])
def test_shards_make_up_the_batches_of_one_worker(source, training):
    options = dict(training=training, binarize="dynamic", flip=True)
    whole = batches(Pipeline(source, 12, **options), 8)
    shards = [
        batches(Pipeline(source, 4, shard_index=index, num_shards=3, **options), 8)
        for index in range(3)
    ]
    assert len(whole) == (8 if training else 5)
    for step, batch in enumerate(whole):
        parts = [shard[step] for shard in shards if step < len(shard)]
        joined = {key: np.concatenate([part[key] for part in parts]) for key in batch}
        assert_same([joined], [batch])


def test_shards_leave_nothing_to_share_twice(source):
    dataset = Pipeline(source, 4, num_shards=2).dataset()
    policy = dataset.options().experimental_distribute.auto_shard_policy
    assert policy == tf.data.experimental.AutoShardPolicy.OFF


def test_shapes_are_static_in_training(source):
    spec = Pipeline(source, 4).dataset().element_spec
    assert spec["images"] == tf.TensorSpec([4, 6, 4, 3], tf.float32)
    assert spec["labels"] == tf.TensorSpec([4], tf.int32)
    assert Pipeline(source, 4).dataset().cardinality() == tf.data.INFINITE_CARDINALITY
    unlabelled = Source("made", "train", {"images": source.images})
    assert set(Pipeline(unlabelled, 4, training=False).dataset().element_spec) == {"images"}


def test_lazy_images_give_the_same_batches(source, tmp_path):
    class Lazy:
        shape, dtype = source.images.shape, source.images.dtype

        def __len__(self):
            return len(source.images)

        def __getitem__(self, indices):
            return source.images[indices]

    np.save(tmp_path / "images.npy", source.images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    expected = batches(Pipeline(source, 8, flip=True), 8)
    for images in (Lazy(), mapped):
        lazy = Source("made", "train", {"images": images, "labels": source.labels})
        assert not lazy.in_memory
        pipeline = Pipeline(lazy, 8, flip=True)
        assert pipeline.dataset().element_spec["images"].shape == (8, 6, 4, 3)
        assert_same(batches(pipeline, 8), expected)
        with pytest.raises(ConfigError, match="too large"):
            Pipeline(lazy, 8, binarize="fixed")


def test_mirrored_replicas_split_the_batch(source):
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    pipeline = Pipeline(source, 8, binarize="dynamic")
    distributed = strategy.experimental_distribute_dataset(pipeline.dataset())
    for step, values in zip(range(3), distributed):
        parts = strategy.experimental_local_results(values["images"])
        np.testing.assert_array_equal(np.concatenate(parts), pipeline.batch(step)["images"])


def test_fit_takes_it(source):
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    dataset = Pipeline(source, 8).dataset().map(lambda batch: (batch["images"], batch["labels"]))
    history = model.fit(dataset, steps_per_epoch=3, epochs=2, shuffle=False, verbose=0)
    assert len(history.history["loss"]) == 2


def test_batches_of_one_and_of_everything(source):
    assert Pipeline(source, 1).batch(123)["images"].shape == (1, 6, 4, 3)
    assert Pipeline(source, 50).steps_per_epoch == 1
    one = Source("one", "train", {"images": source.images[:1]})
    assert batches(Pipeline(one, 1), 3)[2]["images"].shape == (1, 6, 4, 3)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (dict(batch_size=0), "batch_size"),
        (dict(batch_size=2.5), "batch_size"),
        (dict(num_bits=0), "num_bits"),
        (dict(num_bits=9), "num_bits"),
        (dict(binarize="sometimes"), "binarize"),
        (dict(num_shards=0), "num_shards"),
        (dict(shard_index=2, num_shards=2), "shard_index"),
    ],
)
def test_wrong_arguments_are_named(source, options, field):
    with pytest.raises(ConfigError, match=field):
        Pipeline(source, **{"batch_size": 4, **options})


def test_too_few_images_for_a_batch(source):
    pipeline = Pipeline(source, 64)
    assert pipeline.steps_per_epoch == 0
    with pytest.raises(DataError, match=r"50 examples .* batch of 64"):
        pipeline.dataset()
    with pytest.raises(DataError, match="batch of 64"):
        pipeline.batch(0)
    with pytest.raises(ConfigError, match="start_step"):
        Pipeline(source, 4).dataset(-1)


def test_a_subset_does_not_depend_on_the_batch_size(source):
    parts = [batches(Pipeline(source.take(9), size, training=False), 9) for size in (2, 9)]
    small, whole = (np.concatenate([batch["labels"] for batch in part]) for part in parts)
    np.testing.assert_array_equal(small, whole)
    np.testing.assert_array_equal(whole, TAKEN)
    np.testing.assert_array_equal(source.take(4).labels, TAKEN[:4])
    assert (source.take(9, seed=1).labels != whole).any()
    assert source.take(9).extent == "a random 9 of 50 train images (seed 0)"
    assert source.extent == source.take(50).extent == "all 50 train images"


def test_a_subset_of_a_sorted_set_stands_for_all_of_it():
    # A fair draw of 200 of 1000 has a mean class within 5 standard errors: false alarms 1e-6.
    arrays = {"labels": np.repeat(np.arange(10), 100)}
    source = Source("sorted", "test", arrays)
    standard_error = np.sqrt(8.25 / 200)
    for part in (source.take(200), *source.split_off(200)):
        assert abs(part.labels.mean() - 4.5) < 5 * standard_error
        assert len(np.unique(part.labels)) == 10


def test_splitting_off_shares_nothing(source):
    kept, held_out = source.split_off(7)
    together = np.concatenate([kept.labels, held_out.labels])
    np.testing.assert_array_equal(np.sort(together), np.arange(50))
    assert (np.diff(kept.labels) > 0).all()
    np.testing.assert_array_equal(held_out.labels, np.sort(source.take(7).labels))
    for part in (kept, held_out):
        assert part.extent == f"a random {len(part)} of 50 train images (seed 0)"
    nested = held_out.take(3, seed=1).extent
    assert nested == "a random 3 of a random 7 of 50 train images (seed 0) (seed 1)"


def test_fingerprints_tell_data_apart(source):
    other = source.images.copy()
    other[7] ^= 1
    fingerprints = {
        source.fingerprint(),
        source.take(49).fingerprint(),
        Source("made", "train", {"images": other, "labels": source.labels}).fingerprint(),
    }
    assert len(fingerprints) == 3
    again = Source("renamed", "test", {"images": source.images.copy(), "labels": source.labels})
    assert again.fingerprint() == source.fingerprint()


def test_take_checks_its_number(source):
    assert len(source.take(3)) == 3
    assert source.take(None) is source
    for number in (0, 51):
        with pytest.raises(DataError, match=f"{number} images"):
            source.take(number)


def test_digits_are_binarised_about_their_mean():
    # The pixel mean of all draws against the intensities', |z| < 5: false alarms 1e-6.
    digits = load("digits")
    draws = np.concatenate(
        [batch["images"] for batch in batches(Pipeline(digits, 500, binarize="dynamic"), 3)]
    )
    p = digits.images.astype(np.float64) / 255
    z = (draws.sum(dtype=np.float64) - p.sum()) / np.sqrt((p * (1 - p)).sum())
    assert abs(z) < 5
