"""Are cells that a search finds better than cells drawn at random, and is a latency met?

    python tools/studies/unas_search.py --data_dir=data --folder=study

CIFAR-10 images of half the size, three cells of one node, four operations. Three searches of
different seeds each end as `ArchitectureTuner` ends them: of the most probable cells those that
are best with the shared weights are trained as trials, and the one that is best on validation
images is what was found. These and eight random cells are then trained from new weights, all for as
many steps and as often, and tested. A further search has a latency target: the parts of its
networks are timed with LiteRT, the random cells' networks beside them say what a sum of parts is
worth, and what was found is timed again beside them.

No step looks at test images but the last of every training. Rows go to `results.json` as they are
done, searches and trials are saved, and the same command again does what is missing; then the
picture `pareto.png` is drawn and a summary printed. `--first_seed` draws everything anew: searches,
random cells, initial weights. `--time_again` times all networks once more, on a quieter machine.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from absl import flags

from tfgen.bin import app, terminal
from tfgen.errors import UserError

FOLDER = flags.DEFINE_string("folder", None, "Results, and what is needed to go on.")
SEARCHES = flags.DEFINE_integer("num_searches", 3, "Searches by the loss alone.", lower_bound=1)
RANDOM = flags.DEFINE_integer("num_random", 8, "Cells drawn at random.", lower_bound=2)
IMAGES = flags.DEFINE_integer("num_images", 6000, "Training images.", lower_bound=500)
HELD_OUT = flags.DEFINE_integer("num_validation", 2000, "Validation images.", lower_bound=100)
CHANNELS = flags.DEFINE_integer("num_channels", 8, "Channels of the first cell.", lower_bound=2)
WARMUP = flags.DEFINE_integer("warmup_steps", 2000, "Steps of the weights alone.", lower_bound=1)
STEPS = flags.DEFINE_integer("search_steps", 600, "Steps of a search after that.", lower_bound=1)
DRAWN = flags.DEFINE_integer(
    "num_architectures", 1, "Architectures a batch; 0: one an image.", lower_bound=0
)
TEMPERATURE = flags.DEFINE_float("temperature", 0.1, "Of relaxed architectures.")
TRIALS = flags.DEFINE_integer("trials", 8, "Cells that a search trains.", lower_bound=1)
EPOCHS = flags.DEFINE_integer("epochs", 8, "Epochs of every training.", lower_bound=2)
REPEATS = flags.DEFINE_integer("repeats", 1, "Trainings of what is compared.", lower_bound=1)
SHARE = flags.DEFINE_float("target", 0.8, "Latency target: of the random cells' mean.")
SEED = flags.DEFINE_integer("first_seed", 0, "Of all seeds.", lower_bound=0)
TIME_AGAIN = flags.DEFINE_bool("time_again", False, "Times all networks anew, and stops.")

SIDE, CELLS, NODES, OPERATIONS, BATCH, CALLED_WITH = 16, 3, 1, 4, 64, 16
PAIRS, EVERY = 32, 50  # images of a half of a search's batch; steps of its epoch
CANDIDATES, CANDIDATE_BATCHES = 128, 40  # that the shared weights rank, and on how much
PIXELS = {"pixel_mean": (0.4914, 0.4822, 0.4465), "pixel_std": (0.2470, 0.2435, 0.2616)}
SHAPE = (SIDE, SIDE, 3)
SETTINGS = (
    *(IMAGES, HELD_OUT, CHANNELS, WARMUP, STEPS, DRAWN, TEMPERATURE),
    *(TRIALS, EPOCHS, REPEATS, SHARE, SEED),
)


def main(argv) -> None:
    """What the tool does, in order."""
    del argv
    if FOLDER.value is None:
        raise UserError("--folder is missing; for example --folder=study")
    with terminal.quiet_import(app.DEBUG.value):
        from unas_search_report import Rows, draw, summary

    settings = {flag.name: flag.value for flag in SETTINGS}
    rows = Rows(Path(FOLDER.value, "results.json"), settings, terminal.say)
    if TIME_AGAIN.value:
        rows.put("timed again", time_again(rows))
    else:
        study(rows)
    draw(rows.all, Path(FOLDER.value, "pareto.png"))
    terminal.say(summary(rows.all))


def study(rows) -> None:
    """Everything that is missing, in order."""
    images = read_images()
    cells = random_cells()
    for number in range(SEARCHES.value):
        rows.add(f"search {number}", lambda number=number: searched(number, images))
    for number, cell in enumerate(cells):
        rows.add(f"random {number}", lambda cell=cell: trained(cell, images))
    for number in range(SEARCHES.value):
        rows.add(f"found {number}", lambda number=number: trained(rows[f"search {number}"], images))
    rows.add("parts", lambda: timed_parts(cells))
    rows.add("search for latency", lambda: searched(SEARCHES.value, images, rows["parts"]))
    rows.add("found for latency", lambda: trained(rows["search for latency"], images))
    rows.add("timed again", lambda: time_again(rows))


def read_images() -> dict:
    """Sources of images of half the size: to train on, to choose by, and to test on."""
    from tfgen.data import Source, load

    def small(split):
        source = load("cifar10", split, app.DATA_DIR.value)
        images = np.asarray(source.images[:], np.float32)
        images = images.reshape(-1, SIDE, 2, SIDE, 2, 3).mean(axis=(2, 4))
        arrays = {"images": np.uint8(np.rint(images)), "labels": source.labels}
        return Source("cifar10 of half the size", split, arrays)

    both = small("train").take(IMAGES.value + HELD_OUT.value, 0)
    train, validation = both.split_off(HELD_OUT.value, 0)
    return dict(train=train, validation=validation, test=small("test"))


def random_cells() -> list[dict]:
    """Cells whose every choice is drawn evenly."""
    from tfgen.search.unas import CellGenotype
    from tfgen.search.unas.cell_supernet import cell_groups

    rng = np.random.default_rng(SEED.value)
    return [
        CellGenotype.of_choices(
            {
                key: rng.integers(size, size=count)
                for key, (count, size) in cell_groups(OPERATIONS, NODES).items()
            }
        ).to_config()
        for _ in range(RANDOM.value)
    ]


def searched(number: int, images, parts=None) -> dict:
    """The cell that a search finds: of its most probable ones the best on validation images."""
    import keras
    import tensorflow as tf

    from tfgen.data import Pipeline
    from tfgen.search.unas import UNAS
    from tfgen.search.unas.phases import Phases
    from tfgen.search.unas.tuning import ArchitectureTuner, choices_of
    from tfgen.training import CSVLog

    keras.backend.clear_session()
    seed = SEED.value + number
    supernet = dict(
        name="cells",
        image_shape=SHAPE,
        num_channels=CHANNELS.value,
        num_cells=CELLS,
        num_operations=OPERATIONS,
        num_nodes=NODES,
        skip_below=0.0,
    )
    model = UNAS(
        supernet,
        [] if parts is None else [latency_criterion(parts)],
        num_architectures=DRAWN.value or None,
        temperature=TEMPERATURE.value,
        seed=seed,
        **PIXELS,
    )

    def batches(start):
        halves = (
            Pipeline(images["train"], PAIRS, seed=seed, flip=True, crop_padding=2),
            Pipeline(images["validation"], PAIRS, seed=seed + 1),
        )
        pairs = tf.data.Dataset.zip(*(half.dataset(start) for half in halves))
        return pairs.map(lambda one, other: one | {f"validation_{k}": v for k, v in other.items()})

    phases = Phases(
        EVERY,
        WARMUP.value // EVERY,
        STEPS.value // EVERY,
        weight_rates=(3e-3, 5e-4),
        logit_rates=(1e-2, 2e-3),
        ema_momentum=0.99,
    )
    folder = Path(FOLDER.value, f"search{number}")
    folder.mkdir(exist_ok=True)
    tuner = ArchitectureTuner(
        model,
        lambda genotype: classifier(genotype.to_config(), seed, images),
        batches,
        phases,
        max_trials=TRIALS.value,
        directory=folder,
        project_name="trials",
        num_candidates=CANDIDATES,
        candidate_batches=CANDIDATE_BATCHES,
        search_options={"callbacks": [CSVLog(folder / "curves.csv", every_steps=EVERY)]},
    )
    tuner.search(**fit_options(seed, images), verbose=0)
    trials = [
        {
            "genotype": model.supernet.genotype(choices_of(model, t.hyperparameters)).to_config(),
            "validation_accuracy": t.score,
        }
        for t in tuner.oracle.get_best_trials(TRIALS.value)
    ]
    best = choices_of(model, tuner.get_best_hyperparameters()[0])
    row = {"genotype": trials[0]["genotype"], "trials": trials}
    return row | {"entropy": float(model.distribution.entropy())} | model.measured(best)


def classifier(genotype, seed: int, images):
    """A cell's network with new weights, compiled as all are trained."""
    import keras

    from tfgen.search.unas import SearchedClassifier
    from tfgen.training import WarmupCosine

    sizes = {"num_channels": CHANNELS.value, "num_cells": CELLS}
    options = dict(network=sizes, weight_penalty=3e-4, seed=seed, **PIXELS)
    model = SearchedClassifier(genotype, SHAPE, **options)
    steps = len(images["train"]) // BATCH
    rate = WarmupCosine(0.05, steps, steps, EPOCHS.value, final=0.0, per_step=True)
    model.compile(keras.optimizers.SGD(rate, momentum=0.9, nesterov=True), jit_compile=False)
    return model


