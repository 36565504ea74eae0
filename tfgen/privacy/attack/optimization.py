"""One step of an attack: objective, derivative, Adam, noise; and many steps in one graph.

Everything is a pure function of a `State`, so that a run can stop anywhere and go on bit-equal.
"""

import math

import tensorflow as tf

from tfgen.errors import UserError
from tfgen.privacy.attack import image_priors
from tfgen.privacy.attack.gradient_distance import gradient_distance
from tfgen.privacy.attack.learning_rate import learning_rate_of
from tfgen.privacy.attack.settings import AttackSettings
from tfgen.privacy.attack.state import TERMS, Evidence, State
from tfgen.privacy.network.relaxation import relaxed_relu
from tfgen.privacy.network.shared import SharedNetwork

# Streams of random numbers of one seed.
_INITIAL, _NOISE, _JITTER = 0, 1, 2


class Optimization:
    """The iteration of one attack.

    Args:
        network: the `SharedNetwork` whose gradient was shared.
        settings: the `AttackSettings` of the attack.
        optimize_labels: whether labels are unknown and optimised as logits.
        jit_compile: whether XLA compiles the loop.
    """

    def __init__(
        self,
        network: SharedNetwork,
        settings: AttackSettings,
        optimize_labels: bool = False,
        jit_compile: bool = False,
    ):
        self.network = network
        self.settings = settings
        self.optimize_labels = optimize_labels
        self.learning_rate = learning_rate_of(settings)
        self.box = network.normalize(0.0), network.normalize(1.0)
        self._layer_weights = layer_weights(network, settings)
        self.run = tf.function(self._run, autograph=False, jit_compile=jit_compile)
        self.evaluate = tf.function(self._evaluate, autograph=False, jit_compile=jit_compile)
        self.value_and_gradient = tf.function(self._value_and_gradient, autograph=False)

    def start(self, evidence: Evidence) -> State:
        """Noise, the same for a seed whichever others run beside it."""
        s = self.settings
        batch_size, shape = evidence.labels.shape[0], self.network.image_shape
        dtype = self.network.dtype
        noise = _normal(evidence.seeds, _INITIAL, 0, [batch_size, *shape], dtype)
        images = self.network.normalize(s.initial_mean + s.initial_std * noise)
        values = [self._clip(images) if s.clip else images]
        if self.optimize_labels:
            values.append(_normal(evidence.seeds, _INITIAL, 1, evidence.labels.shape, dtype))
        zeros = [tf.zeros_like(v) for v in values]
        terms = tf.zeros([len(TERMS), evidence.seeds.shape[0]], dtype)
        return State(tf.constant(0), values, zeros, zeros, tf.zeros_like(values[0][0]), terms)

    def _run(self, state: State, evidence: Evidence, until: tf.Tensor) -> State:
        """Steps from `state.step` to `until`, in one compiled loop."""
        return tf.while_loop(
            lambda s: s.step < until,
            lambda s: (self._step(s, evidence),),
            (state,),
            parallel_iterations=1,
        )[0]

    def _evaluate(self, state: State, evidence: Evidence) -> tf.Tensor:
        """The terms of every seed, `[len(TERMS), G]`, without random augmentation."""
        columns = []
        for g in range(evidence.seeds.shape[0]):
            values = [v[g] for v in state.values]
            terms = self._objective(values, evidence, state, evidence.seeds[g])
            columns.append(tf.stack([terms[name] for name in TERMS]))
        return tf.stack(columns, axis=1)

    def _value_and_gradient(self, values, evidence: Evidence, state: State):
        """Objective of one seed's values, and its gradient, for optimisers outside."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            total = self._objective(values, evidence, state, evidence.seeds[0])["total"]
        gradients = _gradient(tape, total, values)
        return total, [tf.zeros_like(v) if d is None else d for d, v in zip(gradients, values)]

    def _step(self, state: State, evidence: Evidence) -> State:
        gradients, terms = self._derivative(state, evidence)
        rate = tf.cast(self.learning_rate(state.step), self.network.dtype)
        values, means, squares = [], [], []
        for value, mean, square, gradient in zip(
            state.values, state.means, state.squares, gradients
        ):
            if self.settings.signed:
                gradient = tf.sign(gradient)
            value, mean, square = self._adam(state.step, rate, value, mean, square, gradient)
            values.append(value)
            means.append(mean)
            squares.append(square)
        values[0] = self._perturb_and_clip(values[0], evidence.seeds, state.step, rate)
        return State(state.step + 1, values, means, squares, state.consensus, terms)

    def _adam(self, step, rate, value, mean, square, gradient):
        """Kingma & Ba, 2015, algorithm 1."""
        s, t = self.settings, tf.cast(step + 1, value.dtype)
        # Where a network is steep without bound its square would overflow, and nothing would move.
        most = value.dtype.max**0.5 / 2
        gradient = tf.clip_by_value(gradient, -most, most)
        mean = s.beta_1 * mean + (1 - s.beta_1) * gradient
        square = s.beta_2 * square + (1 - s.beta_2) * tf.square(gradient)
        root = tf.sqrt(square / (1 - s.beta_2**t)) + s.epsilon
        return value - rate / (1 - s.beta_1**t) * mean / root, mean, square

    def _perturb_and_clip(self, images, seeds, step, rate):
        """Langevin noise on the pixels themselves, in units of the learning rate; then the box."""
        if self.settings.noise:
            eta = _normal(seeds, _NOISE, step, images.shape[1:], images.dtype)
            images += rate * self.settings.noise * eta
        return self._clip(images) if self.settings.clip else images

    def _clip(self, images):
        return tf.clip_by_value(images, *self.box)

    def _derivative(self, state, evidence):
        """Gradient of every seed's own objective by its own candidates.

        Seeds must not share a batch: the mean gradient would mix them. They are unrolled into one
        graph, where they run side by side.
        """
        found, columns = [], []
        for g in range(evidence.seeds.shape[0]):
            values = [v[g] for v in state.values]
            augmentation = self._augmentation(evidence.seeds[g], state.step)
            with relaxed_relu(self.settings.relu_width) as outer:
                with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
                    tape.watch(values)
                    terms = self._objective(
                        values, evidence, state, evidence.seeds[g], augmentation
                    )
                with outer:
                    if g == 0 and self.settings.gradient_weight:
                        # Only while tracing: what is not used is not computed.
                        _check_connected(_gradient(tape, terms["gradient"], values))
                    gradients = _gradient(tape, terms["total"], values)
            found.append([tf.zeros_like(v) if d is None else d for d, v in zip(gradients, values)])
            columns.append(tf.stack([terms[name] for name in TERMS]))
        return [tf.stack(seeds) for seeds in zip(*found)], tf.stack(columns, axis=1)

    def _objective(self, values, evidence, state, seed, augment=lambda x: x):
        """All terms of one seed by name; "total" is their weighted sum."""
        s, images = self.settings, values[0]
        labels = tf.nn.softmax(values[1]) if self.optimize_labels else evidence.labels
        # The client's dropout masks are not known: the candidates have others in every step.
        masks = tf.stack([3 * seed + _JITTER, state.step]) + tf.constant([0, 1 << 25])
        zero = tf.zeros([], images.dtype)
        terms = dict.fromkeys(TERMS[1:], zero)
        if s.gradient_weight:
            loss, gradients, statistics = self.network.compute(
                augment(images), labels, masks, evidence.sample_weight
            )
            terms["gradient"] = gradient_distance(
                gradients,
                evidence.gradients,
                s.gradient_form,
                self._layer_weights,
                evidence.masks or None,
                s.fit_scale,
                evidence.metric or None,
            )
        elif s.label_weight or evidence.statistics:
            loss, statistics = self.network.forward(
                augment(images), labels, masks, evidence.sample_weight
            )
        if s.batch_norm_weight and evidence.statistics:
            terms["batch_norm"] = image_priors.batch_norm_distance(
                statistics, evidence.statistics, s.first_batch_norm_weight, s.batch_norm_form
            )
        if s.label_weight:
            terms["label"] = tf.cast(loss, images.dtype)
        if s.tv_weight:
            terms["tv"] = image_priors.total_variation(images)
        if s.l2_weight:
            terms["l2"] = image_priors.mean_norm(images)
        if s.group != "none":
            started = tf.cast(state.step >= s.group_start, images.dtype)
            terms["group"] = started * image_priors.group_distance(images, state.consensus)
        weights = {name: getattr(s, f"{name}_weight") for name in terms}
        total = tf.add_n([weights[name] * value for name, value in terms.items()])
        return {"total": total, **terms}

    def _augmentation(self, seed, step):
        """The same random shift and mirror image for a whole batch, new in every step."""
        s = self.settings

        def augment(images):
            key = tf.stack([3 * seed + _JITTER, step])
            if s.jitter:
                shift = tf.random.stateless_uniform([2], key, -s.jitter, s.jitter + 1, tf.int32)
                images = tf.roll(images, shift, axis=[1, 2])
            if s.flip:
                mirrored = tf.random.stateless_uniform([], key + tf.constant([0, 1 << 24])) < 0.5
                images = tf.where(mirrored, tf.reverse(images, [2]), images)
            return images

        return augment


_NOT_TWICE = (
    "the loss or a layer of the model cannot be differentiated twice, which matching gradients "
    "needs; replace it by TensorFlow or Keras operations"
)


def _gradient(tape, value, values):
    try:
        return tape.gradient(value, values)
    except LookupError as error:  # an operation without a registered gradient
        raise UserError(f"{_NOT_TWICE} ({error})") from error


def _check_connected(gradients):
    if all(g is None for g in gradients):
        raise UserError(_NOT_TWICE)


def layer_weights(network: SharedNetwork, settings: AttackSettings) -> list[float] | None:
    """The factor of every tensor in L_grad; None: all one.

    Raises:
        UserError: `settings.layer_weights` names what is no variable of the model.
    """
    by_path = settings.layer_weights or {}
    paths = [v.path for v in network.variables]
    unknown = sorted({*by_path} - {*paths})
    if unknown:
        raise UserError(
            f"layer_weights names {unknown[0]!r}, which is no trainable variable of the model; "
            f"it has {', '.join(paths)}"
        )
    seen = set(paths)
    if settings.late_kernels:
        kernels = [v.path for v in network.variables if len(v.shape) > 1]
        seen = {*kernels[-math.ceil(settings.late_kernels * len(kernels)) :]}
    if not by_path and len(seen) == len(paths):
        return None
    return [float(by_path.get(path, 1.0)) if path in seen else 0.0 for path in paths]


def _normal(seeds, stream, step, shape, dtype):
    """Standard normal `[G, *shape]`: of every seed its own, whatever the others."""
    draws = [
        tf.random.stateless_normal(shape, tf.stack([3 * seed + stream, step]), dtype=dtype)
        for seed in tf.unstack(seeds)
    ]
    return tf.stack(draws)
