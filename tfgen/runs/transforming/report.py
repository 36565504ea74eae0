"""What a transformation has found, for people and for programs."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfgen.files.json_file import write_json
from tfgen.files.replacing import replace_file
from tfgen.runs.transforming.measured import INT8, STUDENT, TEACHER, TEACHER_INT8
from tfgen.search.hant import Plan
from tfgen.search.hant.planner import Planner

_PAGE = """\
# {name}, made fast

{sentence}

## What it takes and how often it is right

| Network | Accuracy | Latency (ms) | Faster |
|---|---|---|---|
{networks}

Accuracies are of {images}. {backend}

## The plan

It was made by latencies in {precision}. {predicted} The budget was {budget:.4g} ms.

| Layer | Operation | Saves (ms) | Loses |
|---|---|---|---|
{rows}

"Loses" is {measure} where the operation alone replaces its layer; the sum says what the plan was
expected to lose before the whole network was trained.

![What every layer saves and loses](plan.png)

![The least that is lost at every latency, and the budget](front.png)
"""
_MEASURES = {
    "kl": "the divergence of the answers in nats",
    "loss": "by how much the cross-entropy grows, in nats,",
    "accuracy": "by how much the accuracy falls",
}


def write(
    folder: Path,
    planner: Planner,
    plan: Plan,
    budget_ms: float,
    times: Mapping[str, float],
    right: Mapping[str, Any],
    config: Mapping[str, Any],
) -> dict[str, Any]:
    """Writes `report.json`, `report.md`, `plan.png` and `front.png`; returns what the first holds.

    Args:
        folder: path of the student's folder.
        planner: the `Planner`.
        plan: the `Plan` that was chosen.
        budget_ms: float, the budget of the whole network.
        times: mapping of a network's name to its milliseconds.
        right: mapping of a network's name to its accuracy, with `images` and `num_images`.
        config: dict of the transformation, complete.
    """
    predicted = planner.predicted_ms(plan)
    found = {
        "network": planner.library.network.network.name,
        "networks": {
            name: {
                "accuracy": right[name],
                "latency_ms": times.get(name),
                "speed_up": times[TEACHER] / times[name] if name in times else None,
            }
            for name in (TEACHER, STUDENT, TEACHER_INT8, INT8)
            if name in right
        },
        # By how much the student is faster than the network as it came, and in int8 than itself.
        "speed_ups": {
            name: times[slow] / times[fast]
            for name, (slow, fast) in _SPEED_UPS.items()
            if slow in times and fast in times
        },
        "images": right["images"],
        "budget_ms": budget_ms,
        "teacher_table_ms": planner.latency_ms,
        "predicted_ms": predicted,
        # Of one run to the other the machine may be busier: teacher and student are of one.
        "predicted_speed_up": planner.latency_ms / predicted,
        "latency": {key: config["latency"][key] for key in _MEASURED},
        "plan": [row._asdict() for row in planner.rows(plan)],
        "score": plan.score,
    }
    write_json(folder / "report.json", found)
    planner.plot(plan, folder / "plan.png")
    # Of whole networks, as the budget is: with what stem and head take.
    front, rest = planner.front(), predicted - plan.latency_ms
    whole = dataclasses.replace(front, latencies_ms=front.latencies_ms + rest)
    whole.plot(folder / "front.png", [budget_ms])
    with replace_file(folder / "report.md") as temporary:
        temporary.write_text(page(found, config), encoding="utf-8")
    return found


_MEASURED = ("backend", "threads", "batch_size", "precision", "table")
_SPEED_UPS = {
    "float32": (TEACHER, STUDENT),
    "int8": (TEACHER_INT8, INT8),
    "int8_over_float32": (STUDENT, INT8),
}


def page(found: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The report as Markdown.

    Args:
        found: dict, see `write`.
        config: dict of the transformation, complete.
    """
    section = found["latency"]
    rows = [
        f"| {r['layer']} | {r['operation']} | {r['saved_ms']:.4f} | {r['score']:.4g} |"
        for r in found["plan"]
    ]
    return _PAGE.format(
        name=found["network"],
        sentence="  \n".join(lines(found)),
        networks="\n".join(map(_network_row, found["networks"].items())),
        images=found["images"],
        backend="Latencies are those of a table of another device."
        if section["table"] is not None
        else f"Latencies were measured end to end, in turns, with {section['backend']} on "
        f"{_count(section['threads'], 'thread')}, {_count(section['batch_size'], 'image')} at a "
        f"time.{_of_int8(found)}",
        predicted=_predicted(found),
        budget=found["budget_ms"],
        precision=section["precision"],
        rows="\n".join(rows),
        measure=_MEASURES[config["scores"]["measure"]],
    )


def _count(number, noun) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _predicted(found) -> str:
    text = (
        f"The table says {found['teacher_table_ms']:.4g} ms for the network as it came and "
        f"{found['predicted_ms']:.4g} ms for the plan, {found['predicted_speed_up']:.2f}x"
    )
    measured = found["speed_ups"].get(found["latency"]["precision"])
    return f"{text}." if measured is None else f"{text}; measured were {measured:.2f}x."


def _of_int8(found) -> str:
    known = found["speed_ups"]
    if "int8_over_float32" not in known:
        return ""
    return (
        f" In int8 the student is {known['int8']:.2f}x as fast as the network as it came in int8, "
        f"and {known['int8_over_float32']:.2f}x as fast as itself in float32."
    )


def _network_row(item) -> str:
    name, row = item
    ms = "not measured" if row["latency_ms"] is None else f"{row['latency_ms']:.4f}"
    faster = "" if row["speed_up"] is None else f"{row['speed_up']:.2f}x"
    return f"| {name} | {row['accuracy']:.2%} | {ms} | {faster} |"


def lines(found: Mapping[str, Any]) -> list[str]:
    """What came of it, a line for each network.

    Args:
        found: dict, see `write`.
    """
    said = []
    for name, row in found["networks"].items():
        took = "" if row["latency_ms"] is None else f", {row['latency_ms']:.4g} ms"
        faster = "" if row["speed_up"] is None or name == TEACHER else f" ({row['speed_up']:.2f}x)"
        said.append(f"{name}: accuracy {row['accuracy']:.2%}{took}{faster}")
    return said
