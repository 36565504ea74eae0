"""From a configuration to a compiled model and its data, in the right order and scope."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfgen import data
from tfgen.errors import ConfigError, DataError
from tfgen.ops.checks import one_of
from tfgen.optimizers import SGD, Adam, Adamax, AdamW, ClippedAdam, Fromage
from tfgen.runs.base_model import load_base, resolve
from tfgen.runs.config import complete
from tfgen.systems.presets import make_model
from tfgen.systems.registry import arguments_of, find_system
from tfgen.training import JointOptimizer, WarmupCosine, distribute, strategy_from_name

OPTIMIZERS = {
    "adamax": Adamax,
    "adam": Adam,
    "adamw": AdamW,
    "clipped_adam": ClippedAdam,
    "fromage": Fromage,
    "sgd": SGD,
}
_WITHOUT_EPSILON = ("fromage", "sgd")  # nothing is divided by a size of gradients


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What a configuration means on this machine.

    Attributes:
        config: dict, complete; `model.total_steps` and `training.steps_per_epoch` are resolved.
        model: a `keras.Model`, compiled inside the strategy's scope, and built unless only to be
            described.
        strategy: the `tf.distribute.Strategy` that it trains with.
        source: the `Source` of the training images, or None when they were not asked for.
        steps_per_epoch: integer; None when it depends on data that were not looked at.
        held_out: the `Source` of images set aside by `config.data.held_out`, or None.
        base_fingerprint: string, fingerprint of the generator that the model stands on, or None.
    """

    config: dict[str, Any]
    model: keras.Model
    strategy: tf.distribute.Strategy
    source: Any
    steps_per_epoch: int | None
    held_out: Any = None
    base_fingerprint: str | None = None

    @property
    def epochs(self) -> int:
        return self.config["training"]["epochs"]

    def dataset(self, start_step: int = 0):
        """Endless training batches from `start_step` on, for `fit` under the strategy."""

        def shard(index, count):
            pipeline = training_pipeline(self.config, self.source, index, count)
            return pipeline.dataset(start_step)

        return distribute(self.strategy, shard)

    def held_out_dataset(self):
        """One pass over the images set aside, prepared as for evaluation; None without any."""
        if self.held_out is None:
            return None
        batch_size = self.config["evaluation"]["batch_size"]
        return evaluation_pipeline(self.config, self.held_out, batch_size).dataset()


def build_experiment(
    config: Mapping[str, Any],
    *,
    data_dir: str | None = None,
    strategy: str = "default",
    precision: str = "float32",
    jit_compile: bool | None = None,
    describe_only: bool = False,
) -> Experiment:
    """Builds what a configuration describes.

    Args:
        config: dict of the sections `model`, `data`, `optimizer`, `training`, `evaluation`, and
            `vae`.
        data_dir: path of the folder looked at first for the data, or None.
        strategy: string, see `tfgen.training.strategy_from_name`.
        precision: "float32", "mixed_bfloat16" or "mixed_float16".
        jit_compile: whether XLA compiles the step; None: where there is a GPU or TPU.
        describe_only: whether to look for no data and allocate no weights, whatever their size; the
            number of steps is then that of the published data set.

    Raises:
        ConfigError, DataError: the user's mistakes, each with the field and the remedy.
    """
    config = complete(resolve(config))
    # First of all: a cluster has to be joined before TensorFlow runs anything else.
    scope = strategy_from_name(strategy, precision)
    source = None if describe_only else load_source(config, data_dir)
    source, held_out = set_aside(source, config["data"]["held_out"])
    steps_per_epoch = config["training"]["steps_per_epoch"]
    if steps_per_epoch is None:
        steps_per_epoch = _steps_per_epoch(config, source)
    if steps_per_epoch is not None:
        config["training"]["steps_per_epoch"] = steps_per_epoch
        _resolve_total_steps(config, steps_per_epoch)
    base = None
    with scope.scope():
        model = build_model(config, with_variables=not describe_only)
        if not describe_only:
            base = load_base(model, config)
        if source is not None and model.num_classes is not None:
            source.check_classes(model.num_classes)
        model.compile(
            optimizer=build_optimizer(config, steps_per_epoch or 1),
            jit_compile=_has_accelerator() if jit_compile is None else jit_compile,
            steps_per_execution=config["training"]["steps_per_execution"],
        )
    if steps_per_epoch is not None:
        check_executions(model, steps_per_epoch, "an epoch has")
    return Experiment(config, model, scope, source, steps_per_epoch, held_out, base)


