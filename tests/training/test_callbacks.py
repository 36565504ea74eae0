"""Callbacks: what stops, saves, shows and records a run."""

import contextlib
import csv
import io
import os
import re
import resource
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from toy_model import IMAGES, assert_same_state, batches, make_toy, run_steps, state, train

from tfgen import stopping
from tfgen.errors import UserError
from tfgen.files.images import grid, save_grid
from tfgen.training import (
    Checkpointing,
    CheckpointManager,
    CSVLog,
    NonFiniteError,
    NonFiniteGuard,
    ProgressBar,
    SampleImages,
    TensorBoard,
    TimeLimit,
    WarmupCosine,
    averaged_weights,
)


def fit(model, epochs, callbacks, initial_epoch=0, steps=2):
    data = batches(int(model.train_steps.numpy()))
    return model.fit(
        data,
        epochs=epochs,
        initial_epoch=initial_epoch,
        steps_per_epoch=steps,
        verbose=0,
        shuffle=False,
        callbacks=callbacks,
    )


def plain_toy(**kwargs):
    return make_toy(optimizer=keras.optimizers.SGD(0.01), **kwargs)


class TestNonFiniteGuard:
    def test_names_the_step_range(self):
        model = make_toy(bad_steps=(2, *range(5, 50)))
        run_steps(model, 5)
        good = state(model)
        with pytest.raises(NonFiniteError, match="steps 5 to 8") as error:
            train(model, 10, callbacks=[NonFiniteGuard(max_consecutive=4)])
        assert (error.value.first_step, error.value.last_step) == (5, 8)
        assert isinstance(error.value, UserError)
        assert model.counters()["train_steps"] == 9
        for old, new in zip(good[5:], state(model)[5:], strict=True):
            np.testing.assert_array_equal(old, new)

    def test_single_bad_steps_pass(self):
        model = plain_toy(bad_steps=(1, 3, 5))
        train(model, 7, callbacks=[NonFiniteGuard(max_consecutive=2)])
        assert model.counters()["skipped_steps"] == 3

    @pytest.mark.parametrize("steps", [2, 6])
    def test_a_run_that_ends_among_skips_is_refused(self, steps):
        model = plain_toy(bad_steps=range(1, 50))
        with pytest.raises(NonFiniteError, match=f"steps 1 to {steps - 1}"):
            train(model, steps, callbacks=[NonFiniteGuard()])

    def test_a_part_of_a_run_may_end_among_skips(self):
        model, guard = plain_toy(bad_steps=(1, 2, 3)), NonFiniteGuard(whole_run=False)
        train(model, 4, callbacks=[guard])
        train(model, 4, callbacks=[guard])
        guard.check_end(model)
        assert model.counters()["skipped_steps"] == 3

    def test_one_skip_at_the_end_of_many_steps_passes(self):
        train(plain_toy(bad_steps=(5,)), 6, callbacks=[NonFiniteGuard()])


class TestCheckpointing:
    def test_saves_every_so_many_epochs_and_at_the_end(self, tmp_path):
        model = plain_toy()
        manager = CheckpointManager(tmp_path, keep=9)
        fit(model, 5, [Checkpointing(manager, every_epochs=2)])
        steps = [int(path.stem[-8:]) for path in manager.checkpoints()]
        assert steps == [4, 8, 10]

    def test_saves_within_long_epochs(self, tmp_path):
        manager = CheckpointManager(tmp_path, keep=9)
        callback = Checkpointing(manager, every_minutes=0)
        fit(plain_toy(), 1, [callback], steps=3)
        assert len(manager.checkpoints()) == 3
        restored = plain_toy()
        manager.restore(restored)
        assert restored.counters()["train_steps"] == 3

    def test_resumed_fit_equals_one_that_never_stopped(self, tmp_path):
        # The optimizer averages weights, and `fit` overwrites the weights with them at its end;
        # a checkpoint of the last epoch must hold the weights all the same.
        schedule = {"peak": 0.05, "warmup_steps": 2, "steps_per_epoch": 2, "epochs": 4}

        def optimizer():
            return keras.optimizers.Adam(WarmupCosine(**schedule), use_ema=True, ema_momentum=0.9)

        straight, stopped, resumed = (make_toy(optimizer=optimizer()) for _ in range(3))
        fit(straight, 4, [])
        manager = CheckpointManager(tmp_path)
        fit(stopped, 2, [Checkpointing(manager)])
        manager.restore(resumed)
        fit(resumed, 4, [], initial_epoch=2)
        assert_same_state(straight, resumed)


