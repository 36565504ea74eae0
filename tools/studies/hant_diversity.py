"""The best of many diverse plans beside the first, before and after training."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from hant import accuracy
from hant_controls import plan_of
from hant_networks import Networks

from tfgen.files.json_file import read_json, write_json
from tfgen.runs.experiment import load_source
from tfgen.runs.transforming import Transforming, networks
from tfgen.search.hant.chain import at_rest


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
                found["accuracies"][key] = accuracy(at_rest(network), test)
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


def table(folder) -> Iterator[str]:
    """What was found, in lines."""
    found = read_json(folder / "diversity.json")
    falling = np.minimum.accumulate(found["losses"])
    yield f"best of K plans: {[round(float(falling[k - 1]), 4) for k in _powers(len(falling))]}"
    yield f"on other images: {found['judged']}; once trained: {found.get('accuracies')}"


def _powers(count):
    return sorted({min(2**k, count) for k in range(count.bit_length() + 1)})
