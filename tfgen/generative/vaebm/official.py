"""Reads the authors' energy networks (arXiv:2010.00654, their released checkpoints)."""

from collections.abc import Mapping

import numpy as np

from tfgen.errors import CheckpointError
from tfgen.generative.nvae.official import assign_slots, kernel_slots
from tfgen.generative.vaebm.energy import ARCHITECTURES, EnergyNetwork
from tfgen.generative.vaebm.vaebm import VAEBM

# How the authors draw from each of their energies (their README): eta and steps at test time, and
# what the loss was shown.
SAMPLERS = {
    "cifar10": dict(step_size=8e-5, num_steps=10, sample_steps=16, negatives="sample"),
    "celeba64": dict(step_size=5e-6, num_steps=10, sample_steps=20, negatives="mean"),
    "lsun_church64": dict(step_size=4e-6, num_steps=10, sample_steps=20, negatives="mean"),
    "celeba_hq256": dict(step_size=3e-6, num_steps=6, sample_steps=24, negatives="mean"),
}


def slots(network: EnergyNetwork) -> dict[str, tuple]:
    """Where every entry of an official energy lives; as `nvae.official.slots`."""
    bank, parts = network.bank, {"conv1": network.stem, "linear": network.head}
    for index, block in enumerate(network.blocks):
        parts[f"blocks.{index}.conv1"] = block.first
        parts[f"blocks.{index}.conv2"] = block.second
        if block.skip is not None:
            parts[f"blocks.{index}.skip.0"] = block.skip
    return {k: v for name, part in parts.items() for k, v in kernel_slots(bank, name, part)}


def vaebm_from_official(vae, state: Mapping[str, np.ndarray]) -> VAEBM:
    """A VAEBM of the authors' energy over their VAE, with the chain that it was trained with.

    Args:
        vae: an `NVAE` with a Normal decoder, of the data that the energy belongs to.
        state: dict of arrays by official name.

    Raises:
        CheckpointError: the entries are those of no energy network of the paper.
    """
    options = options_from_official(state, vae.image_shape)
    sampler = SAMPLERS.get(options["architecture"], {})
    model = VAEBM(vae, options, potential="official", data_init_batches=0, **sampler)
    model.build()
    load_official(model.energy, state)
    model.initialized.assign(1)
    return model


def load_official(network: EnergyNetwork, state: Mapping[str, np.ndarray]) -> None:
    """Puts the arrays of an official state dict into `network`.

    Raises:
        CheckpointError: an entry is missing, unknown, or of another shape; nothing has changed.
    """
    if not network.built:
        network.build()
    assign_slots(slots(network), state, "this energy network")


def options_from_official(state: Mapping[str, np.ndarray], image_shape) -> dict:
    """`EnergyNetwork` keyword arguments that fit an official state dict.

    The authors' files say nothing of their architecture; the shapes of the kernels do, together
    with the table of the paper.

    Args:
        state: dict of arrays by official name.
        image_shape: tuple `(H, W, C)` of the images.

    Raises:
        CheckpointError: the entries are those of no energy network of the paper.
    """
    base = _width(state, "conv1.weight")
    count = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    widths = [_width(state, f"blocks.{i}.conv1.weight") for i in range(count)]
    skips = [f"blocks.{i}.skip.0.weight" in state for i in range(count)]
    for name, blocks in ARCHITECTURES.items():
        before = [1, *(multiple for multiple, _ in blocks)]
        expected = [down or m != b for (m, down), b in zip(blocks, before)]
        if [base * m for m, _ in blocks] == widths and expected == skips:
            return {"image_shape": tuple(image_shape), "architecture": name, "num_channels": base}
    raise CheckpointError(
        f"an energy network of widths {[base, *widths]} is none of {', '.join(ARCHITECTURES)}"
    )


def _width(state, name) -> int:
    """Channels that come out of the convolution with this kernel."""
    shape = np.shape(state.get(name, 0))
    if len(shape) != 4 or not min(shape):
        raise CheckpointError(f"the checkpoint has no kernel {name}; it holds no energy network")
    return shape[0]
