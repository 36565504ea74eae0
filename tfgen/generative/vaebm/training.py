"""How the energy of a VAEBM learns: from the difference of data and samples of short chains."""

import tensorflow as tf

from tfgen.data.elements import first_images, images_of
from tfgen.generative.base import batch_size_of
from tfgen.generative.vaebm.guard import ExplosionGuard
from tfgen.generative.vaebm.inference import SamplerOptions, run_chain
from tfgen.generative.vaebm.noise_space import PIXELS, NoiseSpace
from tfgen.ops.philox import named_normals, normal_like
from tfgen.samplers import replay_probability
from tfgen.training.replicas import is_multi_worker
from tfgen.training.step_output import StepOutput

POWER_ITERATIONS = 4
_GAP_DECAY = 0.9  # of the running gap that the guard watches


class VAEBMTraining:
    """The training half of `VAEBM`, which says what `vae`, `energy` and `buffer` are."""

    progress_names = ("loss", "gap", "energy_data")

    def training_loss(self, data):
        """The contrastive loss of one batch (VAEBM, section 3.1).

        E(x) of data minus E(x) of samples, whose gradient estimates minus that of the likelihood,
        plus regularisation of the energy.
        """
        self.ensure_built()
        images = images_of(data)
        negatives, latents, logs = self._negatives(batch_size_of(images))
        view = self.energy.weights_view()
        positives = tf.cast(images, tf.float32)
        if self.smoothing:
            noise = normal_like(positives, self.step_seed("smoothing"))
            positives += self.smoothing * noise
        both = tf.concat([positives, negatives], axis=0)
        data_energy, sample_energy = tf.split(self.energy.energies(view, both), 2)
        gap = tf.reduce_mean(data_energy) - tf.reduce_mean(sample_energy)
        squares = tf.reduce_mean(data_energy**2) + tf.reduce_mean(sample_energy**2)
        penalty, updates = self._options["energy_coefficient"] * squares, []
        if self._options["spectral_coefficient"]:
            spectral, updates = view.spectral_sum(POWER_ITERATIONS)
            penalty += self._options["spectral_coefficient"] * spectral
        average = tf.convert_to_tensor(self.gap_average)
        average = _GAP_DECAY * average + (1.0 - _GAP_DECAY) * tf.stop_gradient(gap)
        updates = [*updates, (self.gap_average, average)]
        logs = {
            "gap": gap,
            "energy_data": tf.reduce_mean(data_energy),
            "energy_samples": tf.reduce_mean(sample_energy),
            "regularization": penalty,
            **logs,
        }
        return StepOutput(gap + penalty, logs, updates, extras=latents)

    def _negatives(self, batch_size):
        """Samples of the present model without gradient, their latents, and how the chains went."""
        start, replayed = self._chain_start(batch_size)
        ready = self.ready()
        space = NoiseSpace(ready.vae, smoothing=self.smoothing)
        options = self._options
        sampler = SamplerOptions(
            options["num_steps"],
            options["step_size"],
            options["noise_scale"],
            options["potential"],
        )
        seed = self.step_seed("chain")
        end, trace = run_chain(space, ready.energy, start, sampler, seed=seed)
        end = tf.nest.map_structure(tf.stop_gradient, end)
        distribution, _ = space.decode(end)
        if options["negatives"] == "mean":
            images = 0.5 * distribution.loc + 0.5  # as published not clipped
        else:
            images = distribution.sample_from_noise(end[PIXELS])
        images = space.smoothed(images, end)
        latents = {name: end[name] for name in self.groups}
        logs = {
            "chain_gradient_norm": tf.reduce_mean(trace.gradient_norm),
            "chain_energy_drop": tf.reduce_mean(trace.energy[0] - trace.energy[-1]),
            "replayed": tf.reduce_mean(tf.cast(replayed, tf.float32)),
        }
        return tf.stop_gradient(images), latents, logs

    def _chain_start(self, batch_size):
        """Noise of new chains, some latents of which continue old ones."""
        seeds = {name: self.step_seed("start", name) for name in self.noise_shapes}
        start = named_normals(batch_size, self.noise_shapes, seeds)
        if self.buffer is None:
            return start, tf.zeros([batch_size], tf.bool)
        probability = replay_probability(
            self.train_steps, self._options["replay_maximum"], self._options["replay_anneal_steps"]
        )
        fresh = {name: start[name] for name in self.groups}
        mixed, replayed = self.buffer.mix(fresh, probability, self.step_seed("replay"))
        return {**start, **mixed}, replayed

    def after_step(self, extras, accepted):
        """Latents at which the step's chains ended enter the buffer."""
        if self.buffer is not None:
            self.buffer.push(extras, accepted)

    def before_fit(self, x):
        """A new energy is first initialised from the data."""
        self.ensure_built()
        if int(self.initialized.numpy()) == 0:
            self._initialize(x)
            self.initialized.assign(1)

    def _initialize(self, x):
        """Data-dependent gains and biases, then forty power iterations."""
        batches = self._options["data_init_batches"]
        # Workers see different data and would part; the authors skip this there as well.
        if batches and x is not None and not is_multi_worker(self.distribute_strategy):
            self.energy.initialize_from_data(first_images(x, batches, self.distribute_strategy))
        self.energy.weights_view().initialize_singular_vectors()

    def make_train_function(self, force=False):
        self.build_optimizer()  # within the first trace its variables would cost a second one
        return super().make_train_function(force)

    def training_callbacks(self, held_out, directory=None):
        del held_out
        if directory is None:
            return []
        # Where squared energies are held down, the gap of two classes that are told apart for sure
        # settles at one over the coefficient: no explosion.
        held = self._options["energy_coefficient"]
        max_gap = max(ExplosionGuard.MAX_GAP, 3.0 / held if held else 0.0)
        return [ExplosionGuard(directory / "healthy", max_gap)]

    def evaluation_logs(self, data):
        """Of each image: the bound (see `negative_elbo`), its parts and the VAE's own."""
        images = images_of(data)
        seeds = tf.range(batch_size_of(images), dtype=tf.int32) + self.seed
        terms = self.vae.negative_elbo(images, seeds)
        energy = self.energy_of(images, seeds)
        return {
            "nelbo": terms["nelbo"] + energy + self.log_partition(),
            "vae_nelbo": terms["nelbo"],
            "kl": terms["kl"],
            "energy": energy,
        }
