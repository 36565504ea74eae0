r"""Scores a trained generator and draws what it does.

tfgen-evaluate --workdir=runs/digits
tfgen-evaluate --workdir=runs/mnist --data_dir=data --num_importance_samples=1000 --split=test
"""

from collections.abc import Sequence

from absl import flags

from tfgen.bin import app, loading, terminal
from tfgen.bin.drawing import BATCH_SIZE, NUM_IMAGES, SEED
from tfgen.errors import UserError

SPLIT = flags.DEFINE_string("split", None, "Default: the configuration's evaluation.split.")
NUM_IMPORTANCE_SAMPLES = flags.DEFINE_integer(
    "num_importance_samples", None, "Posterior samples of every image (K).", lower_bound=1
)
TEMPERATURES = flags.DEFINE_list(
    "temperatures", ["0.7", "0.85", "1.0"], "One grid of samples each."
)
PICTURES = flags.DEFINE_bool("pictures", True, "Whether to draw.")


def main(argv: Sequence[str]) -> None:
    """What the binary does, in order."""
    del argv
    temperatures = app.numbers("temperatures", TEMPERATURES.value)
    with terminal.quiet_import(app.DEBUG.value):
        from tfgen.bin import evaluation
        from tfgen.bin.experiment import evaluation_pipeline, load_source

        loaded = loading.load()
    config, normalizer = loaded.config, _normalize(loaded.generator)
    generator = loaded.generator.frozen()
    if config["data"] is None:
        raise UserError(f"{loaded.name} does not say what data it was trained on; add them to it")
    section = config["evaluation"]
    split = SPLIT.value or section["split"]
    source = load_source(config, app.DATA_DIR.value, split)
    pipeline = evaluation_pipeline(config, source, BATCH_SIZE.value or section["batch_size"])
    num_images = min(NUM_IMAGES.value or section["num_images"] or len(source), len(source))
    num_samples = NUM_IMPORTANCE_SAMPLES.value or section["num_importance_samples"]
    print(
        f"scoring {num_images:,} images of {config['data']['name']} ({split}) with {num_samples} "
        f"posterior samples each",
        flush=True,
    )
    with terminal.progress("scoring", num_images) as advance:
        results = evaluation.measure(
            generator,
            pipeline,
            num_importance_samples=num_samples,
            num_images=num_images,
            seed=SEED.value,
            report=lambda done, _: advance(done),
        )
    results = {"data": config["data"]["name"], "split": split, **results, **normalizer}
    loaded.workdir.write_metrics(split, results)
    print(summary(results))
    if PICTURES.value:
        images = next(iter(pipeline.dataset()))["images"].numpy()
        files = evaluation.draw(
            generator,
            images,
            results["kl_per_group"],
            loading.output_or(loaded.workdir.samples),
            temperatures=temperatures,
            seed=SEED.value,
        )
        print("pictures: " + ", ".join(map(str, files)))
    print(f"numbers: {loaded.workdir.metrics_path}")


def _normalize(generator) -> dict:
    """Bounds log Z of a generator that is known up to it, so that its likelihood counts it."""
    if not hasattr(generator, "estimate_log_partition"):
        return {}
    bounds = generator.estimate_log_partition(seed=SEED.value)
    found = {f"log_z_{name}": float(value) for name, value in bounds._asdict().items()}
    print(
        f"log Z between {found['log_z_lower']:.3f} +- {found['log_z_lower_standard_error']:.3f} "
        f"and {found['log_z_upper']:.3f} +- {found['log_z_upper_standard_error']:.3f} nats; "
        "likelihoods take the upper bound",
        flush=True,
    )
    return found


def summary(results: dict) -> str:
    """The results in a few lines for a person."""
    rates = " ".join(f"{value:.2f}" for value in results["kl_per_group"])
    return "\n".join(
        (
            f"NLL   {results['nll']:.3f} +- {results['nll_standard_error']:.3f} nats "
            f"({results['bits_per_dim']:.4f} bits/dim), importance-weighted with "
            f"K = {results['num_importance_samples']}",
            f"NELBO {results['nelbo']:.3f} +- {results['nelbo_standard_error']:.3f} nats, "
            f"of which KL {results['kl']:.3f}",
            f"KL per group, top first: {rates}",
            f"active units: {results['active_units']} of {results['latent_channels']} channels",
        )
    )


def run() -> None:
    """The console script."""
    app.run("tfgen-evaluate", main)


if __name__ == "__main__":
    run()