def check_executions(model: keras.Model, steps: int, whose: str) -> None:
    """Keras runs whole executions: a remainder would train steps that nobody asked for.

    Raises:
        ConfigError: the steps are no multiple of those of an execution.
    """
    count = model.steps_per_execution
    if steps % count:
        nearest = max(d for d in range(1, count) if steps % d == 0)
        raise ConfigError(
            f"config.training.steps_per_execution is {count}, but {whose} {steps} steps; expected "
            f"a divisor of them, such as {nearest}"
        )


def build_model(config: Mapping[str, Any], with_variables: bool = True) -> keras.Model:
    """The model of a complete configuration."""
    try:
        return make_model(config["model"], with_variables)
    except (TypeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"config.model does not make a model: {error}") from error


def build_optimizer(config: Mapping[str, Any], steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """The optimizer of a complete configuration, with its schedule.

    With `optimizer.base` there are two that step as one: of the prior, and of the model underneath.
    """
    section = dict(config["optimizer"])
    different = section.pop("base", None)
    epochs = config["training"]["epochs"]
    own = _one_optimizer(section, steps_per_epoch, epochs)
    if different is None or not config["model"].get("train_vae", True):
        return own
    base = _one_optimizer({**section, **different}, steps_per_epoch, epochs)
    argument = find_system(config["model"]["name"]).base.argument
    return JointOptimizer({"prior": own, argument: base})


def _one_optimizer(section, steps_per_epoch: int, epochs: int) -> keras.optimizers.Optimizer:
    options = dict(section)
    name = options.pop("name")
    one_of("config.optimizer.name", name, sorted(OPTIMIZERS))
    momentum, per_step = options.pop("ema_momentum"), options.pop("per_step")
    schedule = WarmupCosine(
        peak=options.pop("learning_rate"),
        warmup_steps=round(options.pop("warmup_epochs") * steps_per_epoch),
        steps_per_epoch=steps_per_epoch,
        epochs=epochs,
        final=options.pop("final_learning_rate"),
        # By themselves as classifiers are published: those of SGD.
        per_step=name == "sgd" if per_step is None else per_step,
    )
    if name in _WITHOUT_EPSILON:
        del options["epsilon"]
    if momentum is not None:
        options.update(use_ema=True, ema_momentum=momentum)
    return OPTIMIZERS[name](learning_rate=schedule, **options)


def load_source(
    config: Mapping[str, Any],
    data_dir: str | None,
    split: str | None = None,
    name: str | None = None,
    other_classes: bool = False,
):
    """The images of a complete configuration, brought to the channels of its model.

    Of the data set trained on, they are those of `config.data.classes`.

    Args:
        config: dict, the complete configuration.
        data_dir: path of the folder looked at first, or None.
        split: string, instead of the training split; None is that.
        name: instead of the data set trained on.
        other_classes: whether to take, of the data set trained on, the classes that were not.

    Raises:
        DataError: there are none, or they have another size than the model's.
    """
    expected = image_shape_of(config)
    name = config["data"]["name"] if name is None else name
    source = data.load(
        name,
        split=split or config["data"]["split"],
        data_dir=data_dir,
        image_size=_resized(name, expected),
        channels=None if expected is None else expected[-1],
    )
    if expected is not None and source.image_shape != expected:
        raise DataError(
            f"images of {name!r} have shape {source.image_shape}, but "
            f"config.model.image_shape is {expected}; set one to the other"
        )
    classes = config["data"].get("classes")
    if classes is None or name != config["data"]["name"]:
        return source
    return source.of_classes(classes, other_classes)


def image_shape_of(config: Mapping[str, Any]) -> tuple[int, ...] | None:
    """`(H, W, C)` that a configuration's model says it takes, itself or the one underneath."""
    model, base = config["model"], find_system(config["model"]["name"]).base
    model = model if base is None else model.get(base.argument, model)
    shape = model.get("image_shape")
    return None if shape is None else tuple(shape)


def set_aside(source, share: float):
    """Images to train on and images held out, None where there are none.

    Args:
        source: the `Source` of all, or None.
        share: float, part of the images that is held out.
    """
    if source is None or not share:
        return source, None
    return source.split_off(max(1, round(share * len(source))))


def _resized(name, image_shape):
    """The size to bring images to that have none of their own."""
    if image_shape is None:
        return None
    return image_shape[:2] if name.startswith(("folder:", "tfds:")) else None


def training_pipeline(config: Mapping[str, Any], source, shard_index: int = 0, num_shards: int = 1):
    """Augmented, endless batches of one worker."""
    section = config["data"]
    if section["batch_size"] % num_shards:  # otherwise every worker would see another batch
        raise ConfigError(
            f"config.data.batch_size is {section['batch_size']}; "
            f"expected a multiple of the {num_shards} workers"
        )
    return data.Pipeline(
        source,
        section["batch_size"] // num_shards,
        seed=config["training"]["seed"],
        training=True,
        num_bits=section["num_bits"],
        binarize=section["binarize"],
        flip=section["flip"],
        crop_padding=section["crop_padding"],
        resized_crop=section["resized_crop"],
        colour_jitter=section["colour_jitter"],
        shard_index=shard_index,
        num_shards=num_shards,
    )


def evaluation_pipeline(config: Mapping[str, Any], source, batch_size: int, binarized: bool = True):
    """One pass in order: the same preparation without augmentation.

    Args:
        config: dict, the complete configuration.
        source: the `Source` of the images.
        batch_size: integer, images of all batches but the last.
        binarized: whether to draw pixels from a seed, where the configuration binarises; otherwise
            they are as in the data set.
    """
    section = config["data"]
    return data.Pipeline(
        source,
        batch_size,
        seed=config["training"]["seed"],
        training=False,
        num_bits=section["num_bits"],
        binarize=section["binarize"] if binarized else None,
    )


def _steps_per_epoch(config, source):
    if source is None:
        return _published_steps(config)
    steps = training_pipeline(config, source).steps_per_epoch
    if steps < 1:
        raise DataError(
            f"{config['data']['name']!r} has {len(source)} images, fewer than one batch of "
            f"config.data.batch_size = {config['data']['batch_size']}; lower it"
        )
    return steps


def _published_steps(config):
    """Steps per epoch by the catalogue's number of images; None for other data."""
    info = data.CATALOGUE.get(config["data"]["name"])
    images = info.num_images.get(config["data"]["split"]) if info is not None else None
    if images is None or config["data"]["classes"] is not None:
        return None
    images -= round(config["data"]["held_out"] * images)
    return max(1, images // config["data"]["batch_size"])


def _resolve_total_steps(config, steps_per_epoch):
    """The KL warm-up is a part of the whole run, so its length follows from data and epochs."""
    takes_it = "total_steps" in arguments_of(find_system(config["model"]["name"]).load())
    if takes_it and config["model"].get("total_steps") is None:
        config["model"]["total_steps"] = steps_per_epoch * config["training"]["epochs"]


def _has_accelerator():
    # XLA pays off for whole steps on GPUs and TPUs; on CPUs it is slower at convolutions.
    return any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU"))
