"""What else would one do than HANT? The same network made as fast in other ways.

    python tools/studies/hant.py --config=configs/hant/fashion_mnist.py:cpu --workdir=runs/fast

The folder is one in which tfgen-transform has ended with the same recipe. Beside its student there
are the best of as many plans by the linear surrogate alone (the first plan), a random plan within
the same budget, the best that leaves layers out (single shot), for networks that were trained
here a uniformly narrower one, as wide as the student's latency allows, and the teacher with three
quarters of its weights pruned to zero by TensorFlow Model Optimization. All learn from labels and
from the teacher as the student did, and as long; all latencies are measured in turns in the end,
those of a plan for int8 in both precisions (every network quantised without training). With
`--trainings=3` each is trained with two further seeds, and accuracies are means and standard
deviations. Writes `controls.json` and prints a table. What was found is kept: the same command
again goes on.
"""

import argparse
import importlib.util
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfgen.data import Pipeline, Source
from tfgen.files.json_file import read_json, write_json
from tfgen.runs.experiment import load_source
from tfgen.runs.transforming import Transforming, complete, networks
from tfgen.runs.transforming.measured import backend_of
from tfgen.runs.workdir import Workdir
from tfgen.search import latency
from tfgen.search.hant import (
    HANT,
    InfeasibleError,
    Plan,
    mobile_network,
    quantize,
    solve_plan,
)
from tfgen.search.hant.chain import at_rest
from tfgen.search.hant.int8 import tfmot
from tfgen.search.hant.teachers import read_network

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


def study(config, workdir, data_dir=None, trainings: int = 1) -> dict[str, Any]:
    """Trains the others, measures all, writes `controls.json` into the folder and returns it.

    Args:
        config: dict of the transformation, complete.
        workdir: `Workdir` of one that has ended.
        data_dir: path of the folder with data sets, or None.
        trainings: integer, how often each network is trained, with consecutive seeds.
    """
    transforming = Transforming(config, workdir, data_dir, say=print)
    hant, source, held_out = transforming.prepared()
    images, _ = transforming.some(held_out, config["plan"]["num_images"])
    calibrating, _ = transforming.some(source, config["quantization"]["num_images"])
    is_for_int8 = config["latency"]["precision"] == "int8"
    budget, folder = transforming.budget_ms(hant), workdir.path / "controls"
    plans = read_json(transforming.student / "plans.json")["found"]
    teacher = hant.library.network.network
    student = transforming.student
    found = {"teacher": [teacher], "HANT": [read_network(student / "student.keras")]}
    seeds = [config["training"]["seed"] + number for number in range(trainings)]

    def timed(items):
        """Milliseconds by name, of models in float32 and of files."""
        blocks = [latency.Block(name, item) for name, item in items.items()]
        runs = dict(num_runs=config["latency"]["num_runs"], repeat=0, at_once=len(blocks))
        backend = backend_of({**config["latency"], "precision": "float32"})
        table = latency.measure(blocks, backend, **runs)
        return dict(zip(items, map(float, table.milliseconds(items))))

    def in_int8(models):
        options = {key: config["quantization"][key] for key in ("num_images", "float_stem")}
        seed = config["training"]["seed"]
        return {
            name: quantize(model, calibrating, seed=seed, **options)
            for name, model in models.items()
        }

    def measure(models):
        """Milliseconds in the precision that was planned for."""
        if not is_for_int8:
            return timed(models)
        return timed({name: file.content for name, file in in_int8(models).items()})

    def begun(make):
        """The first weights of a control: a plan's network, with statistics of its own."""
        made = make()
        return hant.best([made], images)[1] if isinstance(made, Plan) else made

    controls = {
        "random plan": lambda: random_plan(hant, budget, config["training"]["seed"]),
        "layers left out": lambda: skipping_plan(hant, budget),
    }
    first = plan_of(hant, tuple(plans["plans"][0]["choices"]))
    if list(first.choices) != plans["chosen"]["choices"]:
        controls["first plan (K = 1)"] = lambda: first
    if config["model"]["source"] == "mobile":
        took = measure({"HANT": found["HANT"][0]})["HANT"]
        controls = {"narrower": lambda: narrower(config, took, measure), **controls}
    for name, make in controls.items():
        own = folder / _file_name(name)
        if not (own / "start.keras").is_file():
            try:
                networks.save_network(begun(make), own / "start.keras")
            except InfeasibleError as error:
                print(f"{name}: {error}", flush=True)
                continue
        start = read_network(own / "start.keras")
        found[name] = [transforming.taught(hant, start, own).network]
    for name in ("HANT", *(name for name in controls if name in found)):
        own = folder / _file_name(name)
        start = read_network((student if name == "HANT" else own) / "start.keras")
        for seed in seeds[1:]:
            made = transforming.taught(hant, start, own / f"seed{seed}", seed)
            found[name].append(made.network)
    found["pruned"] = []
    for seed in seeds:
        path = folder / "pruned" / f"seed{seed}.keras"
        if not path.is_file():
            networks.save_network(pruned(config, source, teacher, seed), path)
        found["pruned"].append(read_network(path))
    files = {name: in_int8(dict(enumerate(made))) for name, made in found.items() if is_for_int8}
    measured = {name: made[0] for name, made in found.items()}
    times = timed(measured | {f"{name} int8": made[0].content for name, made in files.items()})
    test = load_source(transforming.training, data_dir, config["evaluation"]["split"])
    rows = {
        name: {
            "parameters": made[0].count_params(),
            "latency_ms": times[name],
            "speed_up": times["teacher"] / times[name],
            "accuracies": [accuracy(at_rest(network), test) for network in made],
        }
        for name, made in found.items()
    }
    for name, made in files.items():
        rows[name]["int8_latency_ms"] = times[f"{name} int8"]
        rows[name]["int8_accuracies"] = [accuracy(made[k].predict, test) for k in sorted(made)]
    result = {"images": test.extent, "budget_ms": budget, "rows": rows, "plans": plans["losses"]}
    write_json(workdir.path / "controls.json", result)
    print("\n".join(table(result)), flush=True)
    return result


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)


