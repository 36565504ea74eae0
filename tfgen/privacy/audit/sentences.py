"""What a report says, each sentence out of what was done."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfgen.privacy.audit.cells import Attacked
from tfgen.privacy.audit.verdict import SIGNIFICANCE

UNKNOWN = "\N{EN DASH}"


def percent(value: float | None) -> str:
    """A share, as a reader wants it."""
    return UNKNOWN if value is None else f"{100 * value:.0f} %"


def confidence(value: float | None) -> str:
    """A confidence, never rounded up to certainty; nothing where nothing is concluded."""
    if value is None:
        return "no confidence: nothing is concluded"
    shown = math.floor(1000 * value) / 10
    return f"confidence {shown:.1f} %" if shown < 99.9 else "confidence over 99.9 %"


def subject(found: Mapping[str, Any]) -> str:
    """What the verdict at the top is about."""
    verdict = found["verdict"]
    what = (
        "The bare gradient, without a defence"
        if verdict["bare"]
        else f"The gradient under {verdict['defence']}; without a defence none was audited"
    )
    return f"{what}. Batches of {verdict['batch_size']}, strongest attack: {verdict['attack']}."


def labels(found: Mapping[str, Any]) -> str:
    """What became of the labels in the cell of the verdict."""
    if found["audit"]["threat_model"]["labels"] == "known":
        return "The attacker was given the labels."
    verdict = found["verdict"]
    keys = ("batch_size", "defence", "attack")
    (cell,) = [c for c in found["cells"] if all(c[k] == verdict[k] for k in keys)]
    return (
        f"{percent(cell['label_accuracy'])} of the labels were restored; a guess gets "
        f"{percent(cell['label_chance'])}."
    )


def facts(audit: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was audited, when and with what, as terms and descriptions."""
    data, versions = audit["data"], audit["versions"]
    shape = " x ".join(map(str, audit["image_shape"]))
    named = " ".join(str(data[k]) for k in ("name", "split") if data.get(k))
    return [
        (
            "Network",
            f"{audit['model']}: {audit['parameters']:,} shared parameters, {_norms(audit)}",
        ),
        ("Training", training(audit)),
        (
            "Data",
            f"{named or 'images given in memory'}: {data['num_images']:,} images of {shape}, "
            f"{data['num_classes']} classes{_unlabelled(data)}",
        ),
        (
            "Batches",
            f"{_counted(audit['batch_sizes'])}, {audit['num_batches']} of each size; "
            f"{_repetition(data)}",
        ),
        ("Seed", f"{audit['seed']}, of batches, defences and attacks"),
        ("Date", audit["created"]),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]


def training(audit: Mapping[str, Any]) -> str:
    """The state of the network's weights, as far as it is known."""
    state = audit.get("training")
    measured = (
        f"it classifies {percent(audit['data']['accuracy'])} of the audited images rightly "
        f"(guessing: {percent(1 / audit['num_classes'])})"
    )
    if state is None:
        return f"not stated; {measured}"
    parts = ["random weights" if state["weights"] is None else f"weights of {state['weights']}"]
    if state["epochs"]:
        parts.append(
            f"trained for {state['epochs']} epochs on {state['num_images']:,} images "
            f"(training accuracy {percent(state['accuracy'])})"
        )
    elif state["weights"] is None:
        parts.append("not trained")
    return f"{', then '.join(parts) if state['epochs'] else ', '.join(parts)}; {measured}"


def assumptions(audit: Mapping[str, Any]) -> list[str]:
    """What the attacker is taken to know."""
    return [*audit["assumptions"], "The attacker knows the network, its weights and its loss."]


def attack(attacked: Attacked, given: bool) -> str:
    """One attack on one batch in a line; its labels may have been given to it."""
    facts, rows, distances = attacked.facts, attacked.scored.rows, attacked.gradient
    labels = "given" if given else f"{facts['label_accuracy']:.0%}"
    psnr, best = (np.mean([row[c] for row in rows]) for c in ("psnr_db", "control_psnr_db"))
    return (
        f"batch {facts['batch_size']} #{facts['batch']}  {facts['defence']}  {facts['attack']}: "
        f"PSNR {psnr:.2f} dB (controls {best:.2f}), labels {labels}, gradient "
        f"distance {distances.reached:.3g} (originals {distances.originals:.3g}, unrelated "
        f"{distances.unrelated:.3g}), {facts['seconds']:.0f} s "
        f"({1e3 * facts['seconds_per_step']:.0f} ms a step)"
    )


