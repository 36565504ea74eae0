"""Do scores of single layers say what whole networks lose, and do many plans beat the first?

    python tools/studies/hant_plans.py --config=configs/hant/digits.py --workdir=runs/fast

The folder is one in which tfgen-transform has ended with the same recipe. Random plans of all
budgets are put together, and what their networks lose on images that were set aside is ranked
beside the sums of their layers' scores (Kendall's tau), by every measure of scores, with moving
statistics of batch norm taken anew, as plans are compared, and as the candidates have them. Then
diverse plans of the run's own budget are evaluated, and the best of all is held against the first
on other images, and both once they are trained as the student was, for several seeds. Writes
`additivity.json`, `additivity.png` and `diversity.json`; the same command again goes on.
"""

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from hant import accuracy, plan_of, read_recipe

from tfgen.files.json_file import read_json, write_json
from tfgen.files.replacing import replace_file
from tfgen.runs.experiment import load_source
from tfgen.runs.transforming import Transforming, networks
from tfgen.runs.workdir import Workdir
from tfgen.search.hant import HANT, CutNetwork, Plan
from tfgen.search.hant.chain import at_rest
from tfgen.search.hant.library import Library
from tfgen.search.hant.problem import chosen_sum
from tfgen.search.hant.scores import gives_probabilities, log_probabilities, score_swaps

BATCH = 128
LOSSES = ("loss", "kl", "accuracy")  # of whole networks
MEASURES = ("kl", "loss")  # of scores


class Networks:
    """Networks of plans, put together of parts that are traced once each.

    Args:
        hant: the `HANT`.
        cut: `CutNetwork` of the same network once more, whose moving statistics are changed.
        images: array `[N, H, W, C]`.
        labels: `[N]` integers.
    """

    def __init__(self, hant: HANT, cut: CutNetwork, images: np.ndarray, labels: np.ndarray):
        pool, activation = hant.library.operations.values(), hant.library.activation
        self.operations = hant.operations
        self.library = Library(hant.library.folder, cut, pool, activation)
        self.parts: dict[tuple[int, int], _Part | None] = {}
        self.ends = [
            _Part(keras.Model(cut.network.inputs[0], cut.segments[0].input)),
            _Part(cut.tail(len(cut.segments) - 1)),
        ]
        starts = range(0, len(images), BATCH)
        self.images = [tf.constant(images[k : k + BATCH]) for k in starts]
        self.labels = np.asarray(labels)
        self.probabilities = gives_probabilities(cut.network)
        self.teacher = self._log_p(at_rest(cut.network))

    def losses(self, choices: Sequence[int], *, anew: bool = True) -> dict[str, float]:
        """What the network of a plan loses to the labels and to the teacher, by measure.

        Args:
            choices: sequence of integers, the operations.
            anew: whether moving statistics are those of the network on these images, or those that
                its parts have kept.
        """
        parts = [self.ends[0], *map(self._part, range(len(choices)), choices), self.ends[1]]
        parts = [part for part in parts if part is not None]
        for part in parts:
            part.reset()
        if anew:
            self._reestimate(parts)
        found = self._log_p(lambda x: _through(parts, x, "resting"))
        rows = np.arange(len(found))
        right = np.mean(found.argmax(1) == self.labels)
        known = np.mean(self.teacher.argmax(1) == self.labels)
        return {
            "loss": float(-np.mean(found[rows, self.labels])),
            "kl": float(np.mean(np.sum(np.exp(self.teacher) * (self.teacher - found), axis=1))),
            "accuracy": float(known - right),
        }

    def _reestimate(self, parts):
        """As `tfgen.search.hant.reestimate` does it, without a trace of the whole."""
        variables = [variable for part in parts for variable in part.variables]
        totals = [0.0] * len(variables)
        for x in self.images:
            _through(parts, x, "training")
            totals = [total + v.numpy().astype(np.float64) for total, v in zip(totals, variables)]
        for total, variable in zip(totals, variables):
            variable.assign(total / len(self.images))

    def _part(self, number, place):
        if (number, place) not in self.parts:
            model = self.library.candidate(number, self.operations[place])
            self.parts[number, place] = None if model is None else _Part(model)
        return self.parts[number, place]

    def _log_p(self, run):
        return np.concatenate([log_probabilities(run(x), self.probabilities) for x in self.images])


