r"""Makes a trained network fast on the device at hand; the same command again goes on.

tfgen-transform --config=configs/hant/digits.py --workdir=runs/fast
tfgen-transform --config=configs/hant/efficientnet.py:b0 --workdir=runs/b0 --data_dir=data
tfgen-transform --config=configs/hant/efficientnet.py:b6 --dry_run

Layers are replaced by cheaper ones within a budget of measured milliseconds, and the whole is
trained again. Writes `student/`: the Keras model, files for LiteRT, a report with its pictures; it
is a workdir that tfgen-evaluate and tfgen-export take.
"""

import os
from collections.abc import Sequence

from tfgen.bin import app, terminal
from tfgen.bin.recipe import CONFIG, DRY_RUN


def main(argv: Sequence[str]) -> None:
    """What the binary does, in order."""
    del argv
    config = app.required(CONFIG.value, "config", "for example --config=configs/hant/digits.py")
    # oneDNN's kernel gradient of 1x1 convolutions that skip pixels, which shortcuts of candidates
    # are, is wrong on some processors and damages memory on others.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    with terminal.quiet_import(app.DEBUG.value, onednn=False):
        from tfgen.files.json_file import to_json
        from tfgen.runs.transforming import Transforming, complete
        from tfgen.runs.transforming.report import lines
        from tfgen.runs.workdir import Workdir
        from tfgen.training import keep_freed_memory

    keep_freed_memory()
    completed = complete(config)
    if DRY_RUN.value:
        print(to_json(Transforming(completed).plan()))
        return
    workdir = Workdir(app.required(app.WORKDIR.value, "workdir", "for example --workdir=runs/fast"))
    for change in workdir.compare(completed):
        terminal.say(f"changed since this transformation began: {change}")
    transforming = Transforming(
        completed, workdir, app.DATA_DIR.value, terminal.say, terminal.progress
    )
    for line in lines(transforming.run()):
        terminal.say(line)
    terminal.say(f"report: {transforming.student / 'report.md'}")
    terminal.say(f"next: tfgen-export --workdir={transforming.student}")


def run() -> None:
    """The console script."""
    app.run("tfgen-transform", main)


if __name__ == "__main__":
    run()
