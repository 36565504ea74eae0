"""Are cells that a search finds better than cells drawn at random, and is a latency met?

    python tools/studies/unas_search.py --data_dir=data --folder=study

CIFAR-10 images of half the size, three cells of one node, four operations. Three searches of
different seeds each end with a cell; these and eight random cells are trained from new weights, all
for as many steps, and tested once. A further search has a latency target: the parts of its networks
are timed with LiteRT, the random cells' networks beside them say what a sum of parts is worth, and
what was found is timed again beside them.

Rows go to `results.json` as they are done, searches are saved step by step, and the same command
again does what is missing; then the picture `pareto.png` is drawn and a summary printed.
`--time_again` times all networks once more, on a quieter machine.
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
CHANNELS = flags.DEFINE_integer("num_channels", 8, "Channels of the first cell.", lower_bound=2)
WARMUP = flags.DEFINE_integer("warmup_steps", 400, "Steps of the weights alone.", lower_bound=1)
STEPS = flags.DEFINE_integer("search_steps", 200, "Steps of a search after that.", lower_bound=1)
EPOCHS = flags.DEFINE_integer("epochs", 8, "Epochs of every training.", lower_bound=2)
SHARE = flags.DEFINE_float("target", 0.8, "Latency target: of the random cells' mean.")
TIME_AGAIN = flags.DEFINE_bool("time_again", False, "Times all networks anew, and stops.")

SIDE, CELLS, NODES, OPERATIONS, BATCH, CALLED_WITH = 16, 3, 1, 4, 64, 16
PAIRS = 32  # of images, in a batch of a search
PIXELS = {"pixel_mean": (0.4914, 0.4822, 0.4465), "pixel_std": (0.2470, 0.2435, 0.2616)}
SHAPE = (SIDE, SIDE, 3)


def main(argv) -> None:
    """What the tool does, in order."""
    del argv
    if FOLDER.value is None:
        raise UserError("--folder is missing; for example --folder=study")
    with terminal.quiet_import(app.DEBUG.value):
        from unas_search_report import Rows, draw, summary

    flags_of_it = (IMAGES, CHANNELS, WARMUP, STEPS, EPOCHS, SHARE)
    settings = {flag.name: flag.value for flag in flags_of_it}
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
    for seed in range(SEARCHES.value):
        rows.add(f"search {seed}", lambda seed=seed: searched(seed, images))
        rows.add(f"found {seed}", lambda seed=seed: trained(rows[f"search {seed}"], seed, images))
    for seed, cell in enumerate(cells):
        rows.add(f"random {seed}", lambda seed=seed, cell=cell: trained(cell, seed, images))
    rows.add("parts", lambda: timed_parts(cells))
    rows.add("search for latency", lambda: searched(SEARCHES.value, images, rows["parts"]))
    rows.add(
        "found for latency", lambda: trained(rows["search for latency"], SEARCHES.value, images)
    )
    rows.add("timed again", lambda: time_again(rows))


def read_images() -> dict:
    """Sources of images of half the size: for the trainings, both halves of a search, and test."""
    from tfgen.data import Source, load

    def small(split):
        source = load("cifar10", split, app.DATA_DIR.value)
        images = np.asarray(source.images[:], np.float32)
        images = images.reshape(-1, SIDE, 2, SIDE, 2, 3).mean(axis=(2, 4))
        arrays = {"images": np.uint8(np.rint(images)), "labels": source.labels}
        return Source("cifar10 of half the size", split, arrays)

    train = small("train").take(IMAGES.value, 0)
    weights, validation = train.split_off(IMAGES.value // 10, 0)
    return dict(train=train, weights=weights, validation=validation, test=small("test"))


def random_cells() -> list[dict]:
    """Cells whose every choice is drawn evenly."""
    from tfgen.search.unas import CellGenotype
    from tfgen.search.unas.cell_supernet import cell_groups

    rng = np.random.default_rng(0)
    return [
        CellGenotype.of_choices(
            {
                key: rng.integers(size, size=count)
                for key, (count, size) in cell_groups(OPERATIONS, NODES).items()
            }
        ).to_config()
        for _ in range(RANDOM.value)
    ]


def searched(seed: int, images, parts=None) -> dict:
    """The cell that a search ends with: the best of its 16 most probable ones, measured."""
    import keras
    import tensorflow as tf

    from tfgen.data import Pipeline
    from tfgen.search.unas import UNAS
    from tfgen.search.unas.phases import Phases, run_search
    from tfgen.training import CheckpointManager, CSVLog

    keras.backend.clear_session()
    supernet = dict(
        name="cells",
        image_shape=SHAPE,
        num_channels=CHANNELS.value,
        num_cells=CELLS,
        num_operations=OPERATIONS,
        num_nodes=NODES,
        skip_below=0.0,
    )
    model = UNAS(supernet, [] if parts is None else [latency_criterion(parts)], seed=seed, **PIXELS)
    folder = Path(FOLDER.value, f"search{seed}")
    folder.mkdir(exist_ok=True)

    def batches(start):
        halves = (
            Pipeline(images["weights"], PAIRS, seed=seed, flip=True, crop_padding=2),
            Pipeline(images["validation"], PAIRS, seed=seed + 1),
        )
        pairs = tf.data.Dataset.zip(*(half.dataset(start) for half in halves))
        return pairs.map(lambda one, other: one | {f"validation_{k}": v for k, v in other.items()})

    every = 50
    phases = Phases(
        every,
        WARMUP.value // every,
        STEPS.value // every,
        weight_rates=(3e-3, 5e-4),
        logit_rates=(5e-2, 1e-2),
    )
    log = CSVLog(folder / "curves.csv", every_steps=every)
    run_search(model, batches, phases, CheckpointManager(folder / "checkpoints"), [log])
    found = model.best(data=batches(0).take(10))[0]
    row = {
        "genotype": model.supernet.genotype(found.choices).to_config(),
        "entropy": float(model.distribution.entropy()),
        "log_prob": found.log_prob,
        "objective": found.objective,
    }
    return row | model.measured(found.choices)


def trained(cell, seed: int, images) -> dict:
    """Accuracy on test images of a cell's network, trained from new weights."""
    import keras

    from tfgen.data import Pipeline
    from tfgen.search.unas import SearchedClassifier
    from tfgen.search.unas.networks import num_macs, num_parameters
    from tfgen.training import WarmupCosine

    keras.backend.clear_session()
    genotype = cell.get("genotype", cell)
    model = SearchedClassifier(
        genotype,
        SHAPE,
        network={"num_channels": CHANNELS.value, "num_cells": CELLS},
        weight_penalty=3e-4,
        seed=seed,
        **PIXELS,
    )
    data = Pipeline(images["train"], BATCH, seed=seed, flip=True, crop_padding=2)
    steps = data.steps_per_epoch
    rate = WarmupCosine(0.05, steps, steps, EPOCHS.value, final=0.0, per_step=True)
    model.compile(keras.optimizers.SGD(rate, momentum=0.9, nesterov=True), jit_compile=False)
    history = model.fit(data.dataset(), steps_per_epoch=steps, epochs=EPOCHS.value, verbose=0)
    test = images["test"]
    logits = model.predict(np.float32(test.images) / 255.0, batch_size=500, verbose=0)
    return {
        "genotype": genotype,
        "test_accuracy": float(np.mean(logits.argmax(axis=-1) == test.labels)),
        "train_accuracy": float(history.history["accuracy"][-1]),
        "parameters": num_parameters(model.served),
        "macs": num_macs(model.served),
    }


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
