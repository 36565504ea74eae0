"""NVAE's named architectures: which residual body stands where, as the published code has them."""

import dataclasses

from tfgen.errors import ConfigError
from tfgen.layers.residual import InvertedResidual, Residual

Body = Residual | InvertedResidual


@dataclasses.dataclass(frozen=True)
class Architecture:
    """Bodies of the cells of each part."""

    encoder: Body
    decoder: Body
    preprocess: Body
    postprocess: Body


def _same(body: Body) -> Architecture:
    return Architecture(body, body, body, body)


_RES = Residual()
_MB6 = InvertedResidual(6)
_MB3 = InvertedResidual(3)


def _mixed(*kernel_sizes: int) -> Architecture:
    return Architecture(Residual(kernel_sizes), _MB6, _RES, _MB3)


ARCHITECTURES = {
    "res_mbconv": Architecture(_RES, _MB6, _RES, _MB3),
    "res_bnswish": _same(_RES),
    "res_bnelu": _same(Residual(activation="elu")),
    "res_elu": _same(Residual(activation="elu", norm=False)),
    "res53_mbconv": _mixed(5, 3),
    "res35_mbconv": _mixed(3, 5),
    "res55_mbconv": _mixed(5, 5),
    "mbconv_sep": Architecture(_MB6, _MB6, _RES, _RES),
    "mbconv_sep11": Architecture(InvertedResidual(6, 11), InvertedResidual(6, 11), _RES, _RES),
    "mbconv_res": Architecture(_MB6, _RES, _MB3, _RES),
    "mbconv_den": Architecture(_RES, InvertedResidual(6, 5, 8), _RES, InvertedResidual(3, 5, 8)),
}


def get_architecture(name: str) -> Architecture:
    """The architecture called `name`.

    Raises:
        ConfigError: there is none.
    """
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ConfigError(f"architecture {name!r} is unknown; choose one of {known}")
    return ARCHITECTURES[name]


_LEAST = {
    **dict.fromkeys(("num_channels", "num_scales", "num_groups", "min_groups"), 1),
    **dict.fromkeys(("latent_channels", "num_mixtures", "num_bits"), 1),
    **dict.fromkeys(("preprocess_cells", "postprocess_cells", "total_steps"), 1),
    **dict.fromkeys(("padding", "preprocess_blocks", "postprocess_blocks"), 0),
    **dict.fromkeys(("encoder_cells", "decoder_cells", "num_flows", "spectral_coefficient"), 0),
}


# The largest recipe has 566; the mere list of ten million takes gigabytes.
_MOST_CELLS = 20_000


def check_options(options: dict) -> None:
    """Refuses constructor arguments of `NVAE` that no network can be made of.

    Raises:
        ConfigError: one is too small, they do not fit together, or too many cells would be made.
    """
    for name, least in _LEAST.items():
        value = options[name]
        if value is not None and value < least:
            raise ConfigError(f"{name} is {value}; expected at least {least}")
    cells = _num_cells(options)
    if cells > _MOST_CELLS:
        raise ConfigError(
            f"num_scales, num_groups, blocks, cells and num_flows make {cells:,} cells; expected "
            f"at most {_MOST_CELLS:,}"
        )
    down, up = options["preprocess_blocks"], options["postprocess_blocks"]
    if down != up:
        raise ConfigError(
            f"preprocess_blocks is {down} and postprocess_blocks {up}; images come out as large as "
            "they went in only if both are the same"
        )


def _num_cells(options) -> int:
    """Cells of a network, or somewhat more, by multiplication alone."""
    groups = options["num_scales"] * max(options["num_groups"], options["min_groups"])
    cells = groups * (
        1 + options["encoder_cells"] + options["decoder_cells"] + options["num_flows"]
    )
    for part in ("preprocess", "postprocess"):
        cells += options[f"{part}_blocks"] * options[f"{part}_cells"] + options[f"{part}_blocks"]
    return cells


def groups_per_scale(
    num_scales: int, num_groups: int, ada_groups: bool, min_groups: int
) -> list[int]:
    """Latent groups of each scale, top (smallest grid) first.

    The finest scale has `num_groups`; with `ada_groups` every coarser one has half as many, but at
    least `min_groups`, as in the published code.
    """
    counts = [num_groups]
    for _ in range(num_scales - 1):
        counts.append(max(min_groups, counts[-1] // 2) if ada_groups else num_groups)
    return counts[::-1]
