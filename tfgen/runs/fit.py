"""The run of one training: restore, say what will happen, fit, save; read it top to bottom."""

import contextlib
from collections.abc import Iterator

from tfgen import stopping
from tfgen.errors import ConfigError, DataError, UserError, plain_user_errors
from tfgen.files.names import printable
from tfgen.generative import Generator
from tfgen.runs import plan as plans
from tfgen.runs.base_model import check_unchanged
from tfgen.runs.data_record import DataRecord
from tfgen.runs.experiment import Experiment, check_executions
from tfgen.runs.workdir import Workdir
from tfgen.training import (
    Checkpointing,
    CheckpointManager,
    CSVLog,
    NonFiniteGuard,
    ProgressBar,
    SampleImages,
    StopOnSignal,
    TensorBoard,
    TimeLimit,
    weights_kept,
)
from tfgen.training.precision import half_precision_note
from tfgen.training.stretches import stretches

# Losing more than this to a power cut would hurt; epochs of the large recipes take longer.
MINUTES_BETWEEN_SAVES = 20.0
SAMPLE_GRIDS = 20  # of a whole run


def train(experiment: Experiment, workdir: Workdir, plan: dict) -> None:
    """Trains until the configured number of epochs, from the last checkpoint if there is one.

    Args:
        experiment: the `Experiment` to train.
        workdir: the `Workdir` where the run lies; it was compared with the experiment's
            configuration.
        plan: dict, the plan of the run, see `tfgen.runs.plan.describe`.

    Raises:
        UserError: see `tfgen.training`; what was saved before is kept. Another process trains in
            the same folder.
        Stopped: a signal arrived; the state was saved first.
    """
    chief = experiment.strategy.extended.should_checkpoint
    with workdir.claimed(chief):
        _train(experiment, workdir, plan, chief)


def _train(experiment, workdir, plan, chief):
    model, steps = experiment.model, experiment.steps_per_epoch
    manager = CheckpointManager(workdir.checkpoints)
    if chief:
        manager.directory.mkdir(parents=True, exist_ok=True)
    manager.restore(model)
    _check_base(experiment)
    start = int(model.train_steps.numpy())
    check_executions(model, -start % steps, "the epoch that was begun lacks")
    if chief:
        _say(plans.announce(plan, str(workdir.path), start))
        if note := half_precision_note():
            _say(note)
        record = DataRecord(workdir.path)
        if start and (change := record.change(experiment.source)):
            _say(change)
        workdir.write_config(experiment.config)
        record.write(experiment.source)

    guard = NonFiniteGuard(experiment.config["training"]["max_consecutive_skips"], whole_run=False)
    callbacks = [StopOnSignal(), guard, *_callbacks(experiment, workdir, manager, chief)]
    if start and start % steps == 0:
        for callback in callbacks:
            if isinstance(callback, SampleImages):
                callback.draw_lacking(model, start // steps, experiment.epochs)
    # A step may take minutes, and is saved.
    with (
        stopping.patient(),
        _kept(workdir, model, manager, start, chief),
        weights_kept(model),
    ):
        for first_epoch, epochs, epoch_steps in stretches(start, steps, experiment.epochs):
            if model.ended_early():  # in an earlier process
                break
            model.fit(
                experiment.dataset(int(model.train_steps.numpy())),
                initial_epoch=first_epoch,
                epochs=epochs,
                steps_per_epoch=epoch_steps,
                callbacks=callbacks,
                shuffle=False,  # the pipeline does
                verbose=0,
            )
            if model.stop_training:
                break
        stopping.check()
        if chief:
            workdir.check_present()
        guard.check_end(model)
        _check_base(experiment)
        if model.finish():
            manager.save(model)
    if chief:
        out_of_time = any(getattr(callback, "is_over", False) for callback in callbacks)
        print(_outcome(model, steps * experiment.epochs, out_of_time), flush=True)


def _outcome(model, total: int, out_of_time: bool) -> str:
    """How far a run has come that is not to go on, in a line for a person."""
    done = int(model.train_steps.numpy())
    text = f"trained {done:,} of {total:,} steps"
    if skipped := model.counters()["skipped_steps"]:
        text += f"; {skipped:,} of their updates were skipped, being not finite"
    if done < total and (reason := model.ended_early()):
        text += f"; the run is finished: {reason}"
    elif done < total and out_of_time:
        text += (
            "; config.training.max_minutes is over, and the same command goes on for as long again"
        )
    return text


def _say(text):
    print(printable(text), flush=True)


@contextlib.contextmanager
def _kept(workdir, model, manager, start: int, chief: bool) -> Iterator[None]:
    """Saves what was trained when data that are read as they are needed prove damaged.

    What fails because the folder is gone says so.
    """
    try:
        with plain_user_errors():
            yield
    except DataError as error:
        done = int(model.train_steps.numpy())
        if done == start:
            raise
        if chief:
            manager.save(model)
        raise DataError(f"{error}; all {done:,} steps until then are saved") from error
    except UserError:
        if chief:
            workdir.check_present()
        raise


def _check_base(experiment: Experiment) -> None:
    """A frozen generator is bitwise the one that was loaded, after restoring and after training."""
    if experiment.base_fingerprint is not None:
        check_unchanged(experiment.model, experiment.base_fingerprint, experiment.config)


def _samples(experiment, workdir):
    """Grids of images, of what generates any."""
    if isinstance(experiment.model, Generator):
        every_epochs = max(1, experiment.epochs // SAMPLE_GRIDS)
        yield SampleImages(
            workdir.samples,
            every_epochs=every_epochs,
            log_dir=workdir.logs,
            total_epochs=experiment.epochs,
        )


def _callbacks(experiment, workdir, manager, chief):
    """What happens beside training; only the chief of several workers writes and shows."""
    options, callbacks = experiment.config["training"], []
    if options["max_minutes"] is not None:
        if experiment.strategy.num_replicas_in_sync > 1 and not chief:
            raise ConfigError("config.training.max_minutes stops one worker only; leave it out")
        callbacks.append(TimeLimit(options["max_minutes"]))
    callbacks += experiment.model.training_callbacks(
        experiment.held_out_dataset(), workdir.path if chief else None
    )
    if chief:
        report_steps = options["report_steps"]
        # A row whose step was never saved is dropped by the run that goes on; one that was never
        # written would be lacking. A picture can be drawn anew, and no epoch waits for it.
        callbacks += [
            CSVLog(workdir.logs / "training.csv", every_steps=report_steps),
            TensorBoard(workdir.logs, every_steps=report_steps),
            Checkpointing(manager, every_minutes=MINUTES_BETWEEN_SAVES),
            *_samples(experiment, workdir),
            ProgressBar(
                experiment.epochs * experiment.steps_per_epoch,
                names=experiment.model.progress_names,
                total_epochs=experiment.epochs,
            ),
        ]
    return callbacks
