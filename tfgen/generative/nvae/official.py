"""Reads the weights of the authors' published checkpoints into a tfgen NVAE.

Their names number the modules of each tower in the order in which they are called; `named_parts`
walks a declared network in that order and says which part carries which name.
"""

import re
from collections.abc import Iterator, Mapping

import numpy as np

from tfgen.errors import CheckpointError, ConfigError
from tfgen.files.names import shown
from tfgen.layers.declarations import BatchNorm, Conv, Dense
from tfgen.layers.residual import FactorizedReduce, ResidualBody, UpSkip

# Entries that hold no parameters of their own.
_DERIVED = ("weight_normalized", "num_batches_tracked", "mask")

# The batch norm of a residual cell is called so only where Swish is fused into it.
_PLAIN_NORM = re.compile(r"(?<=_ops\.\d)\.bn(\.bn)?\.(?=weight$|bias$|running_)")

# Options that the authors added later, with what earlier checkpoints mean.
_LATER = {
    "ada_groups": False,
    "arch_instance": "res_mbconv",
    "min_groups_per_scale": 1,
    "num_cell_per_cond_dec": 1,
    "num_cell_per_cond_enc": 1,
    "num_mixture_dec": 10,
    "num_nf": 0,
    "use_se": False,  # a wrong guess shows: entries would be missing or unknown
}
# Our names of theirs, where nothing but the name differs.
_RENAMED = {
    "num_bits": "num_x_bits",
    "num_mixtures": "num_mixture_dec",
    "num_channels": "num_channels_enc",
    "num_scales": "num_latent_scales",
    "num_groups": "num_groups_per_scale",
    "ada_groups": "ada_groups",
    "min_groups": "min_groups_per_scale",
    "latent_channels": "num_latent_per_group",
    "encoder_cells": "num_cell_per_cond_enc",
    "decoder_cells": "num_cell_per_cond_dec",
    "preprocess_blocks": "num_preprocess_blocks",
    "preprocess_cells": "num_preprocess_cells",
    "postprocess_blocks": "num_postprocess_blocks",
    "postprocess_cells": "num_postprocess_cells",
    "architecture": "arch_instance",
    "squeeze_excite": "use_se",
    "residual_posterior": "res_dist",
    "num_flows": "num_nf",
}
_PLAIN, _TEXT = bool | int | float | str, ("dataset", "arch_instance")
_BINARY = ("mnist", "omniglot")
_IMAGE_SIZES = {"mnist": 28, "omniglot": 28, "cifar10": 32, "ffhq": 256}
_SIZE = re.compile(r"[1-9][0-9]{0,3}")


def options_from_official(config: Mapping, image_shape=None) -> dict:
    """`NVAE` keyword arguments of the authors' training options.

    Args:
        config: dict of their argument names and values; options that old checkpoints lack get the
            value they then had.
        image_shape: tuple `(H, W, C)` of the data; None is that of the named data set.

    Raises:
        CheckpointError: an option is missing, or of a type that it never has.
        ConfigError: the options are known, but nothing here can do that.
    """
    config = {**_LATER, **config}
    missing = {"dataset", "num_channels_dec", *_RENAMED.values()} - config.keys()
    if missing:
        raise CheckpointError(
            f"the training options lack {', '.join(sorted(missing))}; expected those of the "
            "authors' train.py"
        )
    for name in sorted({"dataset", *_RENAMED.values()}):
        if not isinstance(config[name], _PLAIN) or isinstance(config[name], str) != (name in _TEXT):
            raise CheckpointError(
                f"the training option {name} is {config[name]!r}; expected that of the authors' "
                "train.py"
            )
    dataset, mixtures = config["dataset"], config["num_mixture_dec"]
    if config["num_channels_enc"] != config["num_channels_dec"]:
        raise ConfigError("checkpoints with different encoder and decoder widths are not supported")
    binary = dataset in _BINARY
    options = {
        "image_shape": tuple(image_shape or _image_shape(dataset)),
        "decoder": "bernoulli" if binary else "normal" if mixtures == 1 else "logistic_mixture",
        "padding": 2 if binary else 0,
    }
    options.update({ours: config[theirs] for ours, theirs in _RENAMED.items()})
    if "weight_decay_norm" in config:
        options["spectral_coefficient"] = config["weight_decay_norm"]
        if config.get("weight_decay_norm_anneal"):
            options["spectral_initial"] = config.get("weight_decay_norm_init")
    return options


