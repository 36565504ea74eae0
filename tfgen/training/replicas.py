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
