r"""Turns a trained generator into SavedModel, LiteRT and ONNX, each checked in its own runtime.

tfgen-export --workdir=runs/digits
tfgen-export --workdir=runs/digits --formats=saved_model,onnx --version=2 --overwrite
"""

from collections.abc import Sequence

from absl import flags

from tfgen.bin import app, loading, terminal
from tfgen.bin.replacing import OVERWRITE

FORMATS = flags.DEFINE_list(
    "formats",
    None,
    "Some of saved_model, litert_float32, litert_float16, litert_int8, onnx; default: all that the "
    "model can become.",
)
NAME = flags.DEFINE_string("name", None, "Of the served model; default: the workdir's name.")
VERSION = flags.DEFINE_integer("version", 1, "Of the SavedModel.", lower_bound=1)


def main(argv: Sequence[str]) -> None:
    """What the binary does, in order."""
    del argv
    with terminal.quiet_import(app.DEBUG.value):
        from tfgen import export

        loaded = loading.load()
    with terminal.waiting() as started:
        reports = export.export_all(
            loaded.generator,
            str(loading.output_or(loaded.workdir.exports)),
            NAME.value or loaded.name,
            VERSION.value,
            formats=FORMATS.value,
            overwrite=OVERWRITE.value,
            on_start=lambda format: started(f"{format}: converting, running, comparing"),
            on_report=terminal.say,
        )
    loaded.workdir.write_metrics("export", {r.target: r.to_dict() for r in reports})


def run() -> None:
    """The console script."""
    app.run("tfgen-export", main)


if __name__ == "__main__":
    run()
