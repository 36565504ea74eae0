r"""Draws images from a trained generator into PNG files.

tfgen-sample --workdir=runs/digits --num_images=64 --temperature=0.8
tfgen-sample --preset=nvae_mnist --workdir=runs/mnist-samples --individual
"""

from collections.abc import Sequence

from absl import flags

from tfgen.bin import app, loading, terminal
from tfgen.bin.drawing import BATCH_SIZE, NUM_IMAGES, SEED

TEMPERATURE = app.finite(
    flags.DEFINE_float(
        "temperature", 1.0, "Scale on the prior's standard deviation.", lower_bound=0.0
    )
)
INDIVIDUAL = flags.DEFINE_bool("individual", False, "One PNG per image instead of one grid.")
COLUMNS = flags.DEFINE_integer(
    "columns", None, "Of the grid; default: about square.", lower_bound=1
)


def main(argv: Sequence[str]) -> None:
    """What the binary does, in order."""
    del argv
    with terminal.quiet_import(app.DEBUG.value):
        from tfgen.files.images import grid_of_batches, save_picture
        from tfgen.runs.pictures import save_individually
        from tfgen.runs.sampling_cost import SamplingCost, in_words

        loaded = loading.load_generator(in_parts=True)
    count = NUM_IMAGES.value or 64
    default = loaded.workdir.samples / f"seed_{SEED.value}_temperature_{TEMPERATURE.value:g}"
    output = loading.output_or(default)
    cost = SamplingCost()
    with terminal.progress("sampling", count) as advance:
        batches = _batches(loaded.generator, count, advance, cost)
        if INDIVIDUAL.value:
            save_individually(batches, count, output, ours=output == default)
        else:
            output = output if output.suffix == ".png" else output.with_name(output.name + ".png")
            save_picture(grid_of_batches(batches, count, COLUMNS.value), output)
    loaded.workdir.write_metrics("samples", {**_options(count), **cost.record()})
    terminal.say(f"{count} images in {output}, {in_words(cost.record())}")


def _options(count):
    return {
        "num_images": count,
        "temperature": TEMPERATURE.value,
        "seed": SEED.value,
        "batch_size": BATCH_SIZE.value or 64,
    }


def _batches(generator, count, advance, cost):
    """Batches of samples, with the bar moved after each and what it took noted."""
    batches = generator.frozen().counted_batches(
        count,
        temperature=TEMPERATURE.value,
        seed=SEED.value,
        batch_size=BATCH_SIZE.value or 64,
    )
    for batch in cost.noted(batches):
        yield batch
        advance(len(cost.evaluations))


def run() -> None:
    """The console script."""
    app.run("tfgen-sample", main)


if __name__ == "__main__":
    run()