def image(row: Mapping[str, Any]) -> str:
    """One image in a line."""
    return (
        f"image {row['image']}, class {row['label']}: {row['psnr_db']:.1f} dB (control "
        f"{row['control_psnr_db']:.1f}), SSIM {row['ssim']:.2f}, {_rank(row['rank'])}"
    )


def alternative(name: str, row: Mapping[str, Any]) -> str:
    """What a picture shows, for those who do not see it."""
    whose = f"image {row['image']} of class {row['label']}"
    if name == "original":
        return f"The client's own {whose}."
    if name == "restored":
        return (
            f"What the attack restored of {whose}: {row['psnr_db']:.1f} dB from the original, "
            f"{_rank(row['rank'])}."
        )
    psnr = row["prior_psnr_db" if name == "without gradient" else "unrelated_psnr_db"]
    return f"Control for {whose}, {name}: {psnr:.1f} dB from the original."


def reading(found: Mapping[str, Any]) -> list[str]:
    """How the numbers are to be read."""
    audit, data = found["audit"], found["audit"]["data"]
    lines = [
        "Reconstructions come in no order; each original is compared with the one that the "
        "assignment of least squared error gives it. The other batches below are matched in the "
        "same way, so that lucky pairings count on both sides.",
        "“Without gradient” is the same attack with its gradient term off: what its other terms "
        "alone show. “Unrelated images” are other images of the data. A margin counts from the "
        "better of both.",
        f"“Identified”: of {data['pool_size']} images the source is the nearest by the correlation "
        "of pixels, and no other is as near. An image can be identified at a PSNR below that of a "
        "grey square. “By chance” is the share that the same reconstructions identify of batches "
        "that were not attacked.",
        f"Leaks: p is the chance that reconstructions score as high, in any cell of this report, "
        f"against other batches{_same_classes(data)} ({_tests(audit)}). Images leak if p is at "
        f"most {SIGNIFICANCE:g} and either their mean margin exceeds {audit['threshold_db']:g} dB "
        "(95 % interval) or images are identified that the attack without the gradient does not "
        "identify; or if one is exact to a grey level of 255 and no other image is as near, or so "
        "few that chance would hardly put one of them into the batch. "
        f"At most {percent(SIGNIFICANCE)} of reports about attacks that know nothing say “leaks” "
        "anywhere.",
        "Confidence in “leaks” is one less p. Confidence in “no leak found” is the chance that an "
        "attack which still restores every second image would have shown it on as many images as "
        "were attacked, or that the mean margin is below the threshold, whichever is less. It is "
        "given only if the same attack, in this run, showed images of the bare gradient, and "
        "converged. “Inconclusive” has no confidence.",
        "“No leak found” holds for these attacks and this budget: a failed attack proves nothing, "
        "and only ε is a guarantee.",
        "An attack converged if it came nine tenths of the way from unrelated images to the "
        "originals, measured by the distance it minimises (by the cosine where the size of the "
        "gradient is hidden). One that did not says nothing about the network or the defence.",
        "Intervals are Student's over images, taken as independent and nearly normal; one image "
        "has none. Where one image in ten leaks, eight images show nothing of it in two of five "
        "audits: attack more of them to see rare leaks.",
        f"Features: {audit['feature_extractor']} (LPIPS without learned weights). FFT: mean "
        "absolute difference of orthonormal spectral magnitudes. RDLV: relative gain in SSIM over "
        "the attack without gradient. Registered: after the best shift and mirroring.",
    ]
    if any(cell["label_chance"] is not None for cell in found["cells"]):
        lines.insert(
            4,
            "Labels leak if more of them were restored than other batches, drawn in the same way, "
            f"explain (p at most {SIGNIFICANCE:g} over the whole report).",
        )
    return lines


def _norms(audit):
    count = audit["batch_norm_layers"]
    return f"{count} batch-norm layers" if count else "no batch norm"


def _unlabelled(data):
    return "" if data.get("labelled", True) else ", given at random: the images have no labels"


def _repetition(data):
    return "some repeat a class" if data["repeated_classes"] else "none has a class twice"


def _same_classes(data):
    kept = data["compared_with_same_classes"]
    if not kept:
        return " drawn in the same way from the same images"
    return f" with the same classes from the same images (batches of {_listed(kept)})"


def _tests(audit):
    if audit["threat_model"]["labels"] == "known":
        return "corrected for two scores and all cells"
    return "corrected for two scores of images, one of labels, and all cells"


def _counted(sizes):
    return f"{_listed(sizes)} image{'' if list(sizes) == [1] else 's'}"


def _listed(numbers):
    return ", ".join(map(str, numbers))


def _rank(rank):
    return "identified" if rank == 0 else f"rank {int(rank) + 1}"
