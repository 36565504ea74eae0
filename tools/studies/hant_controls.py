"""What one would do instead of HANT: other plans of its own, a narrower network, a pruned one."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfgen.data import Pipeline, Source
from tfgen.search.hant import HANT, InfeasibleError, Plan, mobile_network, solve_plan
from tfgen.search.hant.int8 import tfmot

WIDTHS = tuple(round(0.05 * k, 2) for k in range(2, 20))


def random_plan(hant: HANT, budget_ms: float, seed: int = 0) -> Plan:
    """The first plan drawn evenly that takes between nine tenths of a budget and all of it.

    Args:
        hant: the `HANT`, scored and measured.
        budget_ms: float, milliseconds of the whole network.
        seed: integer.
    """
    rng, (scores, latencies) = np.random.default_rng(seed), hant.tables()
    usable = [np.flatnonzero(np.isfinite(a) & np.isfinite(b)) for a, b in zip(scores, latencies)]
    nearest = None
    for _ in range(20_000):
        choices = tuple(int(rng.choice(places)) for places in usable)
        plan = plan_of(hant, choices)
        took = hant.predicted_ms(plan)
        if took <= budget_ms and (nearest is None or took > hant.predicted_ms(nearest)):
            nearest = plan
            if took >= 0.9 * budget_ms:
                break
    if nearest is None:
        raise InfeasibleError(f"no random plan takes {budget_ms:.4g} ms or less")
    return nearest


def skipping_plan(hant: HANT, budget_ms: float) -> Plan:
    """The plan of a budget that leaves layers out and replaces none.

    Args:
        hant: the `HANT`, scored and measured.
        budget_ms: float, milliseconds of the whole network.

    Raises:
        InfeasibleError: leaving out all that can be is not enough.
    """
    scores, latencies = hant.tables()
    families = [hant.library.operations[name]["family"] for name in hant.operations]
    kept = np.isin(families, ("teacher", "identity"))
    rest = hant.latency_ms - sum(row[families.index("teacher")] for row in latencies)
    scores = [np.where(kept, row, np.inf) for row in scores]
    return plan_of(hant, tuple(solve_plan(scores, latencies, budget_ms - rest)))


def plan_of(hant: HANT, choices: tuple[int, ...]) -> Plan:
    """A plan of some choices, with what they lose and take."""
    score, took = (
        float(sum(row[place] for row, place in zip(rows, choices))) for rows in hant.tables()
    )
    return Plan(choices, score, {"latency": took}, optimal=False)


def narrower(config: Mapping[str, Any], most_ms: float, measure: Callable) -> keras.Model:
    """The widest network like the teacher, but narrower, that takes no more than some time.

    Args:
        config: dict of the transformation, complete; its network is of `mobile_network`.
        most_ms: float, milliseconds.
        measure: function of a dict of models to milliseconds by name.
    """
    options = {k: v for k, v in config["model"].items() if k not in ("source", "width")}
    models = {width: mobile_network(**options, width=width) for width in WIDTHS}
    times = measure({str(width): model for width, model in models.items()})
    fitting = [width for width in WIDTHS if times[str(width)] <= most_ms]
    return models[max(fitting) if fitting else WIDTHS[0]]


def pruned(
    config: Mapping[str, Any],
    source: Source,
    teacher: keras.Model,
    seed: int = 0,
    sparsity: float = 0.75,
) -> keras.Model:
    """The teacher trained on while more and more of its smallest weights are kept at zero.

    Args:
        config: dict of the transformation, complete; its fine-tuning says how long.
        source: `Source` of the training images.
        teacher: functional `keras.Model`.
        seed: integer, of the order of the images. Defaults to `0`.
        sparsity: float, the share of weights that are zero in the end. Defaults to `0.75`.

    Returns:
        `keras.Model`.
    """
    import tf_keras

    fields, tuning = config["data"], config["fine_tuning"]
    options = {key: fields[key] for key in ("flip", "crop_padding")}
    batches = Pipeline(source, fields["batch_size"], seed=seed, **options)
    steps = tuning["epochs"] * (tuning["steps_per_epoch"] or batches.steps_per_epoch)
    data = batches.dataset().map(lambda batch: (batch["images"], batch["labels"])).take(steps)
    methods = tfmot.library().sparsity.keras
    often, last = max(1, steps // 100), int(0.75 * steps)
    schedule = methods.PolynomialDecay(0.0, sparsity, 0, last - last % often, frequency=often)

    def wrapped(layer):
        known = isinstance(layer, (tf_keras.layers.Conv2D, tf_keras.layers.Dense))
        return methods.prune_low_magnitude(layer, schedule) if known else layer

    network = tfmot.taught(
        teacher,
        teacher,
        tf_keras.models.clone_model(tfmot.twin(teacher), clone_function=wrapped),
        data.apply(tf.data.experimental.assert_cardinality(steps)),
        epochs=1,
        **{key: tuning[key] for key in ("learning_rate", "temperature", "student_loss_weight")},
        callbacks=[methods.UpdatePruningStep()],
        verbose=0,
    )
    found = keras.models.clone_model(teacher)
    for layer in methods.strip_pruning(network).layers:
        if layer.weights:
            found.get_layer(layer.name).set_weights(layer.get_weights())
    return found
