"""Sums of layers' scores beside what whole networks of plans lose, as ranks.

Plans are "random", of any operation in any layer, or "solved", those of the programme at all
budgets, among which sums of scores have to choose: architectures of varied budgets, as in LANA
(ECCV 2022, on EfficientNetV2-B3), whose own draw is not described further.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from hant_controls import plan_of
from hant_networks import BATCH, Networks

from tfgen.files.json_file import read_json, write_json
from tfgen.files.replacing import replace_file
from tfgen.search.hant import HANT, CutNetwork, Plan
from tfgen.search.hant.problem import chosen_sum
from tfgen.search.hant.scores import score_swaps

LOSSES = ("loss", "kl", "accuracy")  # of whole networks
MEASURES = ("kl", "loss")  # of scores


def random_plans(hant: HANT, count: int, seed: int = 0) -> list[Plan]:
    """Different plans of evenly spread latencies: layers in any order become any operation, until
    the network is fast enough.

    Args:
        hant: the `HANT`, scored and measured.
        count: integer.
        seed: integer.
    """
    rng, (scores, latencies) = np.random.default_rng(seed), hant.tables()
    usable = [np.isfinite(a) & np.isfinite(b) for a, b in zip(scores, latencies)]
    teacher = hant.operations.index(hant.library.teacher_name)
    others = [np.flatnonzero(row & (np.arange(len(row)) != teacher)) for row in usable]
    rest = hant.latency_ms - sum(row[teacher] for row in latencies)
    fastest = rest + sum(row[use].min() for row, use in zip(latencies, usable))
    found: dict[tuple, Plan] = {}
    while len(found) < count:
        budget = fastest + (hant.latency_ms - fastest) * (len(found) + rng.random()) / count
        choices = [teacher] * len(usable)
        for layer in rng.permutation(len(usable)):
            if rest + sum(row[c] for row, c in zip(latencies, choices)) <= budget:
                break
            if len(others[layer]):
                choices[layer] = int(rng.choice(others[layer]))
        if any(choice != teacher for choice in choices):
            found.setdefault(tuple(choices), plan_of(hant, tuple(choices)))
    # In any order, so that the first of them stand for all.
    return [list(found.values())[k] for k in rng.permutation(count)]


def solved_plans(hant: HANT, count: int, each: int = 4) -> list[Plan]:
    """Different plans of the programme, some of each of many evenly spread budgets.

    Args:
        hant: the `HANT`, scored and measured.
        count: integer, plans; fewer come where budgets have too few.
        each: integer, diverse plans of a budget. Defaults to `4`.
    """
    scores, latencies = hant.tables()
    teacher = hant.operations.index(hant.library.teacher_name)
    least = [np.where(np.isfinite(a), b, np.inf).argmin() for a, b in zip(scores, latencies)]
    ends = (tuple(map(int, least)), (teacher,) * len(least))
    fastest, whole = (hant.predicted_ms(plan_of(hant, choices)) for choices in ends)
    found: dict[tuple, Plan] = {}
    finer = -(-count // each)
    # A plan may be that of several budgets, so that more of them are tried if need be.
    for number in (*np.arange(finer) + 0.5, *range(finer)):
        if len(found) >= count:
            break
        budget = fastest + (whole - fastest) * number / finer
        for plan in hant.plans(budget * (1 + 1e-9), each):
            if any(choice != teacher for choice in plan.choices):
                found.setdefault(plan.choices, plan)
    plans = list(found.values())
    rng = np.random.default_rng(0)
    return [plans[k] for k in rng.permutation(len(plans))[:count]]


DRAWS = {"random": random_plans, "solved": solved_plans}


def kendall(first, second, num_resamples: int = 2000, seed: int = 0) -> dict[str, float]:
    """Kendall's tau-b of two rows of numbers, and its 95 % interval by the bootstrap over pairs.

    Args:
        first: array `[N]`.
        second: array `[N]`.
        num_resamples: integer.
        seed: integer.
    """
    signs = [np.sign(np.subtract.outer(x, x)) for x in map(np.asarray, (first, second))]
    count, rng = len(signs[0]), np.random.default_rng(seed)
    drawn = rng.multinomial(count, np.full(count, 1 / count), num_resamples)
    weights = np.concatenate([np.ones((1, count)), drawn]).astype(float)

    def sums(matrix):
        return np.sum((weights @ matrix) * weights, axis=1)

    pairs = sums(signs[0] * signs[1])
    untied = np.sqrt(sums(np.abs(signs[0])) * sums(np.abs(signs[1])))
    tau = np.divide(pairs, untied, out=np.full(len(pairs), np.nan), where=untied > 0)
    known = tau[1:][np.isfinite(tau[1:])]
    low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
    return {"tau": float(tau[0]), "low": float(low), "high": float(high)}


def taus(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Kendall's tau of every measure of scores beside every loss of whole networks.

    Args:
        rows: sequence of dicts, one a plan, of `sums` by measure and `anew` and `kept` by loss.
    """
    found = []
    for statistics in ("anew", "kept"):
        for loss in LOSSES:
            true = [row[statistics][loss] for row in rows]
            for measure in rows[0]["sums"]:
                tau = kendall([row["sums"][measure] for row in rows], true)
                found.append(dict(statistics=statistics, loss=loss, measure=measure, **tau))
    return found