class _Part:
    """A model as two functions, and the moving statistics it came with."""

    def __init__(self, model):
        self.model, self.resting = model, at_rest(model)
        norms = [n for n in model.layers if isinstance(n, keras.layers.BatchNormalization)]
        for norm in norms:
            norm.momentum = 0.0  # what a step leaves is then the batch's own
        self.training = tf.function(
            lambda x: model(x, training=True), reduce_retracing=True, autograph=False
        )
        self.variables = [w for n in norms for w in (n.moving_mean, n.moving_variance)]
        self.known = [variable.numpy() for variable in self.variables]

    def reset(self):
        """Sets the moving statistics back."""
        for variable, value in zip(self.variables, self.known):
            variable.assign(value)


def _through(parts, x, mode):
    for part in parts:
        x = getattr(part, mode)(x)
    return x


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


def additivity(transforming, hant, cut: CutNetwork, data, learning, count: int) -> dict[str, Any]:
    """Sums of scores beside what whole networks of random plans lose; writes both files.

    Args:
        transforming: the `Transforming`.
        hant: the `HANT`, scored as the run is.
        cut: `CutNetwork` of the network once more.
        data: pair of images and labels that were set aside.
        learning: pair of images and labels by which is scored.
        count: integer, plans.
    """
    path = transforming.workdir.path / "additivity.json"
    result = read_json(path) if path.is_file() else {"plans": []}
    if "taus" in result:
        return result
    plans, section = random_plans(hant, count), transforming.config["scores"]
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
            print(f"{len(rows)} of {count} plans", flush=True)
            write_json(path, result)
    # As the program itself evaluates plans: put together, traced, statistics taken anew.
    again = hant.best(plans[-1:], *data, batch_size=BATCH)[2][0]
    result.update(
        images=len(data[0]),
        teacher=whole.losses(
            [hant.operations.index(hant.library.teacher_name)] * len(cut.segments)
        ),
        scored_by=section["measure"],
        taus=taus(rows),
        difference=abs(again - rows[-1]["anew"]["loss"]),
    )
    write_json(path, result)
    draw(result, transforming.workdir.path / "additivity.png")
    return result


def draw(result, path) -> None:
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


def diversity(transforming, hant, once_more, data, count: int, seeds: int) -> dict[str, Any]:
    """The best of many diverse plans beside the first, before and after training.

    Args:
        transforming: the `Transforming`.
        hant: the `HANT`.
        once_more: function of nothing to a `CutNetwork` of the network once more.
        data: pair of images and labels that were set aside, the first of which choose.
        count: integer, plans at most.
        seeds: integer, trainings of both.
    """
    section, path = transforming.config["plan"], transforming.workdir.path / "diversity.json"
    found = read_json(path) if path.is_file() else {"plans": [], "losses": [], "accuracies": {}}
    choosing = [x[: section["num_images"]] for x in data]
    judging = [x[section["num_images"] :] for x in data]
    if not found["plans"]:
        options = {name: section[name] for name in ("overlap", "patience", "gap")}
        plans = hant.plans(transforming.budget_ms(hant), count, **options)
        found.update(
            plans=[list(plan.choices) for plan in plans],
            optimal=sum(plan.optimal for plan in plans),
            images=[len(choosing[0]), len(judging[0])],
        )
        write_json(path, found)
    print(f"{len(found['plans'])} plans, {found['optimal']} of them optimal", flush=True)
    if len(found["losses"]) < len(found["plans"]):
        whole = Networks(hant, once_more(), *choosing)
        for choices in found["plans"][len(found["losses"]) :]:
            found["losses"].append(whole.losses(choices)["loss"])
            write_json(path, found)
    both = {"first": 0, "best": int(np.argmin(found["losses"]))}
    if "judged" not in found:
        whole = Networks(hant, once_more(), *judging)
        found["judged"] = {n: whole.losses(found["plans"][k])["loss"] for n, k in both.items()}
        write_json(path, found)
    split = transforming.config["evaluation"]["split"]
    test = load_source(transforming.training, transforming.data_dir, split)
    for seed in range(seeds):
        for name, number in both.items():
            key = f"{name}_{seed}"
            if key not in found["accuracies"]:
                plan = plan_of(hant, tuple(found["plans"][number]))
                network = _trained(transforming, hant, plan, choosing[0], seed, number)
                found["accuracies"][key] = accuracy(network, test)
                write_json(path, found)
    return found


