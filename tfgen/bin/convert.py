r"""Turns a checkpoint of NVAE's, VAEBM's or LSGM's authors into a folder that all of tfgen reads.

Needs PyTorch.

tools/convert_checkpoint checkpoint.pt runs/authors-mnist
tools/convert_checkpoint checkpoint.pt runs/faces --image_shape=256,256,3
tools/convert_checkpoint EBM_30000.pth runs/authors-vaebm --vae=checkpoint.pt
tools/convert_checkpoint lsgm.pt runs/authors-lsgm --vae=runs/my-vae
tfgen-sample --workdir=runs/authors-mnist --temperature=0.7

The folder is a preset, `tfgen.from_preset("runs/authors-mnist")`, and a workdir for every binary
but tfgen-train. The checkpoint is read without running any code that it may hold.
"""

from pathlib import Path

from absl import flags

from tfgen.bin import app, arguments, terminal
from tfgen.bin.replacing import OVERWRITE
from tfgen.errors import CheckpointError, UserError

NAME, WORDS = "tfgen-convert", ("CHECKPOINT", "OUTPUT_DIR")

IMAGE_SHAPE = flags.DEFINE_list(
    "image_shape", None, "HEIGHT,WIDTH,CHANNELS; default: of the data set the options name."
)
EDGE = flags.DEFINE_enum(
    "edge",
    "exact",
    ["exact", "nvae2020"],
    "How level 254 of 255 is scored; nvae2020 as the published numbers of colour images were.",
)
VAE = flags.DEFINE_string(
    "vae",
    None,
    "CHECKPOINT then holds an energy of VAEBM or a score network of LSGM, this is the VAE below: "
    "a checkpoint of NVAE's authors, or a folder or preset of tfgen.",
)
ALLOW_PICKLE = flags.DEFINE_bool(
    "allow_pickle", False, "Let the file run the code it holds: only if you trust its maker."
)

# The authors' names of data sets, where ours differ.
_DATASETS = {
    "imagenet_32": "imagenet32",
    "celeba_64": "celeba64",
    "celeba_256": "celeba_hq256",
    "ffhq": "ffhq256",
}


def main(checkpoint: str, output_dir: str) -> None:
    """What the binary does, in order."""
    shape = _image_shape(IMAGE_SHAPE.value)
    output = Path(output_dir)
    with terminal.quiet_import(app.DEBUG.value):
        from tfgen.files.replacing import replace_dir
        from tfgen.runs.workdir import Workdir
        from tfgen.systems import presets

        presets.refuse_existing(output, OVERWRITE.value)
        if VAE.value is None:
            model, config, origin = convert_file(checkpoint, shape)
        else:
            model, config, origin = convert_refinement(checkpoint, VAE.value, shape)
        with replace_dir(output) as temporary:
            presets.write_preset(model, temporary, config)
            Workdir(temporary).write_metrics("origin", {"file": Path(checkpoint).name, **origin})
    terminal.say(
        f"{model.num_parameters:,} parameters, {len(model.groups)} latent groups, images "
        f"{'x'.join(map(str, model.image_shape))}: {output}\n"
        f"next: tfgen-sample --workdir={output}"
    )


def convert_file(checkpoint: str, image_shape):
    """NVAE, complete configuration and origin of an NVAE checkpoint."""
    from tfgen.generative.nvae.official_file import read_official

    options, state, origin = read_official(checkpoint, allow_pickle=ALLOW_PICKLE.value)
    return (*convert(options, state, image_shape, EDGE.value), origin)


def convert_refinement(checkpoint: str, vae: str, image_shape):
    """VAEBM or LSGM, configuration and origin of what was trained on a VAE, and of that VAE."""
    from tfgen.generative.lsgm.official import lsgm_from_official
    from tfgen.generative.nvae.official_file import read_score_network, read_state_dict
    from tfgen.generative.vaebm.official import vaebm_from_official
    from tfgen.systems import presets

    network = read_score_network(checkpoint, allow_pickle=ALLOW_PICKLE.value)
    if network is None:
        state = read_state_dict(checkpoint, "model", allow_pickle=ALLOW_PICKLE.value)
    if Path(vae).is_file():
        base, config, origin = convert_file(vae, image_shape)
    else:
        folder = presets.find_preset(vae)
        base, config = presets.from_preset(folder), presets.read_config(folder)
        origin = {}
    if network is None:
        model = vaebm_from_official(base, state)
    else:
        model = lsgm_from_official(base, *network)
        terminal.say(
            "the VAE in the checkpoint is left out, being of a form that no model here has; "
            "samples mean something only if your VAE makes the latents that the network learned"
        )
    config = {**config, "model": presets.model_section(model), "vae": str(vae)}
    return model, config, {"vae": Path(vae).name, **origin}


def convert(official_config, state, image_shape=None, edge: str = "exact"):
    """A model with the authors' weights, and its complete configuration.

    Args:
        official_config: dict of the authors' training options.
        state: dict of weights by their names, see `tfgen.generative.nvae.official.load_official`.
        image_shape: tuple `(H, W, C)` of the data; None is that of the named data set.
        edge: string, see `tfgen.NVAE`.

    Raises:
        UserError: the options are incomplete or impossible, or the weights do not fit them.
    """
    from tfgen.generative.nvae import NVAE
    from tfgen.generative.nvae.official import load_official, options_from_official
    from tfgen.runs.config import complete

    try:
        options = {**options_from_official(official_config, image_shape), "edge": edge}
        model = NVAE(**options)
        model.build()
    except (TypeError, ValueError, KeyError) as error:
        if isinstance(error, UserError):
            raise
        raise CheckpointError(
            f"the checkpoint's training options do not describe an NVAE: {app.one_line(error)}"
        ) from error
    load_official(model, state)
    dataset = official_config["dataset"]
    section = {
        "name": _DATASETS.get(dataset, dataset),
        "num_bits": options["num_bits"],
        "binarize": "dynamic" if options["decoder"] == "bernoulli" else None,
        "flip": options["decoder"] != "bernoulli",
    }
    config = {"model": {"name": "nvae", **options}, "data": section}
    return model, complete(config)


def run() -> None:
    """The console script."""
    arguments.run(NAME, main, WORDS)


def _image_shape(words):
    if words is None:
        return None
    try:
        shape = tuple(int(word) for word in words)
    except ValueError:
        shape = ()
    if len(shape) != 3 or min(shape) < 1:
        raise UserError(f"--image_shape is {','.join(words)!r}; expected HEIGHT,WIDTH,CHANNELS")
    return shape


if __name__ == "__main__":
    run()
