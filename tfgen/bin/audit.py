r"""Audits what the gradients of a classifier reveal, and whether defences stop it.

tfgen-audit --config=configs/gradinversion/digits.py --workdir=runs/digits-audit
tfgen-audit --config=configs/gradinversion/cifar10.py --workdir=runs/cifar-audit --data_dir=data
tfgen-audit --config=configs/gradinversion/cifar10.py --dry_run

Writes `audit.html` (one file, opens offline), `audit.json` and `reconstructions.npz`. The same
command again goes on where it stopped.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from tfgen.bin import app, terminal
from tfgen.bin.recipe import CONFIG, DRY_RUN
from tfgen.errors import UserError

FAIL_ON_LEAK = flags.DEFINE_bool(
    "fail_on_leak", False, "Exit with code 3 if any defence lets an attack through, for CI."
)
LEAKED = 3


def main(argv: Sequence[str]) -> int:
    """What the binary does, in order; returns its exit code."""
    del argv
    config = _required(CONFIG.value, "config", "for example configs/gradinversion/digits.py")
    with terminal.quiet_import(app.DEBUG.value, onednn=False):
        from tfgen.privacy.audit.verdict import LEAKS
        from tfgen.runs.auditing import Auditing, complete
        from tfgen.runs.workdir import Workdir

    completed = complete(config)
    auditing = Auditing(completed, app.DATA_DIR.value)
    if DRY_RUN.value:
        print(json.dumps(auditing.plan(), indent=2))
        return 0
    workdir = Workdir(_required(app.WORKDIR.value, "workdir", "for example --workdir=runs/audit"))
    verbose = int(sys.stdout.isatty())
    with workdir.claimed():
        workdir.write_config(completed)
        auditing.prepare(verbose=verbose)
        result = auditing.run(Path(workdir.path), verbose=verbose)
        paths = result.save(workdir.path)
    print(summary(result))
    print("report: " + ", ".join(map(str, paths)))
    leaks = any(cell["finding"] == LEAKS for cell in result.verdicts_by_defence())
    return LEAKED if FAIL_ON_LEAK.value and leaks else 0


def summary(result) -> str:
    """The findings in a few lines for a person."""
    verdict = result.verdict()
    lines = [f"{verdict.finding} (confidence {verdict.confidence:.0%}): {verdict.reason}"]
    for cell in result.verdicts_by_defence():
        lines.append(
            f"  batch {cell['batch_size']}, {cell['defence']}: {cell['finding']}; "
            f"{cell['attack']} reaches {cell['psnr_db']:.1f} dB (controls "
            f"{cell['control_psnr_db']:.1f}), identifies {cell['iip']:.0%}, labels "
            f"{cell['label_accuracy']:.0%}"
        )
    if result.peak_memory_gib is not None:
        lines.append(f"peak memory: {result.peak_memory_gib:.2f} GiB")
    return "\n".join(lines)


def run() -> None:
    """The console script."""
    app.run("tfgen-audit", main)


def _required(value, name, example):
    if value is None:
        raise UserError(f"--{name} is missing; {example}")
    return value


if __name__ == "__main__":
    run()