def _trained(transforming, hant, plan, images, seed, number) -> keras.Model:
    """The network of a plan, trained as the student was, in an order drawn by a seed."""
    changed = {**transforming.config, "training": {"seed": seed}}
    given = transforming.workdir, transforming.data_dir, transforming.say
    own = transforming.workdir.path / "controls" / f"plan_{number}_{seed}"
    if not (own / "start.keras").is_file():
        networks.save_network(hant.best([plan], images)[1], own / "start.keras")
    start = networks.read_network(own / "start.keras")
    return Transforming(changed, *given).taught(hant, start, own).network


def lines(folder) -> Iterator[str]:
    """What was found, in Markdown."""
    result = read_json(folder / "additivity.json")
    rows = result["plans"]
    ruined = np.mean([row["anew"]["loss"] >= np.log(10) for row in rows])
    yield (
        f"{len(rows)} random plans, {result['images']} images, {ruined:.0%} lose more than knowing "
        f"nothing; put together by the program one differs by {result['difference']:.1e}"
    )
    yield "| Statistics | Loss of the whole | Scores | tau | 95 % |"
    yield "|---|---|---|---|---|"
    for each in result["taus"]:
        tau, low, high = (_shown(each[name]) for name in ("tau", "low", "high"))
        names = " | ".join(each[k] for k in ("statistics", "loss", "measure"))
        yield f"| {names} | {tau} | {low} to {high} |"
    if (folder / "diversity.json").is_file():
        found = read_json(folder / "diversity.json")
        falling = np.minimum.accumulate(found["losses"])
        yield f"best of K plans: {[round(float(falling[k - 1]), 4) for k in _powers(len(falling))]}"
        yield f"on other images: {found['judged']}; once trained: {found.get('accuracies')}"


def _shown(value):
    """Three digits; files keep None of numbers that have no order."""
    return "-" if value is None or np.isnan(value) else f"{value:.3f}"


def _powers(count):
    return sorted({min(2**k, count) for k in range(count.bit_length() + 1)})


def study(config, workdir, data_dir, *, count, plans, seeds, images) -> None:
    """Both parts.

    Args:
        config: dict of the transformation, complete.
        workdir: `Workdir` of one that has ended.
        data_dir: path of the folder with data sets, or None.
        count: integer, random plans.
        plans: integer, diverse plans at most.
        seeds: integer, trainings.
        images: integer, those that were set aside and by which is judged.
    """
    transforming = Transforming(config, workdir, data_dir, say=print)
    hant, source, held_out = transforming.prepared()
    data = transforming.some(held_out, config["plan"]["num_images"] + images)

    def once_more():
        return CutNetwork(transforming.teacher(), config["pool"]["boundaries"])

    learning = transforming.some(source, config["scores"]["num_images"])
    additivity(transforming, hant, once_more(), [x[-images:] for x in data], learning, count)
    print("\n".join(lines(workdir.path)), flush=True)
    diversity(transforming, hant, once_more, data, plans, seeds)
    print("\n".join(lines(workdir.path)), flush=True)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", required=True, help="FILE or FILE:MODE, as of tfgen-transform")
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--data_dir")
    parser.add_argument("--count", type=int, default=120, help="random plans")
    parser.add_argument("--plans", type=int, default=100, help="diverse plans at most")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of both")
    parser.add_argument("--images", type=int, default=2000, help="by which networks are judged")
    given = parser.parse_args()
    options = {name: getattr(given, name) for name in ("count", "plans", "seeds", "images")}
    study(read_recipe(given.config), Workdir(given.workdir), given.data_dir, **options)


if __name__ == "__main__":
    main()
