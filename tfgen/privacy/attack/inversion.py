"""GradInversion: the images of a batch out of its gradient (Yin et al., 2021, arXiv:2104.07586)."""

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfgen import stopping
from tfgen.errors import UserError
from tfgen.privacy.attack.labels import present_classes, restore_labels
from tfgen.privacy.attack.lbfgs import minimize_seed
from tfgen.privacy.attack.optimization import Optimization
from tfgen.privacy.attack.registration import consensus_of
from tfgen.privacy.attack.resumption import load_state, save_state
from tfgen.privacy.attack.settings import AttackSettings
from tfgen.privacy.attack.state import TERMS, Evidence, State
from tfgen.privacy.attack.threat_model import ThreatModel
from tfgen.privacy.network.forward import Statistics
from tfgen.privacy.network.shared import SharedNetwork

_SECONDS_BETWEEN_LOOKS, _MOST_STEPS_BETWEEN_LOOKS = 5.0, 100


@dataclasses.dataclass(frozen=True, eq=False)
class Inversion:
    """What an attack restored.

    Attributes:
        images: float32 `[K, H, W, C]` in [0, 1], of the seed whose gradient fits best.
        labels: int64 `[K]`, slot by slot.
        consensus: like `images`: the (registered) mean over seeds.
        seeds: `[G, K, H, W, C]`, all seeds.
        terms: the objective of every seed at the end, by name of the term, `[G]` each.
        history: the mean terms during the run, with `step` and `seconds`.
        num_steps: made.
        seconds: they took, tracing included.
        seconds_per_step: without the first look, which traces, where there was another.
    """

    images: np.ndarray
    labels: np.ndarray
    consensus: np.ndarray
    seeds: np.ndarray
    terms: dict[str, np.ndarray]
    history: list[dict[str, float]]
    num_steps: int
    seconds: float
    seconds_per_step: float


