"""Reads the score networks of the authors' checkpoints (arXiv:2106.05931).

Their names number the modules in the order in which they are called, `all_modules.0` on.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from tfgen.errors import CheckpointError
from tfgen.generative.lsgm.latents import JoinedLatents
from tfgen.generative.lsgm.lsgm import LSGM
from tfgen.generative.lsgm.unet import ScoreUNet
from tfgen.generative.nvae.official import assign_slots, kernel_slots
from tfgen.layers.declarations import GroupNorm
from tfgen.layers.diffusion import SelfAttention

_INPUTS = ("all_modules.0.weight", "all_modules.2.weight")


def named_parts(network: ScoreUNet) -> Iterator[tuple[str, object]]:
    """(name in an official checkpoint, declared part) of everything that has parameters."""
    modules = [network.embedding.first, network.embedding.second, network.stem]
    modules += [part for part, _ in network.down]
    modules += network.middle
    modules += [part for part, _ in network.up]
    modules += [network.last_norm, network.head]
    for index, module in enumerate(modules):
        yield from _parts(f"all_modules.{index}", module)


def _parts(name, module):
    if isinstance(module, SelfAttention):
        yield f"{name}.GroupNorm_0", module.norm
        for index, conv in enumerate([*module.inputs, module.output]):
            yield f"{name}.NIN_{index}", conv
    elif hasattr(module, "norms"):
        yield f"{name}.GroupNorm_0", module.norms[0]
        yield f"{name}.Conv_0", module.first
        yield f"{name}.Dense_0", module.time
        yield f"{name}.GroupNorm_1", module.norms[1]
        yield f"{name}.Conv_1", module.second
        if module.skip is not None:
            yield f"{name}.Conv_2", module.skip
    else:
        yield name, module


def slots(network: ScoreUNet) -> dict[str, tuple]:
    """Where every entry of a checkpoint lives; as `nvae.official.slots`."""
    bank, result = network.bank, {}
    for name, part in named_parts(network):
        if isinstance(part, GroupNorm):
            result[f"{name}.weight"] = (bank.group_scales[part.channels], part.row, (0,))
            result[f"{name}.bias"] = (bank.group_offsets[part.channels], part.row, (0,))
        else:
            result.update(kernel_slots(bank, name, part))
    return result


def load_official(network: ScoreUNet, state: Mapping[str, np.ndarray]) -> None:
    """Puts the arrays of an official state dict into `network`.

    Args:
        network: a `ScoreUNet` of the checkpoint's shape.
        state: dict of arrays by official name, `mixing_logit` not among them.

    Raises:
        CheckpointError: an entry is missing, unknown, or of another shape; nothing has changed.
    """
    network.build()
    assign_slots(slots(network), _as_convolutions(state), "this score network")


def lsgm_from_official(vae, config: Mapping, state: Mapping[str, np.ndarray]) -> LSGM:
    """An LSGM of the authors' score network and diffusion over a VAE of one's own.

    Args:
        vae: a built generator whose latents are those that the network was trained on, or of their
            shape.
        config: dict of the authors' training options.
        state: dict of arrays by official name, that of `dae_state_dict`.

    Raises:
        CheckpointError: the VAE's latents have another shape, or the options and entries are those
            of no score network here.
    """
    joined, state = JoinedLatents.of(vae.latent_shapes), dict(state)
    logit = state.pop("mixing_logit", None)
    options = options_from_official(config, state, joined.grid[0] if joined.grid else 1)
    if options.pop("latent_shape") != joined.shape:
        channels = state[_INPUTS[1]].shape[1]
        raise CheckpointError(
            f"the score network takes {channels} channels of latents; those of the VAE's smallest "
            f"grid are {joined.shape}"
        )
    model = LSGM(vae, options, sde=_sde(config), mixing_logit=None if logit is None else 0.0)
    model.build()
    load_official(model.network, state)
    if logit is not None:
        if np.size(logit) != joined.shape[-1]:
            raise CheckpointError(
                f"mixing_logit has {np.size(logit)} numbers for {joined.shape[-1]} channels"
            )
        model.mixing_logit.assign(np.reshape(logit, [-1]))
    return model


def _sde(config) -> dict:
    """The diffusion of the authors' training options, with their defaults."""
    kind = config.get("sde_type", "vpsde")
    names = {"initial_variance": ("sigma2_0", 0.0)}
    if kind in ("vpsde", "sub_vpsde"):
        names |= {"beta_min": ("beta_start", 0.1), "beta_max": ("beta_end", 20.0)}
    elif kind == "geometric_sde":
        names |= {"min_variance": ("sigma2_min", 3e-5), "max_variance": ("sigma2_max", 0.999)}
    else:
        raise CheckpointError(
            f"the diffusion of the checkpoint is {kind!r}; expected vpsde, sub_vpsde or "
            "geometric_sde"
        )
    return {"name": kind, **{ours: config.get(*theirs) for ours, theirs in names.items()}}


def _as_convolutions(state):
    """The attention's dense kernels `[in, out]` under the names and shapes of 1x1 convolutions."""
    result = {}
    for name, array in state.items():
        if name.endswith(".W"):
            name, array = f"{name[:-1]}weight", np.transpose(array)[..., None, None]
        elif name.endswith(".b"):
            name = f"{name[:-1]}bias"
        result[name] = array
    return result


def options_from_official(config: Mapping, state: Mapping[str, np.ndarray], grid: int) -> dict:
    """`ScoreUNet` keyword arguments of the authors' training options.

    Args:
        config: dict of their argument names and values.
        state: dict of the score network's arrays by official name, whose shapes are looked at.
        grid: integer, height and width of the latents.

    Raises:
        CheckpointError: an option or an entry is missing, or means a network that is not supported.
    """
    for name in _INPUTS:
        if name not in state:
            raise CheckpointError(f"the checkpoint has no {name}; it holds no score network")
    if missing := {"num_channels_dae", "num_cell_per_scale_dae", "num_scales_dae"} - set(config):
        raise CheckpointError(
            f"the training options lack {', '.join(sorted(missing))}; expected those of the "
            "authors' train_vada.py"
        )
    if any(config.get(name, "none") != "none" for name in ("progressive", "progressive_input")):
        raise CheckpointError("score networks with progressive inputs or outputs are not supported")
    fourier = config.get("embedding_type", "positional") == "fourier"
    if fourier or config.get("embedding_scale", 1000) != 1000:
        raise CheckpointError(
            "the checkpoint embeds the time by "
            f"{config.get('embedding_type')!r} and scale {config.get('embedding_scale')}; expected "
            "'positional' and 1000"
        )
    stem = state["all_modules.2.weight"]
    return {
        "latent_shape": (grid, grid, stem.shape[1]),
        "num_channels": stem.shape[0],
        "multipliers": _multipliers(config),
        "num_blocks": config["num_cell_per_scale_dae"],
        "filtered": bool(config.get("fir", False)),
        "dropout": config.get("dropout", 0.2),
        "embedding_dims": state["all_modules.0.weight"].shape[1],
    }


def _multipliers(config) -> list[int]:
    """Widths of the levels: equal but for CelebA-HQ's networks, whose later ones are doubled."""
    levels = config["num_scales_dae"]
    if str(config.get("dataset", "")).startswith("celeba"):
        same = 1 if levels == 4 else 2
        return [1] * same + [2] * (levels - same)
    return [1] * levels
