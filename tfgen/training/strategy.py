"""Where a model is trained: devices and workers by name."""

import os
from collections.abc import Callable

import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.files.json_file import parse_json
from tfgen.training.precision import set_precision

STRATEGIES = ("default", "mirrored", "multi_worker", "tpu", "tpu:NAME")


def strategy_from_name(
    name: str = "default", precision: str | None = None
) -> tf.distribute.Strategy:
    """The distribution strategy of this name.

    Build and compile the model inside `strategy.scope()`, then call `fit` as usual. A
    `"multi_worker"` strategy must be made before TensorFlow runs anything else in the process.

    Args:
        name: `"default"` (one device), `"mirrored"` (all GPUs of this machine, or all logical
            CPUs if it has none), `"multi_worker"` (the cluster described by `TF_CONFIG`), `"tpu"`
            or `"tpu:NAME"`.
        precision: string; if given, passed to `set_precision`. None leaves the precision as it is.

    Returns:
        A `tf.distribute.Strategy`.

    Raises:
        ConfigError: the name is unknown, or what it names is not there.
    """
    if precision is not None:
        set_precision(precision)
    if name == "default":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        return _mirrored_strategy()
    if name == "multi_worker":
        return _multi_worker_strategy()
    if name == "tpu" or name.startswith("tpu:"):
        return _tpu_strategy(name.partition(":")[2])
    raise ConfigError(f"The strategy must be one of {', '.join(STRATEGIES)}; got {name!r}.")


def distribute(
    strategy: tf.distribute.Strategy, make_dataset: Callable[[int, int], tf.data.Dataset]
):
    """A data set for `fit` of which every worker reads its own shard.

    `fit` can shard a plain data set itself, but then each worker produces all batches and throws
    most of them away.

    Args:
        strategy: the `tf.distribute.Strategy` of the model.
        make_dataset: function called as `make_dataset(shard_index, num_shards)`; yields the batches
            of one worker, which are split evenly over that worker's replicas.

    Returns:
        A `tf.data.Dataset`, or its distributed form under a strategy of several replicas.

    Raises:
        ConfigError: a worker's batch cannot be split evenly over its replicas.
    """
    if strategy.num_replicas_in_sync == 1:
        return make_dataset(0, 1)

    def shard(context):
        replicas = context.num_replicas_in_sync // context.num_input_pipelines
        dataset = make_dataset(context.input_pipeline_id, context.num_input_pipelines)
        return _split_batches(dataset, replicas)

    return strategy.distribute_datasets_from_function(shard)


def _split_batches(dataset, replicas):
    if replicas == 1:
        return dataset
    batch_size = tf.nest.flatten(dataset.element_spec)[0].shape[0]
    if batch_size is None:
        raise ConfigError(
            "Several replicas need batches of one known size; batch with drop_remainder=True."
        )
    if batch_size % replicas:
        raise ConfigError(
            f"A worker's batch of {batch_size} cannot be split evenly over its {replicas} "
            "replicas; choose a multiple."
        )
    return dataset.rebatch(batch_size // replicas, drop_remainder=True)


def _mirrored_strategy():
    devices = [device.name for device in tf.config.list_logical_devices("GPU")]
    if devices:
        return tf.distribute.MirroredStrategy(devices)
    # On CPUs TensorFlow would choose collective operations, whose keys start anew with every
    # strategy: a second strategy in the process then meets the shapes of the first, and aborts.
    return tf.distribute.MirroredStrategy(
        [device.name for device in tf.config.list_logical_devices("CPU")],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )


def _multi_worker_strategy():
    example = (
        'TF_CONFIG=\'{"cluster": {"worker": ["host0:12345", "host1:12345"]}, '
        '"task": {"type": "worker", "index": 0}}\''
    )
    try:
        config = parse_json(os.environ.get("TF_CONFIG", ""), "TF_CONFIG")
        workers, index = list(config["cluster"]["worker"]), int(config["task"]["index"])
    except (ValueError, KeyError, TypeError):
        raise ConfigError(
            f"The multi_worker strategy needs the environment variable TF_CONFIG, such as {example}"
        ) from None
    if not 0 <= index < len(workers):
        raise ConfigError(
            f"TF_CONFIG names task index {index}, but its cluster has {len(workers)} workers."
        )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise ConfigError(
            "The multi_worker strategy must be made before TensorFlow runs anything else in the "
            f"process ({error})."
        ) from error


def _tpu_strategy(name):
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
        which = f"named {name!r} " if name else ""
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(f"No TPU {which}can be reached from here: {reason}") from error