def fit_options(seed: int, images) -> dict:
    """What `fit` is given, of a trial and of what is compared."""
    from tfgen.data import Pipeline

    data = Pipeline(images["train"], BATCH, seed=seed, flip=True, crop_padding=2)
    held_out = images["validation"]
    return dict(
        x=data.dataset(),
        steps_per_epoch=data.steps_per_epoch,
        epochs=EPOCHS.value,
        shuffle=False,  # the pipeline does
        validation_data=(np.float32(held_out.images) / 255.0, held_out.labels),
        validation_freq=EPOCHS.value,
        validation_batch_size=500,
    )


def trained(cell, images) -> dict:
    """Accuracy on test images of a cell's network, trained from new weights, and from others."""
    import keras

    from tfgen.search.unas.networks import num_macs, num_parameters

    genotype, test, runs = cell.get("genotype", cell), images["test"], []
    for repeat in range(REPEATS.value):
        keras.backend.clear_session()
        seed = SEED.value + 1000 + repeat  # none that a search or a trial has
        model = classifier(genotype, seed, images)
        history = model.fit(**fit_options(seed, images), verbose=0).history
        logits = model.predict(np.float32(test.images) / 255.0, batch_size=500, verbose=0)
        right = float(np.mean(logits.argmax(axis=-1) == test.labels))
        runs.append((right, history["val_accuracy"][-1], history["accuracy"][-1]))
    kinds = ("test", "validation", "train")
    each = {f"{kind}_accuracies": list(map(float, run)) for kind, run in zip(kinds, zip(*runs))}
    means = {f"{kind}_accuracy": float(np.mean(each[f"{kind}_accuracies"])) for kind in kinds}
    sizes = {"parameters": num_parameters(model.served), "macs": num_macs(model.served)}
    return {"genotype": genotype, **means, **each, **sizes}


