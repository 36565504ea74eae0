"""What every benchmark measured, as rows of one form, and these as a table and a picture.

A row is a dict: `benchmark`, `case`, `batch_size`, `precision`, `threads`, `clock`, `seconds` of
"torch" and "tfgen", `ratio` of them, and where they are known `gflop` of a step, `peak_gib` of both
sides and `versions`.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def _row(benchmark: str, case: str, torch: float, tfgen: float, **more: Any) -> Row:
    seconds = {"torch": torch, "tfgen": tfgen}
    plain = {"precision": "float32", "clock": "wall"}
    case = {"benchmark": benchmark, "case": case, "seconds": seconds, "ratio": torch / tfgen}
    return {**plain, **case, **more}


def of_steps(found: Sequence[Row]) -> list[Row]:
    """Of `unas.py`, `ood.py` and `grounding.py`, which write rows."""
    return list(found)


def of_lsgm(found: Sequence[Mapping]) -> list[Row]:
    rows = []
    for result in found:
        names = {"train": "training step", "evaluate": "network evaluation"}
        more = {key: result[key] for key in ("batch_size", "threads", "clock")}
        for what, name in names.items():
            seconds, case = result[what]["seconds"], f"{name}, {result['config']}"
            more["gflop"] = result[what]["gflop"]
            rows.append(_row("lsgm", case, seconds["torch"], seconds["tfgen"], **more))
    return rows


def of_nvae(found: Mapping) -> list[Row]:
    rows = []
    for result in found["results"]:
        torch, tfgen = (result["sides"][side] for side in ("torch", "tfgen"))
        more = {key: result[key] for key in ("batch_size", "threads")}
        more["versions"] = [torch["version"], tfgen["version"]]
        peaks = {name: side["train_peak_gib"] for name, side in result["sides"].items()}
        fastest = min((k for k in torch["medians"] if k != "train"), key=torch["medians"].get)
        for what, name in (("train", "training step"), (fastest, "samples")):
            extra = {}
            if what == "train":
                extra = {"gflop": result["reached"]["tfgen"]["gflop"], "peak_gib": peaks}
            seconds = (side["medians"][what] for side in (torch, tfgen))
            rows.append(_row("nvae", f"{name}, {result['config']}", *seconds, **more, **extra))
    return rows


def of_langevin(found: Mapping) -> list[Row]:
    seconds = found["seconds_per_step"]
    torch = min(value for name, value in seconds.items() if name.startswith("torch"))
    more = {key: found[key] for key in ("batch_size", "threads")}
    case = f"Langevin step, {found['config']}"
    return [_row("vaebm", case, torch, seconds["tfgen plain graph"], **more)]


def of_sir(found: Mapping) -> list[Row]:
    seconds = found["seconds"]
    torch = min(value for name, value in seconds.items() if name.startswith("torch"))
    more = {key: found[key] for key in ("batch_size", "threads")}
    case = f"a group from {found['num_proposals']} proposals"
    return [_row("ncp", case, torch, seconds["tfgen plain graph"], **more)]


def of_gradinversion(found: Sequence[Mapping]) -> list[Row]:
    return [
        _row(
            "gradinversion",
            f"iteration, {result['network']}",
            result["torch_seconds"],
            result["tfgen_seconds"],
            **{key: result[key] for key in ("batch_size", "threads", "versions")},
        )
        for result in found
    ]


def of_optimizer(found: Mapping) -> list[Row]:
    rows = []
    for model, sides in found.items():
        medians = {name: statistics.median(values["wall"]) for name, values in sides.items()}
        sides = medians["PyTorch foreach Fromage"], medians["tfgen Fromage"]
        rows.append(_row("fromage", f"step, {model}", *sides, batch_size=None, threads=None))
    return rows


def fractions(row: Row, matmul_gflops: float) -> dict[str, float] | None:
    """Share of the machine's rate in matrix products that each side reaches, where it is known."""
    if not row.get("gflop"):
        return None
    return {k: row["gflop"] / seconds / matmul_gflops for k, seconds in row["seconds"].items()}


def table(rows: Sequence[Row], machine: Mapping[str, Any]) -> str:
    """Markdown: what was measured on, then a line a row."""
    busy, count = machine["load"] > 0.5, machine["threads"]
    threads = f"{count} thread{'s' * (count > 1)} a side"
    lines = [
        f"{machine['device']}, {threads}, float32, "
        f"{', '.join(machine['versions'])}; {machine['matmul_gflops']:.0f} GFLOP/s in matrix "
        f"products, {machine['copy_gbytes']:.1f} GB/s in copies. Both sides took turns"
        + (", and the processor's seconds count" if machine["clock"] == "cpu" else "")
        + (f"; the machine was busy (load {machine['load']:.1f})." if busy else "."),
        "",
        "| | | batch | PyTorch | tfgen | ratio | of the matrix rate | peak memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        seconds, peaks = row["seconds"], row.get("peak_gib")
        share = fractions(row, machine["matmul_gflops"])
        cells = [
            row["benchmark"],
            row["case"],
            str(row["batch_size"] or "-"),
            *(f"{1e3 * seconds[side]:.1f} ms" for side in ("torch", "tfgen")),
            f"{row['ratio']:.2f}x",
            f"{share['torch']:.0%}, {share['tfgen']:.0%}" if share else "-",
            f"{peaks['torch']:.2f}, {peaks['tfgen']:.2f} GiB" if peaks else "-",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[Row], file: Path) -> None:
    """The ratios as bars, on a logarithmic axis, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [f"{row['benchmark']}: {row['case']}" for row in rows]
    ratios = [row["ratio"] for row in rows]
    figure, axes = pyplot.subplots(figsize=(8, 1.2 + 0.3 * len(rows)), layout="constrained")
    colours = ["tab:blue" if ratio >= 1.0 else "tab:orange" for ratio in ratios]
    axes.barh(names, [ratio - 1.0 for ratio in ratios], left=1.0, color=colours)
    axes.set_xscale("log", base=2)
    axes.set_xlim(min([0.5, *ratios]) / 1.1, max([2.0, *ratios]) * 1.1)
    axes.xaxis.set_major_formatter("{x:g}x")
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xlabel("PyTorch's seconds over tfgen's")
    axes.invert_yaxis()
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
