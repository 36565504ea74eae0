"""Cuts `nvae_logistic_flow.npz` out of the full file, which is too large to keep here.

    python tests/reference/extract.py FULL_FILE tests/reference/nvae_logistic_flow.npz

Every number is as it was. Of the four tensors of logits, a hundred channels a pixel, the first
image is kept; what is computed per image from all of them (KL, densities, losses) stays whole.
"""

import sys

import numpy as np

LOGITS = (
    "logits",
    "train_mode/logits",
    "sample_logits_temperature_1.0",
    "sample_logits_temperature_0.7",
)


def main(full: str, target: str) -> None:
    """Writes the smaller file."""
    with np.load(full) as values:
        kept = {name: values[name][:1] if name in LOGITS else values[name] for name in values.files}
    np.savez_compressed(target, **kept)


if __name__ == "__main__":
    main(*sys.argv[1:])
