"""The README of a preset: what it is, how to use it, its numbers, how it was made, licence."""

from collections.abc import Mapping, Sequence
from typing import Any

from tfgen.data import CATALOGUE
from tfgen.generative import Generator
from tfgen.runs.evaluators import EVALUATORS
from tfgen.serving import as_servable, default_signature
from tfgen.systems.registry import find_system

_BINARIZE = {
    None: "as they are",
    "dynamic": "binarised anew at every access, a pixel's intensity being its probability",
    "fixed": "binarised once",
    "threshold": "binarised at one half",
}

_LONGEST = 1000  # characters of an option's value
_LINE = 100  # characters of a line of code

_CARD = """\
# {name}

{system},
trained on {data} with this repository. {parameters:,} parameters{shapes}.

## Use

```python
import tfgen

model = tfgen.from_preset("{name}")
{use}
```

`1/` is a SavedModel for TF Serving (`--model_base_path` is this folder) or plain TensorFlow,
without tfgen:

```python
import tensorflow as tf

serve = tf.saved_model.load("saved_models/{name}/1").signatures["{signature}"]
{serve}
```

Its signatures are {signatures}. It keeps its
weights in {storage} and computes in float32; on {num_images} examples no output differed by more
than {max_difference:.1e} from the Keras model. `tfgen-export --preset={name} --workdir=FOLDER`
writes the other formats.{files}

## Numbers

{numbers}

## Data

{data}{splits}.
It was trained on the split `{split}`, {binarize}.

## Configuration

`config.json` holds all of it.

| Option | Value |
|---|---|
{options}

## How it was made

{making}

## Limits

It knows data like those it was trained on and nothing else. Its numbers count for data prepared in
the same way only.

## Licence

The weights are under the licence of this repository (Apache-2.0). The data are not part of them:
{licence}.
"""


def write(
    name: str,
    model,
    config: Mapping[str, Any],
    numbers: Mapping[str, Mapping[str, Any]],
    served: Mapping[str, Any],
    recipe: str | None = None,
    notes: Sequence[str] = (),
    files: Sequence[str] = (),
    student: str | None = None,
) -> str:
    """The text of a model card.

    Args:
        name: string, the preset's name.
        model: the generator.
        config: dict, the complete configuration.
        numbers: dict of what `tfgen-evaluate` measured, by split.
        served: dict of `weights`, `num_examples` and `max_difference` of the SavedModel.
        recipe: path of the config file it was trained with, or None.
        notes: sequence of sentences to add to how it was made.
        files: sequence of names of files that lie beside it.
        student: string, name of its folder in that of tfgen-transform, which made it; None is of
            tfgen-train.
    """
    section, data = config["model"], config["data"]
    info = CATALOGUE.get(data["name"])
    signatures = as_servable(model).signatures()
    default = default_signature(signatures)
    return _CARD.format(
        name=name,
        system=_system(section["name"]),
        data=data["name"],
        parameters=model.describe()["parameters"],
        shapes=_shapes(model.describe()),
        use=_use(model),
        signature=default,
        signatures=_listing(signatures),
        serve=_serve(signatures[default]),
        storage=served["weights"],
        num_images=served.get("num_examples", served.get("num_images")),
        max_difference=served["max_difference"],
        numbers=_numbers(section["name"], numbers),
        splits=_splits(info),
        split=data["split"],
        binarize=_BINARIZE.get(data["binarize"], data["binarize"]),
        options=_options(config),
        making=_making(name, model, config, recipe, notes, student),
        files=_files(files),
        licence=f"{data['name']} is under {info.licence}"
        if info is not None
        else f"see the terms of {data['name']}",
    )


def _shapes(described) -> str:
    """What a generator has beside parameters: latent groups, and images."""
    text = ""
    if "latent_shapes" in described:
        grids = [f"{h}x{w}" for h, w, _ in described["latent_shapes"].values()]
        kinds = ", ".join(f"{grids.count(g)} of {g}" for g in dict.fromkeys(grids))
        text += f"; {described['groups']} latent groups\n({kinds})"
        text += f", {described['latent_dims']:,} latent dimensions"
    if "image_shape" in described:
        text += f"; images are {'x'.join(map(str, described['image_shape']))}, float32 in [0, 1]"
    return text