def accuracy(run: Callable, source) -> float:
    """The share of all images on which a function of images to answers is right."""
    right = 0
    for start in range(0, len(source), 100):
        rows = np.arange(start, min(start + 100, len(source)))
        found = run(np.asarray(source.images[rows], np.float32) / np.float32(255))
        right += int(np.sum(np.argmax(found, axis=1) == source.labels[rows]))
    return right / len(source)


def table(result: Mapping[str, Any]) -> list[str]:
    """The rows as Markdown."""
    rows, slowest = result["rows"], None
    lines = ["| Network | Parameters | Latency (ms) | Faster | Accuracy |", "|---|---|---|---|---|"]
    if any("int8_latency_ms" in row for row in rows.values()):
        lines = [lines[0] + " int8 (ms) | Faster | Accuracy |", lines[1] + "---|---|---|"]
        slowest = rows["teacher"]["latency_ms"]
    for name, row in rows.items():
        lines.append(
            f"| {name} | {row['parameters']:,} | {row['latency_ms']:.4f} | "
            f"{row['speed_up']:.2f}x | {_mean(row['accuracies'])} |"
        )
        if slowest is not None:
            took = row["int8_latency_ms"]
            right = _mean(row["int8_accuracies"])
            lines[-1] += f" {took:.4f} | {slowest / took:.2f}x | {right} |"
    return lines


def _mean(shares) -> str:
    """A mean, and the standard deviation where there are several."""
    spread = f" ± {np.std(shares, ddof=1):.2%}" if len(shares) > 1 else ""
    return f"{np.mean(shares):.2%}{spread}"


def read_recipe(named: str) -> dict[str, Any]:
    """The configuration that a command line names, complete.

    Args:
        named: string, FILE or FILE:MODE.
    """
    path, _, mode = named.partition(":")
    spec = importlib.util.spec_from_file_location("recipe", pathlib.Path(path))
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    return complete(recipe.get_config(mode))


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", required=True, help="FILE or FILE:MODE, as of tfgen-transform")
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--data_dir")
    parser.add_argument("--trainings", type=int, default=1, help="of every network, each a seed")
    arguments = parser.parse_args()
    recipe, workdir = read_recipe(arguments.config), Workdir(arguments.workdir)
    study(recipe, workdir, arguments.data_dir, arguments.trainings)


if __name__ == "__main__":
    main()
