"""Tables and pictures of an optimizer study: every run, at its own rate."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tfgen.files.replacing import replace_file
from tfgen.runs.numbers import misfit, with_nan

_COLOURS = {"sgd": "tab:green", "adam": "tab:blue", "fromage": "tab:red"}
_STYLES = ("-", "--", ":", "-.", (0, (1, 3)))


_SHOWN = {
    "loss": list,
    "accuracy": list,
    "test_loss": float,
    "test_accuracy": float,
    "seconds": float,
}


def readable(results: Mapping[str, Any]) -> dict[str, Any]:
    """The runs of which metrics.json holds what a study writes; a warning says why of others."""
    found = {}
    for name, result in results.items():
        reason = misfit(with_nan(result), _SHOWN)
        if reason is None and not (result["loss"] and result["accuracy"]):
            reason = "it has no epoch"
        if reason is None:
            found[name] = result
        else:
            warnings.warn(
                f"metrics.json: {name!r} is left out of the report: {reason}", stacklevel=2
            )
    return found


def line(name: str, result: Mapping[str, Any]) -> str:
    """One run on one line."""
    return (
        f"{name}: train loss {_number(result['loss'][-1])}, "
        f"accuracy {_number(result['accuracy'][-1])}; test loss {_number(result['test_loss'])}, "
        f"accuracy {_number(result['test_accuracy'])}; {result['seconds']:.0f} s"
    )


def write(config: Mapping[str, Any], results: Mapping[str, Any], folder: str | os.PathLike) -> str:
    """Writes `report.md` and `curves.png` into a folder; returns the report."""
    depths = config["model"]["depths"]
    text = depth_table(config, results) if len(depths) > 1 else loss_table(config, results)
    with replace_file(Path(folder) / "report.md") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    (draw_depths if len(depths) > 1 else draw_curves)(figure.subplots(), config, results)
    with replace_file(Path(folder) / "curves.png") as temporary:
        figure.savefig(temporary, dpi=100)
    return text


def grid(config: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Optimizers and rates, in the order of the configuration."""
    return [(name, r) for name, o in config["optimizer"].items() for r in o["learning_rates"]]


def depth_table(config, results) -> str:
    """Training accuracy in the last epoch: a row for each optimizer and rate, a column a depth."""
    depths = config["model"]["depths"]
    lines = [
        "| optimizer | rate | " + " | ".join(str(d) for d in depths) + " |",
        "|---|---|" + "---|" * len(depths),
    ]
    for name, rate in grid(config):
        cells = [_cell(_last(results, name, rate, d, "accuracy"), "{:.3f}") for d in depths]
        lines.append(f"| {name} | {rate:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def loss_table(config, results) -> str:
    """Last training loss and held-out loss of every rate, and the best of each optimizer."""
    (depth,) = config["model"]["depths"]
    lines = [
        "| optimizer | rate | train loss | test loss | test accuracy |",
        "|---|---|---|---|---|",
    ]
    for name, rate in grid(config):
        values = [
            _cell(_last(results, name, rate, depth, key), "{:.4f}")
            for key in ("loss", "test_loss", "test_accuracy")
        ]
        lines.append(f"| {name} | {rate:g} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def draw_depths(axis, config, results) -> None:
    """Training accuracy over depth, one line for each optimizer and rate."""
    depths = config["model"]["depths"]
    for name, options in config["optimizer"].items():
        for style, rate in zip(_STYLES, options["learning_rates"], strict=False):
            found = [(d, _last(results, name, rate, d, "accuracy")) for d in depths]
            found = [(d, value) for d, value in found if value is not None]
            if found:
                label = f"{name} {rate:g}"
                axis.plot(
                    *zip(*found), color=_COLOURS[name], ls=style, marker="o", ms=3, label=label
                )
    axis.axhline(0.112, color="0.6", lw=0.8)
    axis.text(depths[-1], 0.125, "chance", color="0.5", ha="right", fontsize="small")
    axis.set(xlabel="hidden layers", ylabel="training accuracy, last epoch", ylim=(0.0, 1.02))
    axis.legend(fontsize="small", ncols=len(config["optimizer"]), loc="upper right")


def draw_curves(axis, config, results) -> None:
    """Training loss over epochs, one line for each optimizer and rate."""
    (depth,) = config["model"]["depths"]
    for name, options in config["optimizer"].items():
        for style, rate in zip(_STYLES, options["learning_rates"], strict=False):
            loss = results.get(f"{name} {rate:g} depth {depth}", {}).get("loss", [])
            epochs = [e + 1 for e, value in enumerate(loss) if value is not None]
            losses = [value for value in loss if value is not None]
            width = 2.0 if name == "fromage" else 1.0
            axis.plot(
                epochs, losses, color=_COLOURS[name], ls=style, lw=width, label=f"{name} {rate:g}"
            )
    steps = config["training"]["steps_per_epoch"]
    axis.set(xlabel=f"epoch of {steps} steps", ylabel="training loss")
    axis.legend(fontsize="small")


def _last(results, name, rate, depth, what):
    result = results.get(f"{name} {rate:g} depth {depth}")
    if result is None:
        return None
    value = result[what]
    value = value[-1] if isinstance(value, list) else value
    if result["loss"][-1] is None:  # accuracy of a network that diverged is a number without sense
        value = None
    return float("nan") if value is None else value


def _cell(value, form):
    return "" if value is None else form.format(value)


def _number(value):
    return "not finite" if value is None else f"{value:.4f}"
