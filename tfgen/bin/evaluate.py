r"""Scores a trained generator and draws what it does.

tfgen-evaluate --workdir=runs/digits
tfgen-evaluate --workdir=runs/mnist --data_dir=data --num_importance_samples=1000 --split=test
tfgen-evaluate --workdir=runs/cifar10 --num_samples=50000 --extractor=inception_v3
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
NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", 0, "Samples to compare with real images; 0: none.", lower_bound=0
)
EXTRACTOR = flags.DEFINE_string(
    "extractor", "inception_v3", "Of features: inception_v3, its weights' path, or a .keras file."
)
QUALITY_TEMPERATURE = flags.DEFINE_float("quality_temperature", 1.0, "Of those samples.")
REFERENCE_SPLIT = flags.DEFINE_string("reference_split", "train", "Real images to compare with.")
PICTURES = flags.DEFINE_bool("pictures", True, "Whether to draw.")


def main(argv: Sequence[str]) -> None:
    """What the binary does, in order."""
    del argv
    temperatures = app.numbers("temperatures", TEMPERATURES.value)
    with terminal.quiet_import(app.DEBUG.value):
        from tfgen.runs import evaluation, quality
        from tfgen.runs.experiment import evaluation_pipeline, load_source

        loaded = loading.load()
    # A file that is missing is better known before an hour of scoring.
    extractor = quality.extractor_from(EXTRACTOR.value) if NUM_SAMPLES.value else None
    config, normalizer = loaded.config, _normalize(loaded.generator)
    generator = loaded.generator.frozen()
    base = loaded.generator.vae.frozen() if hasattr(loaded.generator, "vae") else None
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
            base=base,
            report=lambda done, _: advance(done),
        )
    results = {"data": config["data"]["name"], "split": split, **results, **normalizer}
    if NUM_SAMPLES.value:
        results["sample_quality"] = compare_samples(loaded, generator, base, extractor)
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
    if config["model"]["name"] in REPORTS:
        REPORTS[config["model"]["name"]](loaded, generator, base, pipeline, num_images)
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
        "likelihoods take the larger",
        flush=True,
    )
    return found


def compare_samples(loaded, generator, base, extractor) -> dict:
    """Draws samples, also of the base where there is one; compares them with real images."""
    from tfgen.runs import quality
    from tfgen.runs.experiment import evaluation_pipeline, load_source

    config = loaded.config
    source = load_source(config, app.DATA_DIR.value, REFERENCE_SPLIT.value)
    batch_size = BATCH_SIZE.value or config["evaluation"]["batch_size"]
    num_samples = NUM_SAMPLES.value
    total = (1 + (base is not None)) * num_samples + 2 * min(num_samples, len(source))
    with terminal.progress("comparing samples", total) as advance:
        record = quality.measure_quality(
            generator,
            evaluation_pipeline(config, source, batch_size, binarized=False),
            evaluation_pipeline(config, source, batch_size),
            extractor,
            num_samples=num_samples,
            base=base,
            temperature=QUALITY_TEMPERATURE.value,
            seed=SEED.value,
            batch_size=batch_size,
            report=lambda done: advance(min(done, total)),
        )
    return {**record, "reference": f"{config['data']['name']} ({REFERENCE_SPLIT.value})"}


def report_holes(loaded, generator, base, pipeline, num_images: int) -> None:
    """Where the prior underneath has holes, and how well the refined one fills them."""
    from tfgen.runs import holes_report
    from tfgen.runs.experiment import load_source

    training = load_source(loaded.config, app.DATA_DIR.value).images
    folder = loading.output_or(loaded.workdir.samples)
    holes, files = holes_report.write(
        generator, base, pipeline, training, folder, num_images, SEED.value
    )
    loaded.workdir.write_metrics("holes", holes)
    print(holes_report.summary(holes))
    print("holes: " + ", ".join(map(str, files)))


# What a system has to say beyond likelihood and samples.
REPORTS = {"ncp": report_holes}


def summary(results: dict) -> str:
    """The results in a few lines for a person."""
    quality = results.get("sample_quality")
    lines = [_likelihood(results)]
    if quality:
        lines.append(f"{_quality(quality)}; reconstructions {quality['reconstruction_fid']:.3f}")
    if quality and "base" in quality:
        lines.append(f"the prior underneath: {_quality(quality['base'])}")
    return "\n".join(lines)


def _quality(record: dict) -> str:
    return (
        f"FID {record['fid']:.3f}, KID {record['kid']:.5f} +- {record['kid_standard_error']:.5f}, "
        f"precision {record['precision']:.3f}, recall {record['recall']:.3f} "
        f"({record['num_fake']:,} samples at temperature {record['temperature']:g}, "
        f"{record['num_real']:,} real images, features of {record['extractor']})"
    )


def _likelihood(results: dict) -> str:
    rates = " ".join(f"{value:.2f}" for value in results["kl_per_group"])
    base = ()
    if "base_nelbo" in results:
        base = (
            f"the generator underneath: NELBO {results['base_nelbo']:.3f} +- "
            f"{results['base_nelbo_standard_error']:.3f} nats at one posterior draw of each image, "
            f"on which {results['nelbo_gain']:.3f} +- "
            f"{results['nelbo_gain_standard_error']:.3f} are gained",
        )
    return "\n".join(
        (
            f"NLL   {results['nll']:.3f} +- {results['nll_standard_error']:.3f} nats "
            f"({results['bits_per_dim']:.4f} bits/dim), importance-weighted with "
            f"K = {results['num_importance_samples']}",
            f"NELBO {results['nelbo']:.3f} +- {results['nelbo_standard_error']:.3f} nats, "
            f"of which KL {results['kl']:.3f}",
            *base,
            f"KL per group, top first: {rates}",
            f"active units: {results['active_units']} of {results['latent_channels']} channels",
        )
    )


def run() -> None:
    """The console script."""
    app.run("tfgen-evaluate", main)


if __name__ == "__main__":
    run()