class GradientInversion:
    """Restores labels, then images, from one gradient of a classifier.

    Candidates start as noise; Adam moves their pixels until the gradient they cause equals the
    shared one, helped by image priors, batch-norm statistics and the agreement of several seeds.
    The model is never written to.

    Args:
        model: a built Keras classifier.
        loss: see `SharedNetwork`.
        threat_model: what the attacker knows.
        pixel_mean: of the client's normalisation, see `SharedNetwork`.
        pixel_std: likewise.
        jit_compile: whether XLA compiles the loop; None: on GPUs, where it is faster. Its random
            numbers from one seed are others, so noise, jitter and flips differ.
        **settings: see `AttackSettings`.

    Example:

    >>> attack = GradientInversion(
    ...     model,
    ...     threat_model=ThreatModel(
    ...         batch_norm_mode="train",
    ...         batch_norm_statistics="none",
    ...         labels="restored",
    ...         batch_size="known",
    ...     ),
    ...     num_steps=2000,
    ... )  # doctest: +SKIP
    >>> attack.run(gradients, batch_size=4).images  # doctest: +SKIP
    """

    def __init__(
        self,
        model: keras.Model,
        loss=None,
        *,
        threat_model: ThreatModel,
        pixel_mean: float | Sequence[float] = 0.0,
        pixel_std: float | Sequence[float] = 1.0,
        jit_compile: bool | None = None,
        **settings,
    ):
        self.threat_model = threat_model
        self.settings = AttackSettings.from_config(settings)
        self.network = SharedNetwork(
            model,
            loss,
            batch_norm_mode=threat_model.batch_norm_mode,
            pixel_mean=pixel_mean,
            pixel_std=pixel_std,
        )
        if threat_model.batch_norm_statistics != "none" and not self.network.batch_norms:
            raise UserError(
                f"threat_model.batch_norm_statistics is {threat_model.batch_norm_statistics!r}, "
                "but the model has no batch-norm layer; choose 'none'"
            )
        if jit_compile is None:
            jit_compile = bool(tf.config.list_physical_devices("GPU"))
        self._optimization = Optimization(
            self.network, self.settings, threat_model.labels == "optimized", jit_compile
        )

    def run(
        self,
        gradients: Sequence[tf.Tensor],
        *,
        batch_size: int | None = None,
        labels: np.ndarray | None = None,
        batch_norm_statistics: Sequence[Statistics] | None = None,
        masks: Sequence[tf.Tensor] | None = None,
        seed: int = 0,
        verbose: int = 1,
        checkpoint: str | os.PathLike | None = None,
        steps_per_call: int | None = None,
        callback: Callable[[int, dict[str, float]], None] | None = None,
    ) -> Inversion:
        """Attacks one gradient.

        Args:
            gradients: one tensor for each trainable variable of the model, in its order: the
                mean over the batch.
            batch_size: K; left out where the threat model does not know it.
            labels: `[K]`, where the threat model knows them.
            batch_norm_statistics: of the client's batch, where the threat model knows them: mean
                and biased variance of the input of every batch-norm layer.
            masks: where the gradient says something (1) or nothing (0), like `gradients`.
            seed: of the first seed; others count up from it.
            verbose: 1 shows a progress bar with the current objective, 0 nothing.
            checkpoint: a file to save to once a minute and to continue from if it exists.
            steps_per_call: steps between looks at the objective; None: as many as take some
                seconds, at most 100. Changes no result.
            callback: called with the step and the mean terms after every such look.

        Returns:
            Images, labels and what the run measured.

        Raises:
            UserError: gradients that are not finite or do not fit the model, labels out of range,
                something the threat model promises and nobody gave, an objective that overflows,
                a checkpoint of another attack.
            Stopped: a signal arrived; the state was saved first.
        """
        target = self.check_gradients(gradients)
        known_labels = self._labels(target, batch_size, labels)
        evidence = Evidence(
            target,
            self.network.one_hot(known_labels),
            self._statistics(batch_norm_statistics),
            [] if masks is None else [tf.cast(m, tf.float32) for m in masks],
            tf.range(seed, seed + self.settings.num_seeds),
        )
        state, spent = self._optimization.start(evidence), 0.0
        if checkpoint is not None and Path(checkpoint).is_file():
            state, spent = load_state(checkpoint, state, self._identity(evidence))
        started, history = time.monotonic() - spent, []
        if self.settings.optimizer == "lbfgs":
            state = self._minimize(state, evidence)
            return self._result(state, evidence, known_labels, history, time.monotonic() - started)

        # The loop: compiled steps, and between them consensus, reports and saves.
        num_steps, saved = self.settings.num_steps, time.monotonic()
        stride = steps_per_call or 1  # the first look tells how long a step takes at most
        bar = keras.utils.Progbar(
            num_steps, verbose=verbose, unit_name="step", stateful_metrics=TERMS
        )
        while int(state.step) < num_steps:
            state, begun, look = self._refresh_consensus(state), int(state.step), time.monotonic()
            until = self._next_stop(begun, stride)
            state = self._optimization.run(state, evidence, tf.constant(until))
            means = _means(state.terms, begun, until)
            if steps_per_call is None:
                stride = _stride(until - begun, time.monotonic() - look, stride)
            bar.update(until, list(means.items()), finalize=until == num_steps)
            history.append({"step": until, "seconds": time.monotonic() - started, **means})
            if callback is not None:
                callback(until, means)
            due = until == num_steps or time.monotonic() - saved > 60 or stopping.requested()
            if checkpoint is not None and due:
                saved = time.monotonic()
                save_state(checkpoint, state, self._identity(evidence), saved - started)
            stopping.check()
        spent = history[-1]["seconds"] if history else spent
        return self._result(state, evidence, known_labels, history, spent)

    def _minimize(self, state, evidence):
        """All seeds by L-BFGS, one after the other."""
        steps = self.settings.num_steps
        found = [
            minimize_seed(self._optimization, state, evidence, g, steps)
            for g in range(self.settings.num_seeds)
        ]
        values = [tf.stack(seeds) for seeds in zip(*found)]
        return state._replace(step=tf.constant(steps), values=values)

    def check_gradients(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The gradients as float32 tensors.

        Raises:
            UserError: their number, shapes or values do not fit the model.
        """
        variables = self.network.variables
        if len(gradients) != len(variables):
            raise UserError(
                f"{len(gradients)} gradients came for {len(variables)} trainable variables; give "
                "one for each, in the order of model.trainable_variables"
            )
        checked = []
        for gradient, variable in zip(gradients, variables):
            gradient = tf.cast(tf.convert_to_tensor(gradient), tf.float32)
            if tuple(gradient.shape) != tuple(variable.shape):
                raise UserError(
                    f"the gradient of {variable.path} has shape {tuple(gradient.shape)}; expected "
                    f"{tuple(variable.shape)}"
                )
            if not bool(tf.reduce_all(tf.math.is_finite(gradient))):
                raise UserError(
                    f"the gradient of {variable.path} holds NaN or infinity; there is nothing to "
                    "match: share a finite one"
                )
            checked.append(gradient)
        return checked

    def restore_labels(
        self, gradients: Sequence[tf.Tensor], batch_size: int | None = None
    ) -> np.ndarray:
        """Labels from the gradient of the last dense layer; see `tfgen.privacy.restore_labels`.

        Args:
            gradients: as for `run`.
            batch_size: K; None: the number of classes that the gradient proves present.

        Raises:
            UserError: the model ends in no dense layer, or the rule does not fit.
        """
        head = self.network.head
        if head is None:
            raise UserError(
                "the model has no trainable dense layer with one unit a class, from which labels "
                "could be restored; give labels and choose threat_model.labels 'known'"
            )
        kernel = np.asarray(gradients[head.kernel_index])
        bias = None if head.bias_index is None else np.asarray(gradients[head.bias_index])
        if batch_size is None:
            batch_size = max(1, len(present_classes(kernel, bias, tolerance=1e-6)))
        method = self.settings.label_method
        if bias is None and method not in ("min", "sum"):
            method = "min"
        layer = head.layer
        return restore_labels(
            kernel,
            bias,
            batch_size,
            method,
            kernel=np.asarray(layer.kernel),
            bias=np.asarray(layer.bias) if layer.use_bias else None,
        )

    def _labels(self, target, batch_size, labels):
        """Integer labels of the slots, by the rules of the threat model."""
        model = self.threat_model
        if model.labels == "known":
            if labels is None:
                raise UserError("the threat model knows the labels, but none were given")
            labels = np.asarray(labels, np.int64)
            if batch_size is not None and len(labels) != batch_size:
                raise UserError(f"{len(labels)} labels came for a batch of {batch_size}")
            return labels
        if model.batch_size == "known" and batch_size is None:
            raise UserError("the threat model knows the batch size, but none was given")
        known_size = batch_size if model.batch_size == "known" else None
        if model.labels == "restored" or known_size is None:
            return self.restore_labels(target, known_size)
        return np.zeros(known_size, np.int64)  # a shape for labels that will be optimised

    def _statistics(self, given):
        kind = self.threat_model.batch_norm_statistics
        if kind == "none" or not self.settings.batch_norm_weight:
            return []
        if kind == "moving":
            return self.network.moving_statistics()
        if given is None:
            raise UserError(
                "the threat model knows the batch-norm statistics of the client's batch, but none "
                "were given; SharedNetwork.statistics computes them"
            )
        return [tuple(tf.cast(value, tf.float32) for value in pair) for pair in given]

    def _refresh_consensus(self, state: State) -> State:
        s = self.settings
        step = int(state.step)
        due = step >= s.group_start and (step - s.group_start) % s.group_period == 0
        if s.group == "none" or not due:
            return state
        consensus = consensus_of(state.values[0], s.group == "registered")
        return state._replace(consensus=consensus)

    def _next_stop(self, step, steps_per_call):
        """At most `steps_per_call` on, not past the end or the next refresh of the consensus."""
        s = self.settings
        stops = [step + steps_per_call, s.num_steps]
        if s.group != "none":
            past = max(0, step - s.group_start) // s.group_period + 1
            stops.append(
                s.group_start if step < s.group_start else s.group_start + past * s.group_period
            )
        return min(stops)

    def _identity(self, evidence):
        """What has to be equal for a run to be the same run."""
        return {
            "settings": self.settings.get_config(),
            "threat_model": self.threat_model.get_config(),
            "seeds": evidence.seeds.numpy().tolist(),
            "target": float(sum(np.abs(g).sum(dtype=np.float64) for g in evidence.gradients)),
        }

    def _result(self, state, evidence, labels, history, seconds):
        terms = self._optimization.evaluate(state, evidence).numpy()
        seeds = np.clip(self.network.denormalize(state.values[0]).numpy(), 0.0, 1.0)
        # Without a gradient term (a control) the whole objective has to choose.
        criterion = "gradient" if self.settings.gradient_weight else "total"
        best = int(np.argmin(terms[TERMS.index(criterion)]))
        if self._optimization.optimize_labels:
            labels = np.argmax(state.values[1][best].numpy(), axis=-1)
        consensus = consensus_of(tf.constant(seeds), self.settings.group == "registered")
        return Inversion(
            images=seeds[best],
            labels=labels,
            consensus=consensus.numpy(),
            seeds=seeds,
            terms=dict(zip(TERMS, terms)),
            history=history,
            num_steps=int(state.step),
            seconds=seconds,
            seconds_per_step=_steady(history, int(state.step), seconds),
        )


def _stride(done, seconds, stride):
    """Steps until the next look: at most eight times as many as last time, and some seconds."""
    affordable = int(_SECONDS_BETWEEN_LOOKS * done / max(seconds, 1e-9))
    return max(1, min(_MOST_STEPS_BETWEEN_LOOKS, 8 * stride, affordable))


def _steady(history, num_steps, seconds):
    """Seconds of a step once everything is traced."""
    if len(history) < 2:
        return seconds / max(num_steps, 1)
    first, last = history[0], history[-1]
    return (last["seconds"] - first["seconds"]) / (last["step"] - first["step"])


def _means(terms, step, until):
    values = terms.numpy().mean(axis=1)
    if not np.all(np.isfinite(values)):
        raise UserError(
            f"the objective became NaN or infinite between steps {step} and "
            f"{until}; lower the learning rate, or raise the weights of the priors"
        )
    return {name: float(value) for name, value in zip(TERMS, values)}
