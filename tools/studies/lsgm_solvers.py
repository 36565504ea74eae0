"""How well each solver samples a trained LSGM, against how often it asks the network.

    python tools/studies/lsgm_solvers.py --workdir=runs/mnist-lsgm --data_dir=data \
        --extractor=classifier.keras --num_samples=5000

Every solver turns the same noise into images. Their Fréchet distance to as many images of the
training split, drawn at random, is set beside that of RK45 at the tolerance 1e-5. Rows go to
`solvers.json` as they are done, and the same command again does what is missing; then `solvers.md`
and `solvers.png` are written beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import solver_report
from absl import flags

from tfgen.bin import app, loading, terminal
from tfgen.bin.drawing import BATCH_SIZE, SEED
from tfgen.errors import UserError

NUM_SAMPLES = flags.DEFINE_integer("num_samples", 5000, "Images of every solver.", lower_bound=2)
EXTRACTOR = flags.DEFINE_string(
    "extractor", "inception_v3", "Of features: inception_v3, its weights' path, or a .keras file."
)
SOLVERS = flags.DEFINE_list(
    "solvers", ["RK45", "DDIM", "DPM-Solver++ 2M", "DPM-Solver++ 3M", "Heun"], "Which, by name."
)
EVALUATIONS = flags.DEFINE_list(
    "evaluations", ["5", "10", "15", "20", "30", "50", "100"], "Of solvers of fixed steps."
)
TOLERANCES = flags.DEFINE_list("tolerances", ["1e-5", "1e-4", "1e-3", "1e-2"], "Of RK45.")
GRID = flags.DEFINE_string("grid", "log_snr", "How times are spread, but for Heun's.")
DENOISE = flags.DEFINE_bool("denoise", False, "Whether the last step goes to the predicted data.")

REFERENCE = solver_report.REFERENCE
_FIXED = {
    "DDIM": {"name": "ddim"},
    "DPM-Solver++ 2M": {"name": "dpm_solver", "order": 2},
    "DPM-Solver++ 3M": {"name": "dpm_solver", "order": 3},
}


def main(argv) -> None:
    """What the tool does, in order."""
    del argv
    rows = planned()
    with terminal.quiet_import(app.DEBUG.value):
        loaded = loading.load_generator()
    model = loaded.generator
    if not hasattr(model, "set_sampler"):
        raise UserError(f"{loaded.name} has no solver; expected an LSGM")
    folder = loading.output_or(loaded.workdir.path)
    real, extractor = prepare(loaded)
    batch_size = BATCH_SIZE.value or loaded.config["evaluation"]["batch_size"]
    settings = {
        "model": loaded.name,
        "real": f"{loaded.config['data']['name']}: {real.source.extent}",
        "num_samples": NUM_SAMPLES.value,
        "seed": SEED.value,
        **extractor.protocol,
    }
    study = solver_report.Study.of(Path(folder), settings)
    missing = {name: solver for name, solver in rows.items() if name not in study.rows}
    for name, row in measured(model, missing, real, extractor, batch_size):
        study.add(name, row)
        terminal.say(solver_report.line(name, study.rows))
    terminal.say("\n".join(map(str, study.write())))


def planned() -> dict[str, dict[str, Any]]:
    """Configurations of solvers by the name of their row; the reference first."""
    evaluations = [int(number) for number in app.numbers("evaluations", EVALUATIONS.value)]
    rows = {REFERENCE: {"name": "rk45", "rtol": 1e-5, "atol": 1e-5}}
    for kind in SOLVERS.value:
        if kind == "RK45":
            for tolerance in app.numbers("tolerances", TOLERANCES.value):
                word = f"{tolerance:.0e}".replace("e-0", "e-")
                rows[f"RK45 {word}"] = {"name": "rk45", "rtol": tolerance, "atol": tolerance}
        elif kind == "Heun":  # 2 K - 1 evaluations, the last of them the denoising one
            for steps in sorted({(number + 1) // 2 for number in evaluations} - {1}):
                rows[f"Heun {steps}"] = {"name": "heun", "num_steps": steps}
        elif kind in _FIXED:
            options = {"grid": GRID.value, "denoise": DENOISE.value}
            shown = "".join(f", {word}" for word in variant_words(options))
            for steps in evaluations:
                rows[f"{kind} {steps}{shown}"] = {**_FIXED[kind], "num_steps": steps, **options}
        else:
            known = ", ".join(["RK45", *_FIXED, "Heun"])
            raise UserError(f"--solvers names {kind!r}; expected some of {known}")
    return rows


def variant_words(options: Mapping[str, Any]) -> list[str]:
    """What of a solver is not as by default."""
    words = [] if options["grid"] == "log_snr" else [f"grid {options['grid']}"]
    return words + ["denoising"] * options["denoise"]


def prepare(loaded) -> tuple[Any, Any]:
    """A pipeline of real images, and what makes features of them; both refused now if unfit."""
    from tfgen.runs.experiment import evaluation_pipeline, load_source
    from tfgen.runs.quality import extractor_from, try_extractor
    from tfgen.samplers.diffusion import solver_from_config

    if loaded.config["data"] is None:
        raise UserError(f"{loaded.name} does not say what data it was trained on; add them to it")
    for solver in planned().values():
        solver_from_config(solver)
    extractor = extractor_from(EXTRACTOR.value)
    try_extractor(extractor, loaded.generator.image_shape)
    source = load_source(loaded.config, app.DATA_DIR.value)
    source = source.take(min(NUM_SAMPLES.value, len(source)), SEED.value)
    return evaluation_pipeline(loaded.config, source, 100, False), extractor


def measured(
    model, solvers: Mapping[str, dict], real, extractor, batch_size: int
) -> Iterator[tuple[str, dict[str, float]]]:
    """A row for every solver, one after the other."""
    from tfgen.metrics import feature_statistics, frechet_distance

    if not solvers:
        return
    truth = feature_statistics(real.dataset(), extractor, keep_features=0)
    total = NUM_SAMPLES.value * len(solvers)
    for index, (name, solver) in enumerate(solvers.items()):
        with terminal.progress(name, total) as advance:
            model.set_sampler(solver)
            draw, spent = Draw(model.frozen()), {"evaluations": 0, "seconds": 0.0}
            batches = draw.batches(
                NUM_SAMPLES.value,
                SEED.value,
                batch_size,
                spent,
                lambda done, before=index * NUM_SAMPLES.value: advance(before + done),
            )
            found = feature_statistics(batches, extractor, keep_features=0)
        yield (
            name,
            {
                "num_evaluations": spent["evaluations"] / NUM_SAMPLES.value,
                "seconds_per_1000": 1e3 * spent["seconds"] / NUM_SAMPLES.value,
                "frechet_distance": frechet_distance(truth.moments, found.moments),
            },
        )


class Draw:
    """Images of a generator with how long they took and how often the network was asked.

    Args:
        served: a `FrozenLSGM`.
    """

    def __init__(self, served):
        import tensorflow as tf

        self._served = served
        self._run = tf.function(
            lambda seeds: served.generate_with_count(served.draw_noise(seeds)),
            input_signature=[tf.TensorSpec([None], tf.int32)],
            autograph=False,
        )

    def batches(
        self,
        num_samples: int,
        seed: int,
        batch_size: int,
        spent: dict[str, float],
        report: Callable[[int], None],
    ) -> Iterator[Any]:
        """The images of the seed, batch by batch; adds to `spent`. Tracing is not counted."""
        seeds = self._served.seeds_for(num_samples, seed)
        self._run(seeds[: min(batch_size, num_samples)])
        for start in range(0, num_samples, batch_size):
            begin = time.perf_counter()
            images, count = self._run(seeds[start : start + batch_size])
            images, count = images.numpy(), count.numpy()
            spent["seconds"] += time.perf_counter() - begin
            spent["evaluations"] += int(count.sum())
            report(start + len(images))
            yield images


if __name__ == "__main__":
    app.run("lsgm_solvers", main)
