r"""Draws images from a trained generator into PNG files.

tfgen-sample --workdir=runs/digits --num_images=64 --temperature=0.8
tfgen-sample --preset=nvae_mnist --workdir=runs/mnist-samples --individual
"""

from collections.abc import Sequence

from absl import flags

from tfgen.bin import app, loading, terminal
from tfgen.bin.drawing import BATCH_SIZE, NUM_IMAGES, SEED

TEMPERATURE = flags.DEFINE_float(
    "temperature", 1.0, "Scale on the prior's standard deviation.", lower_bound=0.0
)
INDIVIDUAL = flags.DEFINE_bool("individual", False, "One PNG per image instead of one grid.")
COLUMNS = flags.DEFINE_integer(
    "columns", None, "Of the grid; default: about square.", lower_bound=1
)


def main(argv: Sequence[str]) -> None:
    """What the binary does, in order."""
    del argv
    with terminal.quiet_import(app.DEBUG.value):
        from tfgen.files import save_grid
        from tfgen.runs.pictures import save_pixels

        loaded = loading.load_generator()
    images = loaded.generator.frozen().sample(
        NUM_IMAGES.value or 64,
        temperature=TEMPERATURE.value,
        seed=SEED.value,
        batch_size=BATCH_SIZE.value or 64,
    )
    name = f"seed_{SEED.value}_temperature_{TEMPERATURE.value:g}"
    output = loading.output_or(loaded.workdir.samples / name)
    if INDIVIDUAL.value:
        width = len(str(len(images) - 1))
        for index, image in enumerate(images):
            save_pixels(image, output / f"{index:0{width}d}.png")
        print(f"{len(images)} images in {output}")
        return
    path = output if output.suffix == ".png" else output.with_name(output.name + ".png")
    save_grid(images, path, COLUMNS.value)
    print(f"{len(images)} images in {path}")


def run() -> None:
    """The console script."""
    app.run("tfgen-sample", main)


if __name__ == "__main__":
    run()