def _image_shape(dataset):
    """Of a data set that the authors' loaders know; most names end in their size."""
    ending = str(dataset).rpartition("_")[2]
    side = _IMAGE_SIZES.get(dataset) or (int(ending) if _SIZE.fullmatch(ending) else None)
    if side is None:
        raise ConfigError(f"data set {dataset!r} has no known image size; give image_shape")
    return side, side, 1 if dataset in _BINARY else 3


def named_parts(network) -> Iterator[tuple[str, object]]:
    """(name in an official checkpoint, declared part) of everything that has parameters."""
    yield "stem", network.stem
    for index, cell in enumerate(network.preprocess):
        yield from _cell(f"pre_process.{index}", cell)
    yield from _encoder_tower(network)
    yield "enc0.1", network.encoder_top
    for index, conv in enumerate(network.encoder_samplers):
        yield f"enc_sampler.{index}", conv
    for index, conv in enumerate(network.decoder_samplers[1:]):
        yield f"dec_sampler.{index}.1", conv
    steps = [step for group in network.flows for step in group]
    for index, step in enumerate(steps):
        prefix = f"nf_cells.{index // 2}.cell{index % 2 + 1}"
        yield f"{prefix}.conv.convz.0", step.enter
        yield f"{prefix}.conv.convz.2", step.spread
        yield f"{prefix}.mu.conv_0", step.leave
    if network.vanilla:
        yield "stem_decoder", network.stem_decoder
    else:
        yield "prior_ftr0", network.initial_state
        yield from _decoder_tower(network)
    for index, cell in enumerate(network.postprocess):
        yield from _cell(f"post_process.{index}", cell)
    yield "image_conditional.1", network.head


def _encoder_tower(network):
    modules, group = [], network.num_groups - 1
    for scale, groups in enumerate(network.encoder):
        for cells in groups:
            modules += cells
            if group > 0:
                modules.append(network.encoder_combiners[group])
            group -= 1
        modules += network.encoder_down[scale : scale + 1]
    yield from _tower("enc_tower", modules)


def _decoder_tower(network):
    modules = []
    for group, cells in enumerate(network.decoder):
        modules += [*cells, network.decoder_combiners[group]]
        if network.decoder_up[group] is not None:
            modules.append(network.decoder_up[group])
    yield from _tower("dec_tower", modules)


def _tower(prefix, modules):
    for index, module in enumerate(modules):
        if isinstance(module, Conv):
            yield f"{prefix}.{index}.conv", module
        else:
            yield from _cell(f"{prefix}.{index}", module)


def _cell(prefix, cell):
    if isinstance(cell.skip, FactorizedReduce):
        for index, conv in enumerate(cell.skip.convs):
            yield f"{prefix}.skip.conv_{index + 1}", conv
    elif isinstance(cell.skip, UpSkip):
        yield f"{prefix}.skip.1", cell.skip.conv
    if isinstance(cell.body, ResidualBody):
        for index, (norm, conv) in enumerate(zip(cell.body.norms, cell.body.convs)):
            if norm is not None:
                yield f"{prefix}._ops.{index}.bn_act", norm
            yield f"{prefix}._ops.{index}.conv_0", conv
    else:
        first = 1 if cell.body.up else 0  # going up, the doubling is module 0
        names = [f"{prefix}._ops.0.conv.{first + k}" for k in range(5)]
        norms = cell.body.norms
        yield f"{names[0]}.bn", norms[0]
        yield f"{names[1]}.conv.0", cell.body.expand
        yield f"{names[1]}.conv.1", norms[1]
        yield f"{names[2]}.conv.0", cell.body.middle
        yield f"{names[2]}.conv.1", norms[2]
        yield names[3], cell.body.project
        yield f"{names[4]}.bn", norms[3]
    if cell.squeeze_excite is not None:
        yield f"{prefix}.se.se.0", cell.squeeze_excite.reduce
        yield f"{prefix}.se.se.2", cell.squeeze_excite.expand


