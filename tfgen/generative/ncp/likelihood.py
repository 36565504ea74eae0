"""Likelihood of the reweighted prior itself, between two bounds of its partition functions.

The importance weight of p_NCP holds `- log Z_k(z_<k)` for every group. An estimate of
Z_k from prior draws is too small on average, so plugging it in overstates the likelihood; one that
counts a draw of p_NCP among them is too large (`log_normalizer_bounds`) and understates it. Both
are reported; where they meet, the number can be trusted. (`evaluate_likelihood` on an `NCPVAE`
needs neither: it scores the sampler as it is.)
"""

from collections.abc import Iterable

import tensorflow as tf

from tfgen.data.elements import images_of
from tfgen.data.subset import part_of
from tfgen.errors import DataError
from tfgen.generative.base import seeds_for
from tfgen.generative.ncp.inference import NCPInference, joined
from tfgen.metrics import ImportanceWeightedBound
from tfgen.ops.random_streams import SAMPLE_STRIDE


def evaluate_refined_likelihood(
    model: NCPInference,
    dataset: Iterable,
    num_importance_samples: int = 10,
    num_proposals: int = 100,
    num_images: int | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """NLL of p_NCP with both treatments of its partition functions, beside the base generator's.

    Args:
        model: an `NCPVAE` or its frozen form.
        dataset: iterable of batches `[B, H, W, C]`, of dicts with "images", or of tuples that begin
            with them.
        num_importance_samples: integer K, posterior samples of every image.
        num_proposals: integer M, prior draws for every Z_k(z_<k).
        num_images: integer, only so many, drawn at random by `seed`; None takes all.
        seed: integer, seed of everything drawn.

    Returns:
        Nats per image: `nll_base`, `nll_plug_in` (optimistic), `nll_conservative`, each with its
        `_standard_error`, and `log_z_gap`, the mean distance of the two bounds of log Z.
    """
    frozen = model.frozen()
    names = ("base", "plug_in", "conservative")
    bounds = {name: ImportanceWeightedBound(name=name) for name in names}

    @tf.function(reduce_retracing=True, autograph=False)
    def score(images, seeds):
        return log_weights(frozen, images, seeds, num_proposals)

    done, gap = 0, 0.0
    seeds = seeds_for(num_images or 10**6, seed)
    for batch in part_of(dataset, num_images, seed).images:
        images = frozen.as_images(images_of(batch))
        own = seeds[done : done + len(images)]
        rows = [
            score(images, tf.constant(own ^ (k * SAMPLE_STRIDE)))
            for k in range(num_importance_samples)
        ]
        for index, name in enumerate(names):
            bounds[name].update_state(tf.stack([row[index] for row in rows]))
        gap += float(sum(tf.reduce_sum(row[1] - row[2]) for row in rows))
        done += len(images)
    if not done:
        raise DataError("the data set to evaluate on is empty; expected at least one image.")
    results = {"log_z_gap": gap / done / num_importance_samples}
    for name, bound in bounds.items():
        values = bound.result()
        results[f"nll_{name}"] = float(values["nll"])
        results[f"nll_{name}_standard_error"] = float(values["nll_standard_error"])
    return {
        **results,
        "num_images": done,
        "num_importance_samples": num_importance_samples,
        "num_proposals": num_proposals,
    }


def log_weights(model: NCPInference, images, seeds, num_proposals: int):
    """Log importance weights `[B]` of base, plug-in and conservative p_NCP, at one draw."""
    ready = model.ready()
    seeds = tf.convert_to_tensor(seeds, tf.int32)
    walk = ready.vae.walk_posterior(images, model.vae.draw_noise(seeds))
    base = walk.log_px + walk.log_p - walk.log_q
    plug_in = conservative = base
    for index, (z, prior) in enumerate(zip(walk.latents, walk.priors)):
        log_ratio = ready.log_ratio(prior)
        log_r = log_ratio(tf.expand_dims(z, 1))[:, 0]
        draws = model.proposals_at(log_ratio, prior, seeds, index, num_proposals)
        chosen = model.proposals_at(
            log_ratio, prior, seeds, index, num_proposals, use="conservative"
        )
        plug_in += log_r - draws.log_mean_weight
        upper = joined(chosen.log_weight, draws.log_mean_weight, num_proposals + 1)
        conservative += log_r - upper
    return base, plug_in, conservative
