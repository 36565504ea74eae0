r"""Packs a trained run into a preset: weights, served form, numbers and a model card.

tools/make_saved_model runs/mnist nvae_mnist --recipe=configs/nvae/mnist.py:cpu
tools/make_saved_model runs/mnist nvae_mnist --overwrite --note="Trained in 148 minutes on 2 cores."

    saved_models/nvae_mnist/
      README.md       the model card
      config.json     the configuration of the run
      checkpoints/    the weights as trained (moving averages where there are any), in every bit
                      or, with --half, rounded to float16
      metrics.json    what tfgen-evaluate measured, and what the served form loses
      1/              SavedModel with all signatures, as TF Serving polls it
      *.tflite        files for LiteRT, where tfgen-transform made some

`tfgen.from_preset("nvae_mnist")` loads it.
"""

import shutil
from pathlib import Path

from absl import flags

from tfgen.bin import app, arguments, terminal
from tfgen.bin.replacing import OVERWRITE
from tfgen.errors import UserError

NAME, WORDS = "make_saved_model", ("WORKDIR", "PRESET")
TRANSFORMED = "transformation.json"  # in the folder of what tfgen-transform made
GRAPHS_MIB = 2.5  # what the graphs of all signatures take, about

OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Folder of the preset's folder; default: saved_models/ of the checkout."
)
RECIPE = flags.DEFINE_string("recipe", None, "The config it was trained with, for the model card.")
NOTE = flags.DEFINE_multi_string("note", [], "A sentence for the model card; may be repeated.")
MAX_MIB = app.finite(
    flags.DEFINE_float("max_mib", 25.0, "Refuse a larger preset.", lower_bound=0.0)
)
HALF = flags.DEFINE_bool(
    "half", False, "Round the preset's weights to float16, which halves their file."
)
SERVED_WEIGHTS = flags.DEFINE_enum(
    "served_weights",
    "auto",
    ["auto", "float32", "float16"],
    "How the SavedModel keeps its weights (it computes in float32); auto: float16 where two "
    "float32 copies would not fit.",
)


def main(workdir: str, name: str) -> None:
    """What the binary does, in order."""
    from tfgen.files.names import plain_name

    plain_name(name, "the preset")
    with terminal.quiet_import(app.DEBUG.value):
        from tfgen.files.replacing import replace_dir
        from tfgen.runs import model_card
        from tfgen.runs.base_model import base_of
        from tfgen.runs.numbers import with_nan
        from tfgen.runs.workdir import Workdir
        from tfgen.systems import presets
        from tfgen.training import load_weights_only

        trained = Workdir(workdir)
        config = trained.read_config()
        base, _ = base_of(config)
        if base is not None:  # a path of this machine; `model` and the weights say it all
            del config[base.argument]
        *_, folder = presets.preset_folders()
        target = Path(OUTPUT_DIR.value or folder) / name
        presets.refuse_existing(target, OVERWRITE.value)
        model = presets.from_preset(trained.path)
    with replace_dir(target) as temporary:
        presets.write_preset(model, temporary, config, half=HALF.value)
        if HALF.value:  # what is served and measured below is what the preset holds
            load_weights_only(model, temporary / presets.CHECKPOINTS)
        files = _copied(trained.path, temporary)
        _size_in_bounds(temporary, target)  # the weights alone may be too much
        report = _export(model, temporary, name, _served_weights(model))
        terminal.say(
            f"SavedModel: weights in {report['weights']}, {report['size_bytes'] / 2**20:.1f} MiB, "
            f"largest difference {report['max_difference']:.1e}",
        )
        metrics = with_nan(trained.read_metrics())
        numbers = {key: _moved(value) for key, value in metrics.items() if "split" in value}
        packed = Workdir(temporary)
        for key, value in {**numbers, "saved_model": report}.items():
            packed.write_metrics(key, value)
        card = model_card.write(
            name,
            model,
            config,
            numbers,
            report,
            RECIPE.value,
            [*_made_fast(trained.path), *_notes()],
            files,
            trained.path.name if (trained.path / TRANSFORMED).is_file() else None,
        )
        (temporary / "README.md").write_text(card, encoding="utf-8")
        size = _size_in_bounds(temporary, target)
    for line in model_card.left_out(config, numbers):
        terminal.say(f"left out of the model card, but kept in metrics.json: {line}")
    if not numbers:
        terminal.say(
            f"the model card has no numbers: run tfgen-evaluate --workdir={workdir} and repeat"
        )
    terminal.say(f"{size:.1f} MiB in {target}")


def _notes() -> list[str]:
    rounded = "The weights were measured in float32 and rounded to float16 for this preset."
    return [*NOTE.value, *([rounded] if HALF.value else [])]


def _export(model, folder: Path, name: str, storage: str) -> dict:
    """Writes `folder/1/`; says what differs from the model.

    The folder's name at this moment is a temporary one, but the served name enters the warm-up
    requests: so the export is made one level below, under its own name.
    """
    from tfgen.export import export_saved_model
    from tfgen.export.litert import TOLERANCES

    report = export_saved_model(
        model, str(folder / name), storage=storage, tolerance=TOLERANCES[storage][0]
    )
    (folder / name / "1").rename(folder / "1")
    (folder / name).rmdir()
    values = report.to_dict()
    return {"weights": storage, **{k: v for k, v in values.items() if k not in ("target", "path")}}


def _copied(folder: Path, target: Path) -> list[str]:
    """Copies files for devices; their names."""
    found = sorted(path for path in folder.glob("*.tflite") if path.is_file())
    for path in found:
        shutil.copy(path, target / path.name)
    return [path.name for path in found]


def _made_fast(folder: Path) -> list[str]:
    """What a transformation reports of its networks, a sentence each."""
    from tfgen.files.json_file import read_json
    from tfgen.runs.transforming.report import lines

    report = folder / "report.json"
    if not (folder / TRANSFORMED).is_file() or not report.is_file():
        return []
    return ["Measured by tfgen-transform: " + "; ".join(lines(read_json(report))) + "."]


def _moved(measured: dict) -> dict:
    """What was measured, without the files that lie where it was."""
    return {
        key: _moved(value) if isinstance(value, dict) else value
        for key, value in measured.items()
        if key != "files" and not (isinstance(value, dict) and set(value) == {"files"})
    }


def _served_weights(model) -> str:
    if SERVED_WEIGHTS.value != "auto":
        return SERVED_WEIGHTS.value
    weights = sum(4 * variable.shape.num_elements() for variable in model.variables) / 2**20
    return "float32" if 2 * weights + GRAPHS_MIB <= MAX_MIB.value else "float16"


def _size_in_bounds(folder: Path, target: Path) -> float:
    """MiB of a folder, if they are not too many."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20
    if size > MAX_MIB.value:
        raise UserError(
            f"{target} would take {size:.1f} MiB or more, above --max_mib={MAX_MIB.value:g}; "
            "nothing was written"
        )
    return size


def run() -> None:
    """The console script."""
    arguments.run(NAME, main, WORDS)


if __name__ == "__main__":
    run()
