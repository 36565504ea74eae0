r"""Draws images from a trained generator into PNG files.

tfgen-sample --workdir=runs/digits --num_images=64 --temperature=0.8
tfgen-sample --preset=nvae_mnist --workdir=runs/mnist-samples --individual
"""

from collections.abc import Sequence

from absl import flags

from tfgen.bin import app, terminal
from tfgen.errors import UserError

NUM_IMAGES = flags.DEFINE_integer("num_images", 64, "How many.", lower_bound=1)
TEMPERATURE = flags.DEFINE_float(
    "temperature", 1.0, "Scale on the prior's standard deviation.", lower_bound=0.0
)
SEED = flags.DEFINE_integer("seed", 0, "Image k of a seed is always the same image.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Images computed at once.", lower_bound=1)
INDIVIDUAL = flags.DEFINE_bool("individual", False, "One PNG per image instead of one grid.")
COLUMNS = flags.DEFINE_integer("columns", 8, "Of the grid.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", None, "File, or folder with --individual; default: samples/")


def main(argv: Sequence[str]) -> None:
    """What the binary does, in order."""
    del argv
    with terminal.quiet_import(app.DEBUG.value):
        from tfgen.bin import pictures
        from tfgen.bin.loading import load

        loaded = load()
    images = loaded.generator.sample(
        NUM_IMAGES.value,
        temperature=TEMPERATURE.value,
        seed=SEED.value,
        batch_size=BATCH_SIZE.value,
    )
    name = f"seed_{SEED.value}_temperature_{TEMPERATURE.value:g}"
    output = app.path_or(OUTPUT.value, loaded.workdir.samples / name)
    if INDIVIDUAL.value:
        if output.exists() and not output.is_dir():
            raise UserError(f"--output={output} is a file; --individual needs a folder")
        width = len(str(len(images) - 1))
        for index, image in enumerate(images):
            pictures.write_png(output / f"{index:0{width}d}.png", pictures.pixels(image))
        print(f"{len(images)} images in {output}")
        return
    path = output if output.suffix == ".png" else output.with_name(output.name + ".png")
    pictures.write_png(path, pictures.grid(images, min(COLUMNS.value, len(images))))
    print(f"{len(images)} images in {path}")


def run() -> None:
    """The console script."""
    app.run("tfgen-sample", main)


if __name__ == "__main__":
    run()