def slots(model) -> dict[str, tuple]:
    """Where every entry of a checkpoint lives: name -> (variable, row, permutation of its axes).

    A row of None is the whole variable; a permutation of None flattens.
    """
    bank, result = model.bank, {}
    for name, part in named_parts(model.network):
        if isinstance(part, str):
            result[name] = (bank.tensors[part], None, (1, 2, 0))
        elif isinstance(part, BatchNorm):
            for suffix, variables in (
                ("weight", bank.scales),
                ("bias", bank.offsets),
                ("running_mean", bank.means),
                ("running_var", bank.variances),
            ):
                result[f"{name}.{suffix}"] = (variables[part.channels], part.row, (0,))
        else:
            result.update(kernel_slots(bank, name, part))
    return result


def kernel_slots(bank, name, part):
    """Slots of a convolution or dense layer called `name`; see `slots`."""
    if isinstance(part, Dense):
        order, width = (1, 0), part.units
    else:
        order, width = ((2, 3, 0, 1) if part.depthwise else (2, 3, 1, 0)), part.filters
    yield f"{name}.weight", (bank.kernels[part.stack], part.row, order)
    if part.bias_row is not None:
        yield f"{name}.bias", (bank.biases[width], part.bias_row, (0,))
    if part.stack in bank.log_gains:
        yield f"{name}.log_weight_norm", (bank.log_gains[part.stack], part.row, None)


def load_official(model, state: Mapping[str, np.ndarray]) -> None:
    """Puts the arrays of an official state dict into `model`.

    Raises:
        CheckpointError: an entry is missing, unknown, or of another shape; the model is unchanged.
    """
    if not model.built:
        model.build()
    assign_slots(slots(model), state, "this NVAE")
    model.singular_vectors_ready.assign(0)


def assign_slots(wanted: Mapping[str, tuple], state: Mapping[str, np.ndarray], what: str) -> None:
    """Puts the arrays of an official state dict where `wanted` says, all of them or none.

    Args:
        wanted: dict by official name, see `slots`.
        state: dict of arrays by official name; entries without parameters of their own are passed
            over.
        what: string that says in words what they are for.

    Raises:
        CheckpointError: an entry is missing, unknown, or of another shape.
    """
    given = {
        _PLAIN_NORM.sub(".bn_act.", name): array
        for name, array in state.items()
        if name.rsplit(".", 1)[-1] not in _DERIVED
    }
    missing, unknown = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    if missing or unknown:
        raise CheckpointError(
            f"the checkpoint does not fit {what}: {len(missing)} entries are missing "
            f"(first: {', '.join(missing[:3]) or '-'}) and {len(unknown)} are unknown "
            f"(first: {', '.join(map(shown, unknown[:3])) or '-'}); check the architecture options"
        )
    values = {}
    for name, (variable, row, order) in wanted.items():
        array = np.asarray(given[name])
        if order is None:
            array = array.reshape(-1)
        elif array.ndim == len(order):
            array = array.transpose(order)
        target = values.setdefault(id(variable), (variable, variable.numpy().copy()))[1]
        expected = target.shape if row is None else target[row].shape
        if array.shape != expected:
            raise CheckpointError(
                f"checkpoint entry {name} has shape {array.shape} after transposition; "
                f"{what} expects {expected}"
            )
        target[... if row is None else row] = array
    for variable, value in values.values():
        variable.assign(value)
