"""What else would one do than HANT? The same network made as fast in other ways.

    python tools/studies/hant.py --config=configs/hant/fashion_mnist.py:cpu --workdir=runs/fast

The folder is one in which tfgen-transform has ended with the same recipe. Beside its student there
are the best of as many plans by the linear surrogate alone (the first plan), a random plan within
the same budget, the best that leaves layers out (single shot), for networks that were trained
here a uniformly narrower one, as wide as the student's latency allows, and the teacher with three
quarters of its weights pruned to zero by TensorFlow Model Optimization. All learn from labels and
from the teacher as the student did, and as long; all latencies are measured in turns in the end,
in both precisions (every network quantised without training, unless the recipe's quantization is
None). With `--trainings=3` each is trained with two further seeds, and accuracies are means and
standard deviations; `--only "layers left out" pruned` compares with these alone. Writes
`controls.json` and prints a table. What was found is kept: the same command again goes on.
"""

import argparse
import importlib.util
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from hant_controls import narrower, plan_of, pruned, random_plan, skipping_plan

from tfgen.files.json_file import read_json, write_json
from tfgen.runs.experiment import load_source
from tfgen.runs.transforming import Transforming, complete, networks
from tfgen.runs.transforming.measured import backend_of
from tfgen.runs.workdir import Workdir
from tfgen.search import latency
from tfgen.search.hant import InfeasibleError, Plan, quantize
from tfgen.search.hant.chain import at_rest
from tfgen.search.hant.teachers import read_network


class Study:
    """The networks of a study: made, trained, measured. What was trained lies in `controls/`.

    Args:
        config: dict of the transformation, complete.
        workdir: `Workdir` of one that has ended.
        data_dir: path of the folder with data sets, or None.
        trainings: integer, how often each network is trained, with consecutive seeds.
        only: sequence of names of what is compared with HANT's student; None is all.
    """

    def __init__(self, config, workdir, data_dir=None, trainings: int = 1, only=None):
        self.config, self.workdir, self.data_dir, self.only = config, workdir, data_dir, only
        self.transforming = Transforming(config, workdir, data_dir, say=print)
        self.hant, self.source, held_out = self.transforming.prepared()
        self.teacher = self.hant.library.network.network
        self.images, _ = self.transforming.some(held_out, config["plan"]["num_images"])
        number = config["quantization"]["num_images"]
        self.calibrating, _ = self.transforming.some(self.source, number)
        self.folder, first = workdir.path / "controls", config["training"]["seed"]
        self.seeds = range(first, first + trainings)

    def timed(self, items: Mapping[str, Any]) -> dict[str, float]:
        """Milliseconds by name, of models in float32 and of files, which take turns."""
        section = self.config["latency"]
        table = latency.measure(
            [latency.Block(name, item) for name, item in items.items()],
            backend_of({**section, "precision": "float32"}),
            num_runs=section["num_runs"],
            repeat=0,
            at_once=len(items),
        )
        return dict(zip(items, map(float, table.milliseconds(items))))

    def in_int8(self, models: Mapping[Any, keras.Model]) -> dict[Any, Any]:
        """The models in int8, quantised without training."""
        section, seed = self.config["quantization"], self.config["training"]["seed"]
        options = {key: section[key] for key in ("num_images", "float_stem")}
        return {
            name: quantize(model, self.calibrating, seed=seed, **options)
            for name, model in models.items()
        }

    def in_planned_precision(self, models: Mapping[str, keras.Model]) -> dict[str, float]:
        """Milliseconds by name, in the precision that was planned for."""
        if self.config["latency"]["precision"] != "int8":
            return self.timed(models)
        return self.timed({name: file.content for name, file in self.in_int8(models).items()})

    def controls(self) -> dict[str, Callable[[], Plan | keras.Model]]:
        """By name, functions that give what else is to be trained."""
        config, hant, student = self.config, self.hant, self.transforming.student
        budget, found = self.transforming.budget_ms(hant), {}
        plans = read_json(student / "plans.json")["found"]
        if config["model"]["source"] == "mobile":
            network = {"HANT": read_network(student / "student.keras")}
            took = self.in_planned_precision(network)["HANT"]
            found["narrower"] = lambda: narrower(config, took, self.in_planned_precision)
        found["random plan"] = lambda: random_plan(hant, budget, config["training"]["seed"])
        found["layers left out"] = lambda: skipping_plan(hant, budget)
        first = plan_of(hant, tuple(plans["plans"][0]["choices"]))
        if list(first.choices) != plans["chosen"]["choices"]:
            found["first plan (K = 1)"] = lambda: first
        return {name: make for name, make in found.items() if self._wanted(name)}

    def _wanted(self, name):
        return self.only is None or name in self.only

    def trained(self) -> dict[str, list[keras.Model]]:
        """All networks by name, of each as many as there are trainings; what is missing is trained.

        The first of HANT is the transformation's own student.
        """
        student = self.transforming.student
        found = {"teacher": [self.teacher], "HANT": [read_network(student / "student.keras")]}
        found["HANT"] += self._taught("HANT", student / "start.keras", self.seeds[1:])
        for name, make in self.controls().items():
            start = self.folder / _file_name(name) / "start.keras"
            try:
                if not start.is_file():
                    networks.save_network(self._begun(make()), start)
            except InfeasibleError as error:
                print(f"{name}: {error}", flush=True)
                continue
            found[name] = self._taught(name, start, self.seeds)
        if self._wanted("pruned"):
            found["pruned"] = [self._pruned(seed) for seed in self.seeds]
        return found

    def _begun(self, made):
        """A control's first weights: of a plan its network, with statistics of its own."""
        return self.hant.best([made], self.images)[1] if isinstance(made, Plan) else made

    def _taught(self, name, start, seeds):
        own, network = self.folder / _file_name(name), read_network(start)
        return [
            self.transforming.taught(
                self.hant, network, own if seed == self.seeds[0] else own / f"seed{seed}", seed
            ).network
            for seed in seeds
        ]

    def _pruned(self, seed):
        path = self.folder / "pruned" / f"seed{seed}.keras"
        if not path.is_file():
            network = pruned(self.config, self.source, self.teacher, seed)
            networks.save_network(network, path)
        return read_network(path)

    def run(self) -> dict[str, Any]:
        """Trains the others, measures all, writes `controls.json` and returns it."""
        found, files = self.trained(), {}
        if self.config["quantization"]["method"] is not None:
            files = {name: self.in_int8(dict(enumerate(made))) for name, made in found.items()}
        measured = {name: made[0] for name, made in found.items()}
        times = self.timed(
            measured | {f"{name} int8": made[0].content for name, made in files.items()}
        )
        split = self.config["evaluation"]["split"]
        test = load_source(self.transforming.training, self.data_dir, split)
        rows = {
            name: {
                "parameters": made[0].count_params(),
                "latency_ms": times[name],
                "speed_up": times["teacher"] / times[name],
                "accuracies": [accuracy(at_rest(network), test) for network in made],
            }
            for name, made in found.items()
        }
        for name, made in files.items():
            rows[name]["int8_latency_ms"] = times[f"{name} int8"]
            rows[name]["int8_accuracies"] = [accuracy(made[k].predict, test) for k in sorted(made)]
        result = {
            "images": test.extent,
            "budget_ms": self.transforming.budget_ms(self.hant),
            "rows": rows,
            "plans": read_json(self.transforming.student / "plans.json")["found"]["losses"],
        }
        write_json(self.workdir.path / "controls.json", result)
        print("\n".join(table(result)), flush=True)
        return result


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)


