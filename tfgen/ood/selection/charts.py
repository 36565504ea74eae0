"""A picture of weights on their way."""

import os
from collections.abc import Mapping, Sequence

from tfgen.files.replacing import replace_file


def draw_trajectory(trajectory: Sequence[Mapping[str, float]], path: str | os.PathLike) -> None:
    """Writes a PNG of every weight, and the validation loss, over training steps.

    Args:
        trajectory: sequence of dicts, see `LearnedWeights`; at least one.
        path: path of the file.
    """
    from matplotlib.figure import Figure

    steps = [row["step"] for row in trajectory]
    figure = Figure(figsize=(7.0, 4.6), layout="constrained")
    weights, loss = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for name in trajectory[0]:
        if name not in ("step", "validation_loss"):
            weights.plot(steps, [row[name] for row in trajectory], label=name)
    weights.axhline(1.0, color="0.7", lw=0.8)
    weights.set_ylabel("weight")
    weights.legend(fontsize="small")
    loss.plot(steps, [row["validation_loss"] for row in trajectory], color="0.3")
    loss.set(xlabel="training step", ylabel="validation loss")
    with replace_file(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
