r"""Trains a generator from a configuration; the same command again continues.

tfgen-train --config=configs/nvae/digits.py --workdir=runs/digits
tfgen-train --config=configs/nvae/mnist.py --config.model.num_channels=16 --workdir=runs/small
tfgen-train --config=configs/nvae/cifar10.py --dry_run
tfgen-train --config=configs/ncp/mnist.py --config.vae=runs/mnist --workdir=runs/mnist-ncp
"""

from collections.abc import Sequence

from absl import flags

from tfgen.bin import app, terminal
from tfgen.bin.recipe import CONFIG, DRY_RUN

STRATEGY = flags.DEFINE_string(
    "strategy", "default", "default, mirrored, multi_worker (reads TF_CONFIG), tpu or tpu:NAME."
)
PRECISION = flags.DEFINE_enum(
    "precision",
    "float32",
    ["float32", "mixed_bfloat16", "mixed_float16"],
    "What the layers compute in; weights and likelihoods stay float32.",
)
JIT_COMPILE = flags.DEFINE_enum(
    "jit_compile",
    "auto",
    ["auto", "true", "false"],
    "Whether XLA compiles the steps; auto: on GPU and TPU, where it is faster, not on CPU.",
)


def main(argv: Sequence[str]) -> None:
    """What the binary does, in order."""
    del argv
    config = app.required(CONFIG.value, "config", "for example --config=configs/nvae/digits.py")
    with terminal.quiet_import(app.DEBUG.value):
        from tfgen.cores import share_cores
        from tfgen.files.json_file import to_json
        from tfgen.runs import fit, plan
        from tfgen.runs.base_model import foreign_data, resolve
        from tfgen.runs.config import complete
        from tfgen.runs.experiment import build_experiment
        from tfgen.runs.workdir import Workdir
        from tfgen.systems.registry import find_system
        from tfgen.training import keep_freed_memory

    keep_freed_memory()
    options = dict(
        data_dir=app.DATA_DIR.value,
        strategy=STRATEGY.value,
        precision=PRECISION.value,
        jit_compile={"auto": None, "true": True, "false": False}[JIT_COMPILE.value],
    )
    resolved = complete(resolve(config))
    if find_system(resolved["model"]["name"]).small_operations:
        share_cores()
    if DRY_RUN.value:
        experiment = build_experiment(config, describe_only=True, **options)
        print(to_json(plan.describe(experiment, STRATEGY.value, PRECISION.value)))
        return
    workdir = Workdir(
        app.required(app.WORKDIR.value, "workdir", "for example --workdir=runs/first")
    )
    if note := foreign_data(resolved):
        terminal.say(note)
    for change in workdir.compare(resolved):
        terminal.say(f"changed since this run began: {change}")
    experiment = build_experiment(config, **options)
    fit.train(experiment, workdir, plan.describe(experiment, STRATEGY.value, PRECISION.value))
    terminal.say(f"next: tfgen-evaluate --workdir={workdir.path}")


def run() -> None:
    """The console script."""
    app.run("tfgen-train", main)


if __name__ == "__main__":
    run()
