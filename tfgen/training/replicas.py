"""The few questions a training step asks about the replicas it runs on."""

from collections.abc import Sequence

import tensorflow as tf


def num_replicas() -> int:
    """Replicas that step together, on all workers."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def replica_id():
    """Number of this replica among all workers'; 0 outside of a replica."""
    replica = tf.distribute.get_replica_context()
    return 0 if replica is None else replica.replica_id_in_sync_group


def sum_over_replicas(value: tf.Tensor) -> tf.Tensor:
    """The sum of the replicas' values, in replica context."""
    if num_replicas() == 1:
        return value
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)


def mean_over_replicas(value):
    """The mean of the replicas' values, a tensor or a list of them, in replica context."""
    if num_replicas() == 1:
        return value
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, value)


def gather_over_replicas(value: tf.Tensor) -> tf.Tensor:
    """The replicas' `[B, ...]` one after the other, `[replicas * B, ...]`, in replica context.

    All replicas must have as many rows. (`ReplicaContext.all_gather` returned one replica's rows
    alone where the batch size is not known while tracing.)
    """
    count = num_replicas()
    if count == 1:
        return value
    before = replica_id()
    rest = [[0, 0]] * value.shape.rank
    alone = tf.pad(tf.expand_dims(value, 0), [[before, count - 1 - before], *rest])
    return tf.reshape(sum_over_replicas(alone), [-1, *value.shape[1:]])


def mean_updates(updates: Sequence[tuple]) -> list[tuple]:
    """`(variable, value)` pairs with the replicas' mean as value, so that copies never part."""
    if num_replicas() == 1 or not updates:
        return list(updates)
    values = [tf.cast(value, variable.dtype) for variable, value in updates]
    return list(zip([variable for variable, _ in updates], mean_over_replicas(values)))


def is_multi_worker(strategy: tf.distribute.Strategy) -> bool:
    """Whether the strategy spans several processes by `TF_CONFIG`."""
    return (
        isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        and strategy.extended._in_multi_worker_mode()
    )