def _use(model) -> str:
    """A line of Python that asks a live model for something."""
    if isinstance(model, Generator):
        shape = ", ".join(map(str, model.image_shape))
        return f"images = model.sample(64, temperature=0.8, seed=0)  # [64, {shape}]"
    if hasattr(model, "accepts"):
        shape = ", ".join(map(str, model.image_shape))
        return (
            f"scores = model.ood_score(images)  # [N] of [N, {shape}], larger is further away\n"
            "accepted = model.accepts(images)"
        )
    if hasattr(model, "ground") and model.region_features is not None:
        return 'phrases = model.ground("picture.png", "a caption of it")  # with boxes and scores'
    return "answers = model(inputs)"


def _serve(signature) -> str:
    """A line of Python that asks a served signature for something."""
    values = {"seeds": "tf.range(64)", "temperature": "tf.constant(0.8)"}
    inputs = {
        name: values.get(name, f"tf.zeros({[1 if d is None else d for d in spec.shape]})")
        for name, spec in signature.inputs.items()
    }
    arguments = ", ".join(f"{name}={value}" for name, value in inputs.items())
    line = f"answers = serve({arguments})"
    return line if len(line) <= _LINE else f"answers = serve(\n    {arguments}\n)"


def _listing(names) -> str:
    *others, last = [f"`{name}`" for name in names]
    return f"{', '.join(others)} and {last}" if others else last


def _system(name):
    system = find_system(name)
    return f"{system.title} ({system.paper})"


def _splits(info):
    if info is None:
        return ""
    counts = ", ".join(f"{count:,} {split} images" for split, count in info.num_images.items())
    return f", as published: {counts}"


def left_out(config: Mapping[str, Any], numbers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a card does not show of what was measured, since it is of another type, with reasons.

    Args:
        config: dict, the complete configuration.
        numbers: dict of what `tfgen-evaluate` measured, by split.
    """
    return [
        f"{split!r}: {reason}"
        for evaluator in _evaluators(config["model"]["name"])
        for split, reason in evaluator.left_out(numbers).items()
    ]


def _evaluators(system):
    return [EVALUATORS[name] for name in find_system(system).evaluators]


def _numbers(system, numbers):
    tables = (_table(evaluator, numbers) for evaluator in _evaluators(system))
    text = "\n\n".join(filter(None, ("\n".join(lines) for lines in tables)))
    return text or "Not measured yet: `tfgen-evaluate`."


def _table(evaluator, numbers):
    without = evaluator.left_out(numbers)
    shown = {k: v for k, v in evaluator.measured(numbers).items() if k not in without}
    return evaluator.table(shown) if shown else ()


def _files(names) -> str:
    return (
        f"\n\nFor LiteRT there {'are' if names[1:] else 'is'} {_listing(names)}." if names else ""
    )


def _options(config):
    shown = [
        (key, value)
        for key, value in config["model"].items()
        if key != "name" and len(str(value)) <= _LONGEST  # a whole network, layer by layer
    ]
    shown += [
        (f"{section}.{key}", config[section][key])
        for section, keys in (
            ("data", ("batch_size", "num_bits")),
            ("optimizer", ("name", "learning_rate", "warmup_epochs", "ema_momentum")),
            ("training", ("epochs", "steps_per_epoch", "seed")),
        )
        for key in keys
        if config[section].get(key) is not None
    ]
    return "\n".join(f"| `{key}` | {value} |" for key, value in shown)


def _making(name, model, config, recipe, notes, student=None):
    steps = int(model.train_steps.numpy())
    batch = config["data"]["batch_size"]
    text = f"{steps:,} training steps of {batch} images, {steps * batch:,} in all."
    for note in notes:
        text += f" {note}"
    row = find_system(config["model"]["name"]).base
    base = "" if row is None else f" --config.{row.argument}={row.argument.upper()}"
    program = "tfgen-train" if student is None else "tfgen-transform"
    folder = f"runs/{name}" if student is None else f"runs/{name}/{student}"
    commands = [
        f"{program} --config={recipe or 'RECIPE'}{base} --workdir=runs/{name}",
        f"tfgen-evaluate --workdir={folder}",
        f"tools/make_saved_model {folder} {name}",
    ]
    if recipe is None:
        text += "\n`RECIPE` stands for a config file with the values of `config.json`."
    if base:
        text += (
            f"\n`{row.argument.upper()}` stands for the workdir or preset of the model underneath."
        )
    return "\n".join([text, "", *(f"    {command}" for command in commands)])
