"""What people do with any Keras model works here too, or is refused in one sentence."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from toy_autoencoder import IMAGES, LABELS, LEVELS, ToyAutoencoder, make

from tfgen.data import Pipeline, load
from tfgen.errors import ConfigError, DataError, UserError

QUIET = {"verbose": 0}
MEAN = float(IMAGES.mean())


def sets(arrays, batch_size=8):
    return tf.data.Dataset.from_tensor_slices(arrays).batch(batch_size)


def generator(*arrays):
    return (tuple(a[i : i + 8] for a in arrays) for i in (0, 8, 16))


class Sequence(keras.utils.PyDataset):
    def __init__(self, *arrays):
        super().__init__()
        self.arrays = arrays

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return tuple(a[8 * index : 8 * index + 8] for a in self.arrays)


@pytest.fixture(scope="module")
def model():
    """One model for all that changes nothing but weights: tracing is what takes time."""
    return make()


@pytest.fixture(scope="module")
def labelled():
    return make(with_labels=True)


# As `fit(x, y)`; every one holds the same images.
FORMS = {
    "array": lambda: (IMAGES,),
    "tensor": lambda: (tf.constant(IMAGES),),
    "x, x": lambda: (IMAGES, IMAGES),
    "x, labels": lambda: (IMAGES, LABELS),
    "uint8": lambda: (LEVELS,),
    "int64": lambda: (LEVELS.astype(np.int64),),
    "float64": lambda: (LEVELS / 255,),
    "dict": lambda: ({"images": IMAGES, "labels": LABELS},),
    "set": lambda: (sets(IMAGES),),
    "set of tuples of one": lambda: (sets((IMAGES,)),),
    "set with targets": lambda: (sets((IMAGES, IMAGES)),),
    "set with labels": lambda: (sets((IMAGES, LABELS)),),
    "set of dicts": lambda: (sets({"images": IMAGES, "labels": LABELS}),),
    "TFDS": lambda: (sets({"image": IMAGES, "label": LABELS}),),
    "TFDS in half precision": lambda: (sets({"image": IMAGES.astype(np.float16)}),),
    "generator": lambda: (generator(IMAGES),),
    "generator with labels": lambda: (generator(LEVELS / 255, LABELS),),
    "PyDataset": lambda: (Sequence(IMAGES),),
    "PyDataset with labels": lambda: (Sequence(LEVELS, LABELS),),
}


@pytest.mark.parametrize("form", FORMS)
def test_fit_takes_data_in_any_form(model, form):
    history = model.fit(*FORMS[form](), batch_size=8, **QUIET).history
    np.testing.assert_allclose(history["pixels"], MEAN, atol=1e-3)


@pytest.mark.parametrize("form", ["array", "set with labels", "TFDS", "generator", "PyDataset"])
def test_fit_as_it_is_written_warns_of_nothing(model, form, recwarn):
    model.fit(*FORMS[form](), verbose=0)
    assert not [str(w.message) for w in recwarn if "shuffle" in str(w.message)]


@pytest.mark.parametrize("form", FORMS)
def test_evaluate_and_predict_take_the_same(model, form):
    logs = model.evaluate(*FORMS[form](), batch_size=8, return_dict=True, **QUIET)
    assert set(logs) == {"bias", "loss"}
    np.testing.assert_allclose(logs["bias"], MEAN, atol=1e-3)
    expected = model(IMAGES)
    found = model.predict(FORMS[form]()[0], batch_size=8, **QUIET)
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("form", [form for form in FORMS if "label" in form and form != "set"])
def test_labels_reach_a_loss_that_asks_for_them(labelled, form):
    history = labelled.fit(*FORMS[form](), batch_size=8, **QUIET).history
    np.testing.assert_allclose(history["labels"], LABELS.mean(), rtol=1e-6)


def test_a_loss_says_which_array_is_missing(labelled):
    with pytest.raises(DataError, match="no 'labels', only 'images'"):
        labelled.fit(IMAGES, batch_size=8, **QUIET)
    with pytest.raises(DataError, match="no 'images', only 'x', 'labels'"):
        labelled.fit({"x": IMAGES, "label": LABELS}, batch_size=8, **QUIET)


class TestOneBatch:
    def test_a_list_has_the_loss_first_and_a_dict_has_names(self, model):
        for method in (model.train_on_batch, model.test_on_batch):
            logs = method(IMAGES[:8], return_dict=True)
            assert isinstance(logs["loss"], float)
            for more in ((), (IMAGES[:8],), (LABELS[:8],)):
                found = method(LEVELS[:8], *more)
                assert len(found) == len(logs)
                assert 0.3 < found[0] < 1.0

    def test_counts_as_a_step(self):
        model = make()
        losses = [model.train_on_batch(IMAGES[:8])[0] for _ in range(3)]
        assert losses[2] < losses[0]
        assert int(model.train_steps.numpy()) == 3

    def test_predict_on_batch(self, model):
        expected = model(IMAGES[:8])
        np.testing.assert_allclose(model.predict_on_batch(LEVELS[:8]), expected, atol=1e-6)


def test_evaluate_names_what_it_lists(model):
    found = model.evaluate(IMAGES, batch_size=8, **QUIET)
    assert model.metrics_names == ["loss", "bias"]
    logs = model.evaluate(IMAGES, batch_size=8, return_dict=True, **QUIET)
    assert found == [logs["loss"], logs["bias"]]


class TestPipeline:
    @pytest.fixture(scope="class")
    def source(self):
        return load("digits", "test")

    @pytest.fixture(scope="class")
    def model(self, source):
        class Digits(ToyAutoencoder):
            def __init__(self):
                super().__init__()
                self.image_shape = source.image_shape

            def call(self, images):
                return 0.5 * images + tf.cast(0.0 * self.encoder.kernel[0, 0], images.dtype)

        model = Digits()
        model.compile("sgd")
        return model

    def test_itself_and_its_batches(self, model, source):
        training = Pipeline(source, 100)
        for given in ((training,), (training.dataset(),)):
            options = {"steps_per_epoch": 2} if given[0] is not training else {}
            before = int(model.train_steps.numpy())
            model.fit(*given, **options, **QUIET)
            assert int(model.train_steps.numpy()) == before + 2
        test = Pipeline(source, 100, training=False)
        for given in (test, test.dataset()):
            assert model.predict(given, **QUIET).shape == (len(source), *source.image_shape)
            assert model.evaluate(given, **QUIET)
        assert model.predict(training, **QUIET).shape == (200, *source.image_shape)
        history = model.fit(training, validation_data=test, epochs=2, **QUIET).history
        assert len(history["val_loss"]) == 2

    def test_without_an_end(self, model, source):
        endless = Pipeline(source, 100).dataset()
        for method in (model.fit, model.evaluate, model.predict):
            with pytest.raises(ConfigError, match="no end; give the number of steps"):
                method(endless, **QUIET)
        with pytest.raises(ConfigError, match="no end"):
            model.fit(endless, steps_per_epoch=1, validation_data=endless, **QUIET)


class TestCallbacks:
    """Those of Keras, as they come."""

    def fit(self, model, *callbacks, **options):
        options = {"validation_data": (IMAGES,), "epochs": 1, **options, **QUIET}
        return model.fit(IMAGES, batch_size=8, callbacks=callbacks, **options).history

    def test_early_stopping_watches_the_validation_loss(self):
        model = make()
        model.compile(keras.optimizers.SGD(-1.0))  # uphill: the first epoch is the best
        stopping = keras.callbacks.EarlyStopping(restore_best_weights=True, patience=1)
        history = self.fit(model, stopping, epochs=9)
        assert len(history["val_loss"]) == 2
        best = model.evaluate(IMAGES, batch_size=8, **QUIET)[0]
        np.testing.assert_allclose(best, history["val_loss"][0], rtol=1e-6)

    def test_reduce_on_plateau(self):
        model = make()
        callback = keras.callbacks.ReduceLROnPlateau(patience=1, min_delta=10.0)
        self.fit(model, callback, epochs=3)
        assert float(model.optimizer.learning_rate) < 0.01

    def test_checkpoint_of_the_best(self, model, tmp_path):
        path = str(tmp_path / "best.keras")
        self.fit(model, keras.callbacks.ModelCheckpoint(path, save_best_only=True))
        loaded = keras.models.load_model(path)
        expected = model.evaluate(IMAGES, batch_size=8, **QUIET)
        np.testing.assert_allclose(loaded.evaluate(IMAGES, batch_size=8, **QUIET), expected)

    def test_those_that_write(self, model, tmp_path):
        table = tmp_path / "log.csv"
        self.fit(
            model,
            keras.callbacks.TensorBoard(tmp_path / "logs", update_freq=1, histogram_freq=1),
            keras.callbacks.CSVLogger(table),
            keras.callbacks.BackupAndRestore(tmp_path / "backup"),
            keras.callbacks.ModelCheckpoint(tmp_path / "now.weights.h5", save_weights_only=True),
        )
        assert "val_loss" in table.read_text()
        assert list((tmp_path / "logs" / "validation").iterdir())
        assert (tmp_path / "now.weights.h5").is_file()

    def test_those_that_steer(self, model):
        schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 1e-3)
        history = self.fit(model, schedule, keras.callbacks.TerminateOnNaN())
        np.testing.assert_allclose(history["learning_rate"], 1e-3)


class TestOptionsOfFit:
    def test_validation_split(self, model):
        history = model.fit(LEVELS, LABELS, validation_split=0.25, batch_size=6, **QUIET).history
        assert np.isfinite(history["val_loss"][0])
        np.testing.assert_allclose(history["val_bias"], IMAGES[18:].mean(), rtol=1e-5)

    @pytest.mark.parametrize("data", [IMAGES, (IMAGES, LABELS), sets((IMAGES, LABELS))])
    def test_validation_data(self, model, data):
        history = model.fit(IMAGES, validation_data=data, batch_size=8, epochs=2, **QUIET).history
        np.testing.assert_allclose(history["val_bias"], [MEAN, MEAN], rtol=1e-5)

    def test_weights_of_examples(self, model):
        ones = np.ones(24, np.float32)
        for given in ({"sample_weight": ones}, {"class_weight": {0: 1.0, 1: 2.0, 2: 1.0}}):
            with pytest.raises(ConfigError, match=f"{next(iter(given))} was given"):
                model.fit(IMAGES, LABELS, batch_size=8, **given, **QUIET)
        with pytest.raises(ConfigError, match="sample_weight"):
            model.evaluate(IMAGES, sample_weight=ones, **QUIET)
        with pytest.raises(ConfigError, match="sample_weight"):
            model.train_on_batch(IMAGES, sample_weight=ones)
        with pytest.raises(DataError, match="carry weights of examples"):
            model.fit(sets((IMAGES, LABELS, ones)), **QUIET)
        with pytest.raises(DataError, match="a tuple of 4"):
            model.fit(sets((IMAGES, LABELS, LABELS, LABELS)), **QUIET)

    def test_positional_arguments(self, model):
        history = model.fit(IMAGES, None, 8, 2, 0)
        assert len(history.history["loss"]) == 2


class TestCompile:
    @pytest.mark.parametrize(
        "given",
        [{"metrics": ["mse"]}, {"loss": "mse"}, {"weighted_metrics": []}, {"loss_weights": [1.0]}],
        ids=str,
    )
    def test_losses_and_metrics(self, given):
        with pytest.raises(ConfigError, match=f"compile got {next(iter(given))}=.*of its own"):
            ToyAutoencoder().compile("adam", **given)
        with pytest.raises(ConfigError, match="compile got loss='mse'"):
            ToyAutoencoder().compile("adam", "mse")

    @pytest.mark.parametrize(
        "given", [{"run_eagerly": True}, {"jit_compile": True}, {"steps_per_execution": 3}], ids=str
    )
    def test_ways_to_run(self, given):
        model, plain = make(), make()
        model.compile(keras.optimizers.Adam(0.05), **given)
        x, options = sets((IMAGES, LABELS)), {"validation_data": (IMAGES,), **QUIET}
        found, expected = (m.fit(x, **options).history for m in (model, plain))
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-4, err_msg=name)
        assert int(model.train_steps.numpy()) == 3

    def test_several_steps_are_as_many_as_were_asked_for(self):
        model = make()
        model.compile("sgd", steps_per_execution=4)
        endless = sets(IMAGES).repeat()
        with pytest.raises(ConfigError, match=r"10 steps are not a multiple.*execution=2"):
            model.fit(endless, steps_per_epoch=10, **QUIET)
        model.fit(endless, steps_per_epoch=8, **QUIET)
        assert int(model.train_steps.numpy()) == 8


NOT_FINITE = np.where(np.arange(24)[:, None, None, None] == 19, np.nan, IMAGES)
WRONG = {
    "0 to 255": (LEVELS.astype(np.float32), "from .* to 255; .*divide by 255"),
    "-1 to 1": (2 * IMAGES - 1, r"\(x \+ 1\) / 2"),
    "NaN": (NOT_FINITE, "NaN or infinite pixels"),
    "another shape": (IMAGES[:, :3], r"expected \[B, 4, 4, 1\]"),
    "16 bits": (LEVELS.astype(np.int32) * 257, "pixels from"),
    "words": (LEVELS.astype(str), "type <U3"),
}
IN_SETS = {
    **{name: WRONG[name] for name in ("0 to 255", "-1 to 1", "NaN", "another shape")},
    "uint8": (LEVELS, "whose range is not known.*divide 8-bit pixels by 255 in the data set"),
}


def one_sentence(method, message, *args, **kwargs):
    with pytest.raises(UserError, match=message) as caught:
        method(*args, **kwargs)
    assert "\n" not in str(caught.value)


class TestRanges:
    @pytest.mark.parametrize("case", WRONG)
    def test_arrays(self, model, case):
        images, message = WRONG[case]
        for method in (model.fit, model.evaluate, model.predict):
            one_sentence(method, message, images, **QUIET)
        for method in (model.train_on_batch, model.test_on_batch, model.predict_on_batch):
            one_sentence(method, message, images)
        one_sentence(model.fit, message, IMAGES, validation_data=(images, LABELS), **QUIET)

    @pytest.mark.parametrize("case", IN_SETS)
    @pytest.mark.parametrize("form", ["tuples", "TFDS"])
    def test_data_sets(self, model, case, form):
        images, message = IN_SETS[case]
        data = sets((images, LABELS) if form == "tuples" else {"image": images, "label": LABELS})
        for method in (model.fit, model.evaluate, model.predict):
            one_sentence(method, message, data, **QUIET)
        one_sentence(model.fit, message, IMAGES, validation_data=data, batch_size=8, **QUIET)

    @pytest.mark.parametrize("case", ["0 to 255", "NaN"])
    @pytest.mark.parametrize("kind", [generator, Sequence])
    def test_generators(self, model, case, kind):
        images, message = WRONG[case]
        one_sentence(model.fit, message, kind(images, LABELS), **QUIET)

    def test_zero_and_one_are_black_and_white(self, model):
        binary = (LEVELS > 99).astype(np.uint8)
        history = model.fit(binary, batch_size=8, **QUIET).history
        np.testing.assert_allclose(history["pixels"], binary.mean(), rtol=1e-5)

    def test_weights_stay_as_they_were(self):
        model = make()
        before = [w.numpy() for w in model.trainable_variables]
        with pytest.raises(DataError):
            model.fit(sets(2 * IMAGES - 1), **QUIET)
        for old, new in zip(before, model.trainable_variables, strict=True):
            np.testing.assert_array_equal(old, new)


class TestNothingIn:
    @pytest.mark.parametrize("empty", [IMAGES[:0], (IMAGES[:0], LABELS[:0]), LEVELS[:0]])
    def test_arrays(self, model, empty):
        message = "array of images is empty; expected at least one"
        for method in (model.fit, model.evaluate, model.predict):
            one_sentence(method, message, empty, **QUIET)
        for method in (model.train_on_batch, model.test_on_batch, model.predict_on_batch):
            one_sentence(method, message, empty)

    @pytest.mark.parametrize("known", [True, False])
    def test_data_sets_without_a_batch(self, model, known):
        nothing = sets(IMAGES).take(0) if known else sets(IMAGES).filter(lambda x: False)
        for method in (model.fit, model.evaluate, model.predict):
            one_sentence(method, "data set has no batch; expected at least one", nothing, **QUIET)

    def test_an_empty_batch_among_others(self, model):
        batches = iter((IMAGES[:8], IMAGES[:0], IMAGES[8:16]))
        signature = tf.TensorSpec((None, *IMAGES.shape[1:]))
        data = tf.data.Dataset.from_generator(lambda: batches, output_signature=signature)
        one_sentence(model.fit, "a batch of images is empty", data, **QUIET)
        one_sentence(model.fit, "array of images is empty", ((b,) for b in [IMAGES[:0]]), **QUIET)


def test_two_replicas():
    from tfgen.training import strategy_from_name

    with strategy_from_name("mirrored").scope():
        model = make()
    history = model.fit(sets((IMAGES, LABELS)), validation_data=sets(IMAGES), **QUIET).history
    np.testing.assert_allclose(history["pixels"], MEAN, rtol=1e-5)
    np.testing.assert_allclose(history["val_bias"], MEAN, rtol=1e-5)
    one_sentence(model.fit, "divide by 255", sets(255 * IMAGES), **QUIET)