def additivity(
    transforming, hant, cut: CutNetwork, data, learning, count: int, draw: str = "random"
) -> dict[str, Any]:
    """Sums of scores beside what whole networks of plans lose; writes both files.

    Args:
        transforming: the `Transforming`.
        hant: the `HANT`, scored as the run is.
        cut: `CutNetwork` of the network once more.
        data: pair of images and labels that were set aside.
        learning: pair of images and labels by which is scored.
        count: integer, plans.
        draw: string, "random" or "solved". Defaults to `"random"`.
    """
    path = transforming.workdir.path / f"{stem(draw)}.json"
    result = read_json(path) if path.is_file() else {"plans": []}
    if "taus" in result:
        return result
    plans, section = DRAWS[draw](hant, count), transforming.config["scores"]
    scores = {section["measure"]: hant.tables()[0]}
    for measure in MEASURES:
        if measure not in scores:
            size = section["batch_size"]
            found = score_swaps(hant.library, *learning, measure, batch_size=size)
            scores[measure] = [np.maximum(row, 0.0) for row in found]
    whole, rows = Networks(hant, cut, *data), result["plans"]
    for plan in plans[len(rows) :]:
        sums = {name: chosen_sum(table, plan.choices) for name, table in scores.items()}
        both = {"anew": whole.losses(plan.choices), "kept": whole.losses(plan.choices, anew=False)}
        took = hant.predicted_ms(plan)
        rows.append({"choices": plan.choices, "latency_ms": took, "sums": sums, **both})
        if len(rows) % 10 == 0:
            print(f"{len(rows)} of {len(plans)} plans", flush=True)
            write_json(path, result)
    # As the program itself evaluates plans: put together, traced, statistics taken anew.
    again = hant.best(plans[-1:], *data, batch_size=BATCH)[2][0]
    result.update(
        images=len(data[0]),
        teacher=whole.losses(
            [hant.operations.index(hant.library.teacher_name)] * len(cut.segments)
        ),
        draw=draw,
        scored_by=section["measure"],
        taus=taus(rows),
        difference=abs(again - rows[-1]["anew"]["loss"]),
    )
    write_json(path, result)
    picture(result, path.with_suffix(".png"))
    return result


def stem(draw: str) -> str:
    """The name of the files of a draw."""
    return "additivity" if draw == "random" else f"additivity_{draw}"


def picture(result, path) -> None:
    """Two clouds: the networks as plans are compared, and with the statistics that were kept."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    own, rows = result["scored_by"], result["plans"]
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    for axis, (statistics, title) in zip(
        figure.subplots(1, 2),
        (("anew", "batch-norm statistics taken anew"), ("kept", "statistics as they were")),
    ):
        cloud = axis.scatter(
            [row["sums"][own] for row in rows],
            [row[statistics]["loss"] for row in rows],
            c=[row["latency_ms"] * 1e3 for row in rows],
            s=18,
        )
        tau = next(
            each
            for each in result["taus"]
            if (each["statistics"], each["loss"], each["measure"]) == (statistics, "loss", own)
        )
        axis.axhline(result["teacher"]["loss"], color="0.5", lw=1, ls=":")
        axis.set(xscale="log", yscale="log", xlabel=f"sum of scores ({own}, nats)")
        for scale in (axis.xaxis, axis.yaxis):  # whose labels would lie on one another
            scale.set_major_locator(LogLocator(subs=(1, 2, 5)))
            scale.set_major_formatter(ScalarFormatter())
            scale.set_minor_formatter(NullFormatter())
        axis.set_title(f"{title}: tau {tau['tau']:.2f}", fontsize="medium")
        axis.set_ylabel("cross-entropy of the whole network (nats)")
    figure.colorbar(cloud, label="latency by the table (microseconds)")
    with replace_file(path) as temporary:
        figure.savefig(temporary, dpi=100)


def table(folder, draw: str = "random") -> Iterator[str]:
    """What was found, in Markdown."""
    result = read_json(folder / f"{stem(draw)}.json")
    rows = result["plans"]
    ruined = np.mean([row["anew"]["loss"] >= np.log(10) for row in rows])
    yield (
        f"{len(rows)} {draw} plans, {result['images']} images, {ruined:.0%} lose more than knowing "
        f"nothing; put together by the program one differs by {result['difference']:.1e}"
    )
    yield "| Statistics | Loss of the whole | Scores | tau | 95 % |"
    yield "|---|---|---|---|---|"
    for each in result["taus"]:
        tau, low, high = (_shown(each[name]) for name in ("tau", "low", "high"))
        names = " | ".join(each[k] for k in ("statistics", "loss", "measure"))
        yield f"| {names} | {tau} | {low} to {high} |"


def _shown(value):
    """Three digits; files keep None of numbers that have no order."""
    return "-" if value is None or np.isnan(value) else f"{value:.3f}"