class TestTimeLimit:
    def test_stops_between_epochs_after_saving(self, tmp_path):
        model = plain_toy()
        manager = CheckpointManager(tmp_path)
        history = fit(model, 9, [TimeLimit(0.0), Checkpointing(manager)])
        assert len(history.epoch) == 1
        assert manager.latest().stem.endswith("00000002")

    def test_stops_within_an_epoch_after_saving(self, tmp_path):
        manager = CheckpointManager(tmp_path)
        limit = TimeLimit(0.0, within_epochs=True)
        fit(plain_toy(), 9, [limit, Checkpointing(manager)], steps=5)
        assert manager.latest().stem.endswith("00000001")

    def test_an_epoch_that_would_not_fit_is_not_begun(self, monkeypatch):
        clock = [0.0]
        monkeypatch.setattr("tfgen.training.callbacks.time.monotonic", lambda: clock[0])
        limit = TimeLimit(10)
        limit.set_model(plain_toy())
        limit.on_train_begin()
        stops = []
        for epoch, seconds in enumerate((100, 200, 150, 100)):
            clock[0] += seconds
            limit.on_epoch_end(epoch)
            stops.append(bool(limit.model.stop_training))
        assert stops == [False, False, True, True]


class TestAverages:
    def test_swap_and_back_is_exact(self):
        model = make_toy()
        run_steps(model, 2)
        before = state(model)
        averages = [v.numpy() for v in model.optimizer._model_variables_moving_average]
        with averaged_weights(model):
            for variable, average in zip(model.trainable_variables, averages, strict=True):
                np.testing.assert_array_equal(variable.numpy(), average)
        for a, b in zip(before, state(model), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_without_averages_or_before_the_first_step(self):
        for model in (plain_toy(), make_toy()):
            before = state(model)
            with averaged_weights(model):
                for a, b in zip(before, state(model), strict=True):
                    np.testing.assert_array_equal(a, b)

    def test_evaluation_sees_the_averages(self):
        model = make_toy()
        run_steps(model, 2)
        before = state(model)
        seen = []
        model.evaluation_logs = lambda data: {
            "bias": tf.fill([tf.shape(data["images"])[0]], tf.reduce_sum(model.hidden.bias))
        }
        data = tf.data.Dataset.from_tensor_slices({"images": IMAGES}).batch(32)
        for context in (contextlib.nullcontext(), averaged_weights(model)):
            with context:
                seen.append(model.evaluate(data, verbose=0, return_dict=True)["bias"])
        average = model.optimizer._model_variables_moving_average[1].numpy().sum()
        np.testing.assert_allclose(seen, [model.hidden.bias.numpy().sum(), average], rtol=1e-6)
        for a, b in zip(before, state(model), strict=True):
            np.testing.assert_array_equal(a, b)


class TestCSVLog:
    def rows(self, path):
        with open(path, newline="") as file:
            return list(csv.DictReader(file))

    def test_resumed_run_continues_without_duplicates(self, tmp_path):
        path = tmp_path / "logs" / "training.csv"
        model = plain_toy(bad_steps=(1,))
        manager = CheckpointManager(tmp_path / "checkpoints")
        saving = Checkpointing(manager, every_epochs=2)
        fit(model, 2, [CSVLog(path, every_steps=3), saving], steps=4)
        assert [row["step"] for row in self.rows(path)] == ["3", "4", "6", "8"]
        fit(model, 3, [CSVLog(path, every_steps=3)], initial_epoch=2, steps=4)
        # The third epoch was not saved, so it happens again; now with a value more.
        manager.restore(model)
        data = tf.data.Dataset.from_tensor_slices({"images": IMAGES}).batch(32)
        log = CSVLog(path, every_steps=3)
        history = train(model, 4, callbacks=[log], validation_data=data).history
        rows = self.rows(path)
        assert [row["step"] for row in rows] == ["3", "4", "6", "8", "9", "12"]
        assert list(rows[0])[:4] == ["step", "epoch", "learning_rate", "skipped_steps"]
        assert float(rows[-1]["loss"]) == pytest.approx(history["loss"][0], rel=1e-6)
        assert rows[-1]["val_loss"] != ""
        assert rows[0]["val_loss"] == ""
        assert {row["skipped_steps"] for row in rows} == {"1"}
        assert float(rows[0]["learning_rate"]) == pytest.approx(0.01)

    def test_foreign_file_is_left_alone(self, tmp_path):
        path = tmp_path / "training.csv"
        path.write_text("a,b\n1,2\n")
        with pytest.raises(UserError, match="move it away"):
            fit(plain_toy(), 1, [CSVLog(path)])
        assert path.read_text() == "a,b\n1,2\n"

    def test_full_disk(self, tmp_path):
        model = plain_toy()
        log = CSVLog(tmp_path / "training.csv")
        log.set_model(model)
        log.on_train_begin()
        log.on_epoch_begin(0)
        log.on_epoch_end(0, {"loss": 1.0})
        before = log.path.read_text()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        model.train_steps.assign(2)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
            with pytest.raises(UserError, match=r"Cannot write .*training.csv: File too large"):
                log.on_epoch_end(1, {"loss": 1.0})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert log.path.read_text() == before
        assert os.listdir(tmp_path) == ["training.csv"]


def events(folder):
    """What TensorBoard would show: tag -> {step: tensor}."""
    found = {}
    for path in sorted(folder.iterdir()):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = tf.make_ndarray(value.tensor)
    return found


class TestTensorBoard:
    def test_full_disk(self, tmp_path, monkeypatch):
        def fail(*args, **kwargs):
            text = "{{function_node flush_0}} events.v2; No space left on device\nFailed to flush"
            raise tf.errors.ResourceExhaustedError(None, None, text)

        monkeypatch.setattr(tf.summary, "scalar", fail)
        words = r"Cannot write \S+: events.v2; No space left on device\. Training is kept"
        with pytest.raises(UserError, match=words):
            fit(plain_toy(), 1, [TensorBoard(tmp_path)])

    def test_scalars_vectors_and_images(self, tmp_path):
        model = make_toy()
        board = TensorBoard(tmp_path, every_steps=2)
        samples = SampleImages(tmp_path / "samples", num_images=4, log_dir=tmp_path)
        history = fit(model, 1, [board, samples], steps=3)
        (tmp_path / "samples" / "step-00000003.png").rename(tmp_path.parent / "moved.png")
        (tmp_path / "samples").rmdir()
        assert len(list(tmp_path.iterdir())) == 1
        found = events(tmp_path)
        assert sorted(found["loss"]) == [2, 3]
        np.testing.assert_allclose(found["loss"][3], history.history["loss"][0], rtol=1e-6)
        vector = [found[f"hidden/{index:02d}"][3] for index in range(3)]
        np.testing.assert_allclose(vector, model.vector_logs()["hidden"], rtol=1e-6)
        np.testing.assert_allclose(found["learning_rate"][3], 0.05, rtol=1e-6)
        assert found["skipped_steps"][3] == 0
        assert sorted(found["samples"]) == [3]


class TestSampleImages:
    def test_every_so_many_epochs_and_at_the_end(self, tmp_path):
        fit(plain_toy(), 3, [SampleImages(tmp_path, num_images=4, every_epochs=2)])
        assert sorted(os.listdir(tmp_path)) == ["step-00000004.png", "step-00000006.png"]
        pictures = [np.asarray(Image.open(path)) for path in sorted(tmp_path.iterdir())]
        np.testing.assert_array_equal(*pictures)  # the toy's samples depend on the seed alone
        assert pictures[0].shape == (2 * 48 + 2, 2 * 48 + 2, 3)

    def test_the_end_of_what_was_left_of_an_epoch_is_not_that_of_the_run(self, tmp_path):
        options = dict(num_images=4, every_epochs=2)
        fit(plain_toy(), 1, [SampleImages(tmp_path, **options, total_epochs=4)], steps=1)
        assert not list(tmp_path.iterdir())
        fit(plain_toy(), 1, [SampleImages(tmp_path, **options, total_epochs=1)], steps=1)
        assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.png"]

    def test_a_run_that_goes_on_draws_what_was_saved_and_not_drawn(self, tmp_path):
        callback = SampleImages(tmp_path, num_images=4, every_epochs=2)
        model = plain_toy()
        fit(model, 2, [callback])
        drawn = (tmp_path / "step-00000004.png").read_bytes()
        callback.draw_lacking(model, epochs_done=2, epochs=3)  # is there
        assert (tmp_path / "step-00000004.png").stat().st_size == len(drawn)
        (tmp_path / "step-00000004.png").unlink()
        callback.draw_lacking(model, epochs_done=1, epochs=3)  # is not due
        assert not os.listdir(tmp_path)
        callback.draw_lacking(model, epochs_done=2, epochs=3)
        assert (tmp_path / "step-00000004.png").read_bytes() == drawn

    def test_a_signal_is_not_kept_waiting_for_one(self, tmp_path, monkeypatch):
        monkeypatch.setattr(stopping, "requested", lambda: signal.SIGTERM)
        fit(plain_toy(), 1, [SampleImages(tmp_path, num_images=4)])
        assert not os.listdir(tmp_path)


class TestImages:
    def test_grid_places_images(self):
        images = np.arange(5).reshape(5, 1, 1, 1) * np.ones([5, 50, 60, 3]) / 5
        picture = grid(images, columns=2)
        assert picture.shape == (3 * 52 - 2, 2 * 62 - 2, 3)
        assert picture.dtype == np.uint8
        assert picture[53, 63].tolist() == [153] * 3  # the fourth image
        assert picture[-1, -1].tolist() == [128] * 3  # no sixth image
        assert (picture[50:52] == 128).all()

    def test_small_images_are_enlarged_by_a_whole_factor(self):
        picture = grid(np.array([[[[0], [255]], [[255], [0]]]], np.uint8))
        assert picture.shape == (48, 48, 3)
        assert picture[23, 23].tolist() == picture[24, 24].tolist() == [0] * 3
        assert picture[23, 24].tolist() == [255] * 3

    def test_odd_values_and_channels(self):
        images = np.full([4, 48, 48, 2], 0.5, np.float32)
        images[0], images[1], images[2] = np.nan, np.inf, -3
        picture = grid(images, columns=4)
        assert [int(picture[0, 50 * index, 0]) for index in range(4)] == [0, 255, 0, 128]

    def test_save(self, tmp_path):
        save_grid(np.zeros([4, 48, 48, 3]), tmp_path / "new" / "grid.png", columns=4)
        with Image.open(tmp_path / "new" / "grid.png") as picture:
            assert picture.size == (4 * 50 - 2, 48)

    @pytest.mark.parametrize("shape", [(0, 8, 8, 1), (8, 8, 1)])
    def test_bad_shapes(self, shape):
        with pytest.raises(ValueError, match="at least one image"):
            grid(np.zeros(shape))


class Terminal(io.StringIO):
    def isatty(self):
        return True


def epoch_lines(out, steps):
    """The lines printed at the ends of epochs; a slow machine prints others between them."""
    return [line for line in out.getvalue().splitlines() if line.split("/")[1].split()[-1] in steps]


class TestProgressBar:
    def test_one_line_per_epoch_where_there_is_no_terminal(self):
        model = plain_toy(bad_steps=(1,))
        out = io.StringIO()
        fit(model, 2, [ProgressBar(file=out)], steps=3)
        first, second = epoch_lines(out, ("3", "6"))
        assert re.fullmatch(
            r"epoch 1/2 step 3/6  \d:\d\d:\d\d left  loss \S+  gradient_norm \S+  penalty \S+  "
            r"skipped 1",
            first,
        )
        assert "0:00:00 left" in second

    def test_resumed_run_counts_the_steps_of_earlier_ones(self):
        model = plain_toy()
        run_steps(model, 4)
        out = io.StringIO()
        bar = ProgressBar(total_steps=8, names=("loss", "absent"), file=out)
        fit(model, 4, [bar], initial_epoch=2)
        first, second = epoch_lines(out, ("6", "8"))
        assert first.startswith("epoch 3/4 step 6/8  ")
        assert second.startswith("epoch 4/4 step 8/8  ")
        assert re.search(r"left  loss \S+$", second)

    def test_what_is_left_of_an_epoch_belongs_to_the_whole_run(self):
        out = io.StringIO()
        bar = ProgressBar(total_steps=8, total_epochs=4, file=out)
        fit(plain_toy(), 1, [bar], steps=1)
        assert out.getvalue().startswith("epoch 1/4 step 1/8  ")

    def test_live_line_on_a_terminal(self, monkeypatch):
        monkeypatch.setenv("TERM", "xterm")
        out = Terminal()
        fit(plain_toy(), 2, [ProgressBar(file=out)], steps=3)
        assert "epoch 2/2 step 6/6" in out.getvalue()
        assert "0:00:00 left" in out.getvalue()
        assert out.getvalue().endswith("\x1b[?25h")  # the cursor is back
