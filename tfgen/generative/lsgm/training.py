"""How LSGM learns: the bound of images through the VAE, or the prior's loss on latents alone.

Per image, with eps the whitened latents (LSGM, arXiv:2106.05931),

    -log p(x|eps) + beta (log q(eps|x) + CE of the diffusion's groups + CE of the Normal ones)

and regularisation of both. `tfgen.generative.lsgm.objective` keeps the VAE's gradient out of the
prior and the prior's out of the VAE where their losses differ.
"""

import keras
import numpy as np
import tensorflow as tf

from tfgen.data.elements import first_images, images_of
from tfgen.errors import ConfigError, DataError
from tfgen.generative.base import batch_size_of
from tfgen.generative.lsgm.encoding import LATENTS, check_size, latents_of
from tfgen.generative.lsgm.inference import normal_cross_entropy
from tfgen.generative.lsgm.latents import log_scales, whitened
from tfgen.generative.lsgm.mixing import ConstantWeights, NoisePredictor
from tfgen.ops.philox import named_normals
from tfgen.training.averages import moving_averages
from tfgen.training.joint_optimizer import plain_optimizers
from tfgen.training.replicas import is_multi_worker
from tfgen.training.step_output import StepOutput

POWER_ITERATIONS = 4
_CHOOSING_BATCHES = 8  # of images that tell which channels carry something


