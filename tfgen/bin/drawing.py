"""Flags of the binaries that draw random numbers: how many, how many at once, from which seed."""

from absl import flags

NUM_IMAGES = flags.DEFINE_integer(
    "num_images",
    None,
    "How many; default: 64 samples, or all images to score. Fewer of these are drawn at random.",
    lower_bound=1,
)
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", None, "Images computed at once; changes no image and no number.", lower_bound=1
)
SEED = flags.DEFINE_integer("seed", 0, "Image k of a seed is always the same image.")
