r"""Audits what the gradients of a classifier reveal, and whether defences stop it.

tfgen-audit --config=configs/gradinversion/digits.py --workdir=runs/digits-audit
tfgen-audit --config=configs/gradinversion/cifar10.py --workdir=runs/cifar-audit --data_dir=data
tfgen-audit --config=configs/gradinversion/cifar10.py --dry_run

Writes `audit.html` (one file, opens offline), `audit.json` and `reconstructions.npz`. The same
command again goes on where it stopped; a folder that holds another run is refused.

The page and the arrays hold the audited images themselves.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from tfgen.bin import app, terminal
from tfgen.bin.recipe import CONFIG, DRY_RUN

FAIL_ON_LEAK = flags.DEFINE_bool(
    "fail_on_leak",
    False,
    "Exit with code 3, for CI, if any defence lets images or labels through; without a defence in "
    "the audit, if the bare gradient does.",
)
LEAKED = 3


def main(argv: Sequence[str]) -> int:
    """What the binary does, in order; returns its exit code."""
    del argv
    config = app.required(CONFIG.value, "config", "for example configs/gradinversion/digits.py")
    with terminal.quiet_import(app.DEBUG.value, onednn=False):
        from tfgen.cores import share_cores
        from tfgen.files.json_file import to_json
        from tfgen.runs.auditing import Auditing, complete
        from tfgen.runs.workdir import Workdir

    share_cores()
    completed = complete(config)
    path = app.WORKDIR.value
    if not DRY_RUN.value:
        path = app.required(path, "workdir", "for example --workdir=runs/audit")
        Workdir(path).compare(completed)
    auditing = Auditing(completed, app.DATA_DIR.value)
    if DRY_RUN.value:
        print(to_json(auditing.plan()))
        return 0
    workdir = Workdir(path)
    verbose = int(sys.stdout.isatty())
    with workdir.claimed():
        workdir.write_config(completed)
        auditing.prepare(terminal.say, verbose=verbose, workdir=Path(workdir.path))
        result = auditing.run(Path(workdir.path), terminal.say, verbose=verbose)
        workdir.check_present()
        paths = result.save(workdir.path)
    terminal.say(summary(result))
    terminal.say("report: " + ", ".join(map(str, paths)))
    terminal.say(
        "the page and the arrays hold the audited images: guard them as you guard the data"
    )
    return LEAKED if FAIL_ON_LEAK.value and result.leaks() else 0


def summary(result) -> str:
    """The findings in a few lines for a person."""
    from tfgen.privacy.audit import sentences

    found = result.to_dict()
    verdict = found["verdict"]
    sure = sentences.confidence(verdict["confidence"])
    finding = " ".join([verdict["finding"], " and ".join(verdict["leaked"])]).strip()
    lines = [f"{finding} ({sure}): {verdict['reason']}", sentences.subject(found)]
    for cell in result.verdicts_by_defence():
        lines.append(
            f"  batch {cell['batch_size']}, {cell['defence']}: {cell['finding']}; "
            f"{cell['attack']} reaches {cell['psnr_db']:.1f} dB (controls "
            f"{cell['control_psnr_db']:.1f}), identifies {cell['iip']:.0%}, labels "
            f"{'given' if cell['label_chance'] is None else format(cell['label_accuracy'], '.0%')}"
            f"{'' if cell['converged'] else '; it did not converge'}"
        )
    if result.peak_memory_gib is not None:
        lines.append(f"peak memory: {result.peak_memory_gib:.2f} GiB")
    return "\n".join(lines)


def run() -> None:
    """The console script."""
    app.run("tfgen-audit", main)


if __name__ == "__main__":
    run()
