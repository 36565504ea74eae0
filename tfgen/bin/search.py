r"""Searches for an architecture; the same command again goes on.

tfgen-search --config=configs/unas/cifar10.py --workdir=runs/search
tfgen-search --config=configs/unas/cifar10.py:runlocal --workdir=runs/small --data_dir=data
tfgen-search --config=configs/unas/imagenet_blocks.py --dry_run
tfgen-search --list_networks

Writes `genotypes.json`, best first, pictures of the best, `curves.png`, and `recipe.py`, with which
tfgen-train trains it.
"""

from collections.abc import Sequence

from absl import flags

from tfgen.bin import app, terminal
from tfgen.bin.recipe import CONFIG, DRY_RUN

LIST_NETWORKS = flags.DEFINE_bool(
    "list_networks",
    False,
    "Print parameters and multiplications of the published networks as JSON, and stop.",
)


def main(argv: Sequence[str]) -> None:
    """What the binary does, in order."""
    del argv
    if LIST_NETWORKS.value:
        with terminal.quiet_import(app.DEBUG.value):
            from tfgen.files.json_file import to_json
            from tfgen.search.unas.published import sizes

        print(to_json(dict(sizes())))
        return
    config = app.required(CONFIG.value, "config", "for example --config=configs/unas/cifar10.py")
    with terminal.quiet_import(app.DEBUG.value):
        from tfgen.cores import share_cores
        from tfgen.files.json_file import to_json
        from tfgen.runs.search_config import complete
        from tfgen.runs.searching import Searching
        from tfgen.runs.workdir import Workdir
        from tfgen.training import keep_freed_memory

    keep_freed_memory()
    share_cores()
    completed = complete(config)
    if DRY_RUN.value:
        workdir = None if app.WORKDIR.value is None else Workdir(app.WORKDIR.value)
        searching = Searching(completed, workdir, app.DATA_DIR.value, describe_only=True)
        print(to_json(searching.plan()))
        return
    workdir = Workdir(
        app.required(app.WORKDIR.value, "workdir", "for example --workdir=runs/search")
    )
    for change in workdir.compare(completed):
        terminal.say(f"changed since this search began: {change}")
    searching = Searching(completed, workdir, app.DATA_DIR.value, terminal.say)
    terminal.say(announce(searching.plan(), workdir.path))
    for line in summary(searching.run()):
        terminal.say(line)
    terminal.say(f"next: tfgen-train --config={workdir.path / 'recipe.py'} --workdir=FOLDER")


def announce(plan, path) -> str:
    """The plan in a few lines for a person."""
    criteria = ", ".join(plan["criteria"]) or "the loss alone"
    return "\n".join(
        (
            f"{plan['factors']} factors, {plan['architectures']:.3g} architectures, "
            f"{plan['parameters']:,} parameters; {plan['estimator']}; criteria: {criteria}",
            f"data: {plan['data']}, {plan['images']:,} images and {plan['validation_images']:,} "
            f"for validation, batches of {plan['batch_size']}",
            f"{plan['warmup_steps']:,} steps of warm-up, {plan['total_steps']:,} in all",
            f"results: {path}",
        )
    )


def summary(found):
    """What was found, a line each."""
    for number, row in enumerate(found, 1):
        own = ("log_prob", "objective")
        measured = {k: v for k, v in row.items() if isinstance(v, float) and k not in own}
        numbers = "".join(f", {name} {value:.4g}" for name, value in measured.items())
        missed = "" if row["meets_targets"] else "; misses a target"
        of = f"objective {row['objective']:.4g}, log p {row['log_prob']:.2f}"
        yield f"{number}. {of}{numbers}{missed}"


def run() -> None:
    """The console script."""
    app.run("tfgen-search", main)


if __name__ == "__main__":
    run()