class LSGMTraining:
    """The training half of `LSGM`, which says what `vae`, `network` and `objective` are."""

    progress_names = ("loss", "nelbo", "kl", "prior_loss")
    later_training_state = ("channels_chosen",)

    @property
    def training_state(self):
        return [self.channels_chosen]

    # -- losses ------------------------------------------------------------------------------------

    def training_loss(self, data):
        """The bound of a batch of images, or the prior's loss of a batch of latents."""
        self.ensure_built()
        if (latents := latents_of(data)) is not None:
            return self._loss_of_latents(latents)
        images = images_of(data)
        if self.vae_is_frozen:
            return self._loss_of_frozen(images)
        return self._loss_of_both(images)

    def _loss_of_frozen(self, images):
        walk = self.vae.prepared().walk_posterior(images, self._posterior_noise(images))
        return self._loss_of_latents(tf.stop_gradient(self.joined.join(whitened(walk))))

    def _loss_of_latents(self, z):
        """The prior's own loss, whatever the algorithm: no encoder learns."""
        losses = self.objective.losses(*self._predictors(), z, self._seeds(), tf.ones([]))
        penalty, updates = self._prior_penalty()
        prior = tf.reduce_mean(losses.prior)
        logs = {"prior_loss": prior, **self._prior_logs(losses, z), "regularization": penalty}
        return StepOutput(prior + penalty, logs, updates)

    def _loss_of_both(self, images):
        step = self.vae.training_walk(images, self._posterior_noise(images))
        walk, values = step.walk, whitened(step.walk)
        beta = self.kl_coefficient(self.train_steps)
        z = self.joined.join(values)
        losses = self.objective.losses(*self._predictors(), z, self._seeds(), beta)
        rest = [normal_cross_entropy(value) for value in values[len(self.joined.names) :]]
        # log q of the whitened latents, and the cross entropy of those that keep a Normal prior.
        negative_entropy = walk.log_q + log_scales(walk)
        other = tf.add_n([negative_entropy, *rest])
        kl = other + losses.cross_entropy
        penalty, updates = self._prior_penalty()
        penalty += step.penalty
        trained = tf.reduce_mean(beta * other - walk.log_px + losses.trained) + penalty
        logs = {
            "nelbo": tf.reduce_mean(kl - walk.log_px),
            "reconstruction": -tf.reduce_mean(walk.log_px),
            "kl": tf.reduce_mean(kl),
            "kl_coefficient": beta,
            "prior_loss": tf.reduce_mean(losses.prior),
            **self._prior_logs(losses, z),
            "regularization": penalty,
        }
        return StepOutput(trained, logs, [*step.updates, *updates])

    def _prior_logs(self, losses, z):
        logs = {
            "cross_entropy": tf.reduce_mean(losses.cross_entropy),
            "latent_square": tf.reduce_mean(tf.square(z)),  # 1 where the encoder fits N(0, 1)
        }
        alpha = self.alpha()
        return logs if alpha is None else {**logs, "mean_alpha": tf.reduce_mean(alpha)}

    def _predictors(self):
        """The prior in training, and the same whose weights learn nothing."""
        w = self.network.weights_view(training=True)
        alpha, active = self.alpha(), self.active_channels()
        still = None if alpha is None else tf.stop_gradient(alpha)
        predict, velocity = self.network.predict, self.predicts_velocity
        passive = NoisePredictor(self.sde, predict, ConstantWeights(w), still, active, velocity)
        return (
            NoisePredictor(self.sde, predict, w, alpha, active, velocity),
            self._averaged_prior if self._options["vae_sees_average"] else passive,
        )

    def _averaged_prior(self, z, t, seed=None):
        """The prediction of the moving averages, which learn nothing; before the first step there
        are none yet."""
        begun = tf.convert_to_tensor(self.optimizer.iterations) > 0
        averages = [
            (weight, tf.where(begun, tf.convert_to_tensor(average), tf.convert_to_tensor(weight)))
            for weight, average in self._averages_of_prior()
        ]
        with keras.StatelessScope(state_mapping=averages):
            w, alpha = self.network.weights_view(training=True), self.alpha()
            predict = NoisePredictor(
                self.sde,
                self.network.predict,
                ConstantWeights(w),
                None if alpha is None else tf.stop_gradient(alpha),
                self.active_channels(),
                self.predicts_velocity,
            )
            return predict(z, t, seed)

    def _averages_of_prior(self):
        own = {id(weight) for weight in self.variable_groups()["prior"]}
        return [pair for pair in moving_averages(self) if id(pair[0]) in own]

    def _prior_penalty(self):
        """lambda times spectral norms and scales of the score network, and its singular vectors."""
        coefficient = self._options["spectral_coefficient"]
        if not coefficient:
            return tf.zeros([]), []
        spectral, updates = self.network.weights_view().spectral_sum(POWER_ITERATIONS)
        return coefficient * (spectral + self.network.bank.scale_penalty()), updates

    def _posterior_noise(self, images):
        seeds = {name: self.step_seed("posterior", name) for name in self.vae.latent_shapes}
        return named_normals(batch_size_of(images), self.vae.latent_shapes, seeds)

    def _seeds(self):
        """Of times, noise and dropout, of the prior's own pass and of that of the bound."""
        return [
            self.step_seed("prior times"),
            self.step_seed("prior noise"),
            self.step_seed("prior dropout"),
            self.step_seed("bound times"),
            self.step_seed("bound noise"),
            self.step_seed("bound dropout"),
        ]

    def kl_coefficient(self, step) -> tf.Tensor:
        """beta at a training step: it rises linearly from `kl_initial` to 1."""
        initial, total = self._options["kl_initial"], self._options["total_steps"]
        if initial == 1.0 or total is None:
            return tf.ones([])
        rise = max(self._options["kl_warmup_fraction"] * total, 1.0)
        share = tf.minimum(tf.cast(tf.convert_to_tensor(step), tf.float32) / rise, 1.0)
        return initial + (1.0 - initial) * share

    # -- around the steps --------------------------------------------------------------------------

    def variable_groups(self):
        """Those of the prior, and those of the VAE where it learns: see `JointOptimizer`."""
        own = {id(v) for v in self.vae.trainable_variables}
        groups = {"prior": [v for v in self.trainable_variables if id(v) not in own]}
        return groups if self.vae_is_frozen else {**groups, "vae": self.vae.trainable_variables}

    def build_optimizer(self):
        for optimizer in plain_optimizers(getattr(self, "optimizer", None)).values():
            if not optimizer.built and optimizer.weight_decay:
                optimizer.exclude_from_weight_decay(var_names=["mixing_logit"])
        super().build_optimizer()

    def make_train_function(self, force=False):
        self.ensure_built()
        self.build_optimizer()  # within the first trace its variables would cost a second one
        if self._options["vae_sees_average"] and not self._averages_of_prior():
            raise ConfigError(
                "vae_sees_average needs an optimizer that keeps averages of the prior's weights; "
                "give it use_ema=True (config.optimizer.ema_momentum)"
            )
        if not self.vae_is_frozen:
            self.vae.prepare_training()
        if self._options["spectral_coefficient"] and not int(self.singular_vectors_ready.numpy()):
            self.network.weights_view().initialize_singular_vectors()
            self.singular_vectors_ready.assign(1)
        return super().make_train_function(force)

    def evaluation_logs(self, data):
        """Of each image the bound and its parts, and as `loss` the bound; of latents the prior's
        cross entropy.

        Evaluations of one model agree: seeds are fixed. Images have seeds of their own.
        """
        if (z := latents_of(data)) is not None:
            seeds = tf.range(batch_size_of(z), dtype=tf.int32) + self.seed
            entropies = self._cross_entropies(self.ready().predict, z, seeds)
            entropy = tf.reduce_sum(entropies, axis=1)
            return {"loss": entropy, "cross_entropy": entropy}
        images = images_of(data)
        seeds = tf.range(batch_size_of(images), dtype=tf.int32) + self.seed
        walk, kl = self.posterior_terms(images, seeds)
        total = tf.reduce_sum(kl, axis=1)
        nelbo = total - walk.log_px
        return {"loss": nelbo, "nelbo": nelbo, "kl": total, "kl_per_group": kl}

    def before_fit(self, x):
        """A new prior leaves to the Normal what carries nothing."""
        self.ensure_built()
        if isinstance(x, dict) and LATENTS in x:
            check_size(np.asarray(x[LATENTS]))
            return
        threshold = self._options["inactive_below"]
        # Workers see different data and would part.
        if threshold is None or x is None or is_multi_worker(self.distribute_strategy):
            return
        if not int(self.channels_chosen.numpy()):
            images = first_images(x, _CHOOSING_BATCHES, self.distribute_strategy)
            carries = self.channels_that_carry(images, threshold, self.seed)
            if not carries.any():
                raise DataError(
                    f"no channel of the VAE's latents carries {threshold:g} nats, so that the "
                    "diffusion has nothing to learn; train the VAE first, or give "
                    "inactive_below=None"
                )
            self._leave_to_normal(carries)
            self.channels_chosen.assign(1)