def network_block(name: str, cell):
    """A network as it is timed."""
    from tfgen.search import latency
    from tfgen.search.unas import CellGenotype
    from tfgen.search.unas.networks import cell_network

    sizes = dict(image_shape=SHAPE, num_channels=CHANNELS.value, num_cells=CELLS)
    return latency.Block(name, lambda: cell_network(CellGenotype.from_config(cell), **sizes))


def timed(blocks, name: str, networks=()):
    """Milliseconds of blocks that take turns with a network: others may be about."""
    from tfgen.search import latency

    backend = latency.LiteRTBackend(batch_size=CALLED_WITH)
    path = Path(FOLDER.value, f"{name}.json")
    reference = network_block("reference", random_cells()[0])
    options = dict(num_runs=200, at_once=200, reference=reference, networks=networks)
    return latency.measure(blocks, backend, path, **options)


def cell_space():
    """The networks' parts."""
    from tfgen.search.unas.latency import CellSpace

    return CellSpace(SHAPE, 10, CHANNELS.value, CELLS, "small", OPERATIONS, NODES)


def timed_parts(cells) -> dict:
    """What sums of parts are worth, by the random networks; and the target."""
    from tfgen.search import latency
    from tfgen.search.unas import CellGenotype

    space = cell_space()
    networks = [space.network(CellGenotype.from_config(cell)) for cell in cells]
    table = timed(space.blocks, "parts", networks)
    keys = {f"random {k}": network.parts for k, network in enumerate(networks)}
    whole = [network.key for network in networks]
    sums = np.array([table.milliseconds(parts).sum() for parts in keys.values()])
    report = latency.Additivity(tuple(keys), sums, table.milliseconds(whole), table.metadata)
    report.plot(Path(FOLDER.value, "additivity.png"))
    found = latency.calibration(table)
    return {
        "factor": found.factor,
        "pearson": report.pearson,
        "error": found.error,
        "target": SHARE.value * float(np.mean(report.measured)),
        "measured": dict(zip(keys, report.measured.tolist())),
    }


def latency_criterion(parts) -> dict:
    """The latency of networks, as a search takes it."""
    from tfgen.search.latency import LatencyTable

    table = LatencyTable.read(Path(FOLDER.value, "parts.json"))
    return dict(
        name="latency",
        measure=cell_space().latency(table).times(parts["factor"]),
        target=parts["target"],
        form="lagrangian",
        multiplier_rate=0.05,
        num_draws=8,
    )


def time_again(rows) -> dict:
    """All networks anew, in a process of their own; the random ones say how fast the machine is."""
    names = [name for name in rows.all if name.startswith(("random", "found"))]
    path = Path(FOLDER.value, "again.json")
    path.unlink(missing_ok=True)
    table = timed([network_block(name, rows[name]["genotype"]) for name in names], path.stem)
    found = dict(zip(names, table.milliseconds(names).tolist()))
    before = rows["parts"]["measured"]
    speed = float(np.mean([before[name] / found[name] for name in before]))
    return {
        "measured": found,
        "speed": speed,
        "latency": found["found for latency"],
        "share_of_target": found["found for latency"] * speed / rows["parts"]["target"],
        "mean_difference": table.repeat.mean_difference if table.repeat else 0.0,
    }


if __name__ == "__main__":
    app.run("unas_search", main)