def accuracy(run: Callable, source) -> float:
    """The share of all images on which a function of images to answers is right."""
    right = 0
    for start in range(0, len(source), 100):
        rows = np.arange(start, min(start + 100, len(source)))
        found = run(np.asarray(source.images[rows], np.float32) / np.float32(255))
        right += int(np.sum(np.argmax(found, axis=1) == source.labels[rows]))
    return right / len(source)


def table(result: Mapping[str, Any]) -> list[str]:
    """The rows as Markdown."""
    rows, slowest = result["rows"], None
    lines = ["| Network | Parameters | Latency (ms) | Faster | Accuracy |", "|---|---|---|---|---|"]
    if any("int8_latency_ms" in row for row in rows.values()):
        lines = [lines[0] + " int8 (ms) | Faster | Accuracy |", lines[1] + "---|---|---|"]
        slowest = rows["teacher"]["latency_ms"]
    for name, row in rows.items():
        lines.append(
            f"| {name} | {row['parameters']:,} | {row['latency_ms']:.4f} | "
            f"{row['speed_up']:.2f}x | {_mean(row['accuracies'])} |"
        )
        if slowest is not None:
            took = row["int8_latency_ms"]
            right = _mean(row["int8_accuracies"])
            lines[-1] += f" {took:.4f} | {slowest / took:.2f}x | {right} |"
    return lines


def _mean(shares) -> str:
    """A mean, and the standard deviation where there are several."""
    spread = f" ± {np.std(shares, ddof=1):.2%}" if len(shares) > 1 else ""
    return f"{np.mean(shares):.2%}{spread}"


def read_recipe(named: str) -> dict[str, Any]:
    """The configuration that a command line names, complete.

    Args:
        named: string, FILE or FILE:MODE.
    """
    path, _, mode = named.partition(":")
    spec = importlib.util.spec_from_file_location("recipe", pathlib.Path(path))
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    return complete(recipe.get_config(mode))


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", required=True, help="FILE or FILE:MODE, as of tfgen-transform")
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--data_dir")
    parser.add_argument("--trainings", type=int, default=1, help="of every network, each a seed")
    parser.add_argument("--only", nargs="*", help="names of the table, of what is compared")
    arguments = parser.parse_args()
    Study(
        read_recipe(arguments.config),
        Workdir(arguments.workdir),
        arguments.data_dir,
        arguments.trainings,
        arguments.only,
    ).run()


if __name__ == "__main__":
    main()
