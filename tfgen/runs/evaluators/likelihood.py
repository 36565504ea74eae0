"""Likelihood bounds, the rate of every latent group, and which latents are in use."""

import dataclasses
import math
from typing import ClassVar

from tfgen.runs import evaluation
from tfgen.runs.evaluators.base import Evaluator, images_of

_COLUMNS = ("Split", "Images", "NLL (nats)", "bits/dim", "K", "NELBO (nats)", "KL (nats)")

_SHOWN_NATS = 0.005  # below, there is nothing to say


@dataclasses.dataclass(frozen=True)
class Likelihood(Evaluator):
    """See `tfgen.runs.evaluation.measure`.

    Attributes:
        num_importance_samples: integer K, posterior samples of every image.
    """

    num_importance_samples: int = 100

    shown: ClassVar = {
        "nll": float,
        "nll_standard_error": float,
        "bits_per_dim": float,
        "num_importance_samples": float,
        "nelbo": float,
        "nelbo_standard_error": float,
        "kl": float,
        "kl_per_group": list,
        "active_units": float,
        "latent_channels": float,
        "num_images": float,
        "nll_noise_gain": float | None,
        "images": str | None,
        "base_nelbo": float | None,
        "base_nelbo_standard_error": float | None,
        "nelbo_gain": float | None,
        "nelbo_gain_standard_error": float | None,
    }

    def measure(self, subject, found):
        del found
        with subject.progress("scoring", subject.num_images) as advance:
            return evaluation.measure(
                subject.served,
                subject.pipeline(),
                num_importance_samples=self.num_importance_samples,
                seed=subject.seed,
                base=subject.base,
                report=lambda done, _: advance(done),
            )

    def lines(self, found):
        yield (
            f"NLL   {_with_error(found, 'nll', '+-')} nats ({found['bits_per_dim']:.4f} "
            f"bits/dim), importance-weighted with K = {found['num_importance_samples']}"
        )
        if found.get("nll_noise_gain", 0.0) >= _SHOWN_NATS:
            yield f"{_noise(found)}; config.model.num_density_probes makes it less"
        yield (f"NELBO {_with_error(found, 'nelbo', '+-')} nats, of which KL {found['kl']:.3f}")
        if "base_nelbo" in found:
            yield (
                f"the generator underneath: NELBO {_with_error(found, 'base_nelbo', '+-')} nats at "
                "one posterior draw of each image, on which "
                f"{_with_error(found, 'nelbo_gain', '+-')} are gained"
            )
        rates = " ".join(f"{value:.2f}" for value in found["kl_per_group"])
        yield f"KL per group, top first: {rates}"
        yield f"active units: {found['active_units']} of {found['latent_channels']} channels"

    @classmethod
    def table(cls, numbers):
        columns = [*_COLUMNS, "Active units"]
        yield f"| {' | '.join(columns)} |"
        yield "|---" * len(columns) + "|"
        for split, n in numbers.items():
            yield (
                f"| {split} | {images_of(n)} | {_with_error(n, 'nll', '±', 2)} | "
                f"{n['bits_per_dim']:.4f} | {n['num_importance_samples']} | "
                f"{_with_error(n, 'nelbo', '±', 2)} | {n['kl']:.2f} | "
                f"{n['active_units']} of {n['latent_channels']} |"
            )
        rates = "; ".join(
            f"{split}: " + " ".join(f"{rate:.2f}" for rate in n["kl_per_group"])
            for split, n in numbers.items()
        )
        yield ""
        yield (
            "NLL is the importance-weighted bound with K posterior samples, ± its standard error "
            f"over the images. Nats per latent group, top first: {rates}."
        )
        for split, n in numbers.items():
            if n.get("nll_noise_gain", 0.0) >= _SHOWN_NATS:
                yield ""
                yield f"{split}: {_noise(n)}."
            if "base_nelbo" in n and "nelbo_gain" in n:
                yield ""
                yield (
                    f"{split}: the generator underneath has a NELBO of "
                    f"{_with_error(n, 'base_nelbo', '±', 2)} nats on the same images; "
                    f"{_with_error(n, 'nelbo_gain', '±', 2)} are gained, image by image."
                )


def _noise(found) -> str:
    return (
        f"up to {found['nll_noise_gain']:.2f} nats of the NLL may be the noise of the prior's "
        "density, by which it comes out too small"
    )


def _with_error(found, key: str, sign: str, digits: int = 3) -> str:
    error = found.get(f"{key}_standard_error", math.nan)
    return f"{found[key]:.{digits}f} {sign} {error:.{digits}f}"
