"""How the classifiers of an NCP-VAE learn, and which of their weights are kept.

All groups learn in parallel from one frozen pass of the VAE. Each classifier keeps the weights of
its lowest held-out loss, those before training among them: one that finds nothing keeps log r = 0.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgen.data.elements import images_of
from tfgen.generative.base import batch_size_of
from tfgen.generative.ncp.directions import informative_directions
from tfgen.generative.ncp.selection import PATIENCE, HeldOutSelection
from tfgen.layers import LiveWeights
from tfgen.ops import contrastive
from tfgen.ops.philox import named_normals, stateless_normals
from tfgen.training.averages import moving_averages
from tfgen.training.step_output import StepOutput


class NCPTraining:
    """The training half of `NCPVAE`, which says what `vae`, `banks` and `classifiers` are."""

    progress_names = ("loss", "bce", "accuracy", "held_out_elbo_gain")

    def training_loss(self, data):
        """Binary cross-entropy of all groups, the contrastive loss of arXiv:2010.02917.

        One frozen pass of the images gives every group's positives, contexts and the Normals that
        its negatives come from. Both classes share one context, so it carries no label.
        """
        self.ensure_built()
        images = images_of(data)
        walk = self.vae.prepared().walk_posterior(images, self._noise(images))
        views = [LiveWeights(bank, True, self.compute_dtype) for bank in self.banks]
        log_ratios = []
        for index, (prior, w) in enumerate(zip(walk.priors, self._view_of_group(views))):
            negatives = self._negatives(prior, batch_size_of(images))
            z = tf.concat([tf.expand_dims(walk.latents[index], 1), negatives], axis=1)
            classifier = self.classifiers[index]
            seed = self.step_seed("dropout", index)
            context = classifier.context(w, prior)
            log_ratios.append(classifier(w, tf.stop_gradient(z), prior, context, seed))
        updates = [update for w in views for update in w.statistics_updates()]
        positive = tf.stack([log_r[:, 0] for log_r in log_ratios], axis=1)
        negative = tf.stack([log_r[:, 1:] for log_r in log_ratios], axis=1)
        losses = tf.reduce_mean(contrastive.binary_cross_entropy(positive, negative), axis=0)
        accuracies = tf.reduce_mean(contrastive.accuracy(positive, negative), axis=0)
        logs = {
            "bce": tf.reduce_mean(losses),
            "accuracy": tf.reduce_mean(accuracies),
            "bce_per_group": losses,
            "accuracy_per_group": accuracies,
            "log_ratio_per_group": tf.reduce_mean(positive, axis=0),
        }
        return StepOutput(tf.reduce_sum(losses), logs, updates)

    def _noise(self, images):
        seeds = {name: self.step_seed("posterior", name) for name in self.vae.latent_shapes}
        return named_normals(batch_size_of(images), self.vae.latent_shapes, seeds)

    def _negatives(self, prior, batch_size):
        """nu draws of a group's prior, `[B, nu, ...]`."""
        shape = (batch_size, self.num_negatives, *prior.loc.shape[1:])
        eps = stateless_normals([shape], [self.step_seed("negatives", prior.index)])[0]
        return tf.expand_dims(prior.loc, 1) + tf.expand_dims(prior.scale, 1) * eps

    def before_fit(self, x):
        """New classifiers first learn in which directions to look."""
        self.ensure_built()
        if self._options["num_directions"] and not self.directions_known.numpy():
            found = informative_directions(self.vae, self._options["num_directions"])
            for bank, groups in zip(self.banks, self.groups_of_bank):
                for k in groups:
                    columns = found[self.vae.groups[k]]
                    bank.tensors[self.classifiers[k].directions].assign(columns)
            self.directions_known.assign(1.0)

    def make_train_function(self, force=False):
        self.ensure_built()
        self.build_optimizer()  # within the first trace its variables would cost a second one
        return super().make_train_function(force)

    def evaluation_logs(self, data):
        """Of each image: cross-entropy, accuracy and log r by group, and the gain in the bound.

        `elbo_gain` is that of resampling from `evaluation_proposals` + 1, which is rigorous (see
        `negative_elbo`): it grows with their number and cannot overstate.
        """
        images = images_of(data)
        count = self._options["evaluation_proposals"]
        # A fixed stream, so that evaluations of one model agree.
        seeds = tf.range(batch_size_of(images), dtype=tf.int32) + self.seed
        walk, positive, negative = self.both_classes(images, seeds, count)
        bce = contrastive.balanced_cross_entropy(positive, negative)
        gain = tf.reduce_sum(contrastive.resampling_gain(positive, negative), axis=1)
        nelbo = tf.reduce_sum(walk.kl, axis=1) - walk.log_px
        return {
            "loss": tf.reduce_sum(bce, axis=1),
            "bce": tf.reduce_mean(bce, axis=1),
            "elbo_gain": gain,
            "nelbo": nelbo - gain,
            "bce_per_group": bce,
            "accuracy_per_group": contrastive.accuracy(positive, negative),
            "log_ratio_per_group": positive,
        }

    # -- the best weights of every classifier ------------------------------------------------------

    def build_training_state(self):
        """Variables for the lowest held-out loss of every classifier, the weights behind it, and
        how many epochs passed since any was found."""
        self.best_loss = self.add_weight(
            name="best_loss",
            shape=(len(self.banks),),
            initializer=keras.initializers.Constant(np.inf),
            dtype="float32",
            trainable=False,
        )
        self.best_weights = [
            self.add_weight(
                name=f"best_weights_{index}",
                shape=(sum(int(np.prod(v.shape)) for v in bank.weights),),
                initializer="zeros",
                dtype="float32",
                trainable=False,
            )
            for index, bank in enumerate(self.banks)
        ]
        self.epochs_waited = self.add_weight(
            name="epochs_waited", shape=(), initializer="zeros", dtype="int64", trainable=False
        )

    later_training_state = ("epochs_waited",)

    @property
    def training_state(self) -> list[keras.Variable]:
        """What checkpoints hold only of a model in training."""
        return [self.best_loss, *self.best_weights, self.epochs_waited]

    def remember_best(self, losses: Sequence[float]) -> list[bool]:
        """Keeps the present weights of the classifiers whose held-out loss is their lowest yet.

        Args:
            losses: sequence of floats by latent group; a shared classifier is judged by their mean.

        Returns:
            For each classifier, whether it was kept.
        """
        losses = np.array([np.mean([losses[k] for k in ks]) for ks in self.groups_of_bank])
        best = self.best_loss.numpy()
        better = losses < best
        for index in np.flatnonzero(better):
            flat = [np.ravel(v.numpy()) for v in self.banks[index].weights]
            self.best_weights[index].assign(np.concatenate(flat))
        self.best_loss.assign(np.where(better, losses, best).astype(np.float32))
        return better.tolist()

    def training_callbacks(self, held_out, directory=None):
        del directory
        return [] if held_out is None else [HeldOutSelection(held_out)]

    def ended_early(self) -> str | None:
        if int(self.epochs_waited.numpy()) < PATIENCE:
            return None
        return f"no classifier improved on the images held out in {PATIENCE} epochs"

    def finish(self) -> bool:
        """Gives every classifier its best weights, if any were kept; returns whether any were."""
        averages = {id(weight): average for weight, average in moving_averages(self)}
        for index, bank in enumerate(self.banks):
            if not np.isfinite(self.best_loss.numpy()[index]):
                continue
            flat, start = self.best_weights[index].numpy(), 0
            for variable in bank.weights:
                size = int(np.prod(variable.shape))
                value = flat[start : start + size].reshape(variable.shape)
                variable.assign(value)
                if id(variable) in averages:
                    averages[id(variable)].assign(value)
                start += size
        return bool(np.isfinite(self.best_loss.numpy()).any())
