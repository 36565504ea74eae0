"""What a search keeps small beside the loss: anything that can be measured of an architecture.

The loss says what data say of an architecture; a criterion says what it costs. It need not have a
gradient: it is measured of discrete draws, and a linear surrogate, fitted to what was measured, is
the control variate that makes few draws enough (UNAS, arXiv:1912.07651).
"""

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError, UserError
from tfgen.ops.checks import in_range, one_of, whole_number
from tfgen.search.unas.distribution import ArchitectureDistribution
from tfgen.search.unas.measures import AdditiveMeasure, Measure
from tfgen.search.unas.surrogates import OnlineSurrogate

FORMS = ("linear", "hinge", "absolute", "log_ratio", "lagrangian")
_LEAST_RATIO = 1e-3  # a surrogate may predict less than nothing, of which there is no logarithm


@keras.saving.register_keras_serializable(package="tfgen")
class Criterion(keras.layers.Layer):
    """A measure of architectures, and how it enters what a search minimises.

    With T the measure, T* its target and c the coefficient, the penalty is, by form:

        linear       c T
        hinge        c max(0, T - T*)
        absolute     c |T / T* - 1|
        log_ratio    c log(T / T*)
        lagrangian   m (T / T* - 1), where m >= 0 rises while T is above T*, and falls below

    Args:
        measure: function of an architecture, `{group: [factors] integer array}`, to a float. One
            with a method `tensor`, as those of `tfgen.search.unas.measures` have, is computed
            within the graph; any other is called back.
        groups: mapping of group name -> pair of integers, factors and choices of each.
        target: float T*, in the measure's unit; None only where the form has none.
        form: string, one of `FORMS`. Defaults to `"hinge"`.
        coefficient: float c. Defaults to `0.1`.
        ramp_steps: integer, steps over which c rises from 0; 0 begins with all of it. Defaults to
            `0`.
        multiplier_rate: float, by how much m moves where T is twice its target. Defaults to `0.01`.
        num_draws: integer, architectures measured a step. Defaults to `1`.
        num_fitted: integer, random architectures that the surrogate is fitted to before the search.
            Defaults to `1000`.
        online: whether the surrogate also learns from what is measured in the search. Defaults to
            `True`.
        memory: float in (0, 1], see `OnlineSurrogate`. Defaults to `1.0`.
        name: string, what is measured, for logs and messages. Defaults to `"criterion"`.

    Raises:
        ConfigError: an argument is out of range, or the target is missing.
    """

    def __init__(
        self,
        measure: Measure | Mapping,
        groups: Mapping[str, tuple[int, int]],
        target: float | None = None,
        form: str = "hinge",
        coefficient: float = 0.1,
        ramp_steps: int = 0,
        multiplier_rate: float = 0.01,
        num_draws: int = 1,
        num_fitted: int = 1000,
        online: bool = True,
        memory: float = 1.0,
        name: str = "criterion",
        **kwargs,
    ):
        super().__init__(name=name, autocast=False, **kwargs)
        if isinstance(measure, Mapping):
            measure = keras.saving.deserialize_keras_object(measure)
        if one_of(f"form of {name}", form, FORMS) != "linear":
            if target is None:
                raise ConfigError(f"{name} has no target, and the form {form!r} needs one")
            in_range(f"target of {name}", target, 0.0, above=True)
        in_range("coefficient", coefficient, 0.0)
        in_range("multiplier_rate", multiplier_rate, 0.0)
        self.measure, self.target, self.form = measure, target, form
        self.groups = {str(key): tuple(map(int, shape)) for key, shape in groups.items()}
        self.coefficient, self.multiplier_rate = coefficient, multiplier_rate
        self.ramp_steps = whole_number("ramp_steps", ramp_steps, 0)
        self.num_draws = whole_number("num_draws", num_draws, 1)
        self.num_fitted = whole_number("num_fitted", num_fitted, 0)
        self.online, self.memory = online, memory
        self.surrogate = OnlineSurrogate(self.groups, memory=memory)

    def build(self, input_shape=None):
        del input_shape
        options = dict(shape=(), initializer="zeros", trainable=False)
        self.multiplier = self.add_weight(dtype="float32", name="multiplier", **options)
        self.surrogate.build()
        self.built = True

    def values(self, discrete: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """What is measured of architectures, `[B]` float32.

        Args:
            discrete: dict of group name -> `[B, factors, choices]` one-hot.
        """
        if hasattr(self.measure, "tensor"):
            return tf.stop_gradient(self.measure.tensor(discrete))
        chosen = [tf.argmax(discrete[key], axis=-1) for key in self.groups]
        values = tf.numpy_function(self._measured, chosen, tf.float32)
        return tf.ensure_shape(values, chosen[0].shape[:1])

    def _measured(self, *chosen):
        rows = zip(*chosen)
        found = [float(self.measure(dict(zip(self.groups, row)))) for row in rows]
        return np.asarray(found, np.float32)

    def penalty(self, values, step) -> tf.Tensor:
        """What measured values add to the loss, `[B]`.

        Args:
            values: `[B]`, measured or predicted.
            step: scalar, steps of the architecture so far.
        """
        weight = self.weight(step)
        if self.form == "linear":
            return weight * values
        if self.form == "hinge":
            return weight * tf.nn.relu(values - self.target)
        ratio = values / self.target
        if self.form == "log_ratio":
            return weight * tf.math.log(tf.maximum(ratio, _LEAST_RATIO))
        return weight * (tf.abs(ratio - 1.0) if self.form == "absolute" else ratio - 1.0)

    def excess(self, values, step) -> tf.Tensor:
        """What measured values count for where single architectures are compared, `[B]`.

        It is the penalty, but that being below a bound is worth nothing.

        Args:
            values: `[B]`, measured.
            step: scalar, steps of the architecture so far.
        """
        penalty = self.penalty(values, step)
        return tf.nn.relu(penalty) if self.form == "lagrangian" else penalty

    def weight(self, step) -> tf.Tensor:
        """c or m at a step, a scalar."""
        if self.form == "lagrangian":
            return tf.convert_to_tensor(self.multiplier)
        if not self.ramp_steps:
            return tf.constant(self.coefficient, tf.float32)
        share = tf.cast(step, tf.float32) / float(self.ramp_steps)
        return self.coefficient * tf.minimum(share, 1.0)

    def updates(self, discrete, values) -> list[tuple]:
        """Its variables with their next values; nothing is assigned.

        Args:
            discrete: dict of group name -> `[B, factors, choices]` one-hot.
            values: `[B]`, what was measured of them.
        """
        found = self.surrogate.updates(discrete, values) if self.online else []
        if self.form == "lagrangian":
            over = tf.reduce_mean(values) / self.target - 1.0
            next_ = tf.nn.relu(self.multiplier + self.multiplier_rate * over)
            found.append((self.multiplier, next_))
        return found

    def prepare(self, distribution: ArchitectureDistribution, seed: int = 0) -> dict[str, float]:
        """Fits the surrogate to architectures drawn at random, and looks whether the target is
        within reach.

        Args:
            distribution: the `ArchitectureDistribution` to draw from.
            seed: integer, seed of the draws. Defaults to `0`.

        Returns:
            Numbers by name: `mean` and `smallest` of what was measured, `error`, the mean absolute
            error on the fifth of them that was left out of the fit.

        Raises:
            UserError: the target cannot be reached, with the smallest value that can; something
                measured is not finite.
        """
        if not self.built:
            self.build()
        self.check_target()
        if not self.num_fitted:
            return {}
        drawn = distribution.sample(self.num_fitted, (seed % 2**31, 0x5F)).discrete
        values = self._all_values(drawn)
        count = max(1, self.num_fitted * 4 // 5)
        first, rest = ({k: v.numpy()[part] for k, v in drawn.items()} for part in
                       (slice(count), slice(count, None)))  # fmt: skip
        self.surrogate.fit(first, values[:count])
        error = np.nan
        if count < self.num_fitted:
            error = float(np.mean(np.abs(self.surrogate(rest).numpy() - values[count:])))
        smallest = min(float(values.min()), self._measured_smallest())
        if not hasattr(self.measure, "smallest"):
            self._compare(smallest, "that was found is")
        return {"mean": float(values.mean()), "smallest": smallest, "error": error}

    def _all_values(self, drawn):
        """Measured one part after the other: a table is quick, and a device is not."""
        values = self.values(drawn).numpy()
        if not np.isfinite(values).all():
            raise UserError(
                f"{self.name}: {int((~np.isfinite(values)).sum())} of {len(values)} measurements "
                "are not finite; expected numbers: mend what measures"
            )
        return values

    def _measured_smallest(self) -> float:
        """The measure of what the surrogate believes to be the least."""
        parts = np.split(
            self.surrogate.coefficients.numpy()[:-1],
            np.cumsum([count * k for count, k in self.groups.values()])[:-1],
        )
        best = {
            key: tf.one_hot(part.reshape(shape).argmin(axis=1), shape[1])[None]
            for (key, shape), part in zip(self.groups.items(), parts)
        }
        return float(self.values(best)[0])

    def check_target(self) -> None:
        """Looks whether the target is within reach, where the measure knows its smallest value.

        Raises:
            UserError: it is not, with that value.
        """
        if hasattr(self.measure, "smallest"):
            self._compare(self.measure.smallest(), "is")

    def _compare(self, smallest: float, verb: str):
        if self.form in ("hinge", "lagrangian") and smallest > self.target:
            raise UserError(
                f"no architecture has a {self.name} of {self.target:g}: the smallest {verb} "
                f"{smallest:.4g}; ask for at least that, or search another space"
            )

    def get_config(self):
        measure = self.measure
        if isinstance(measure, AdditiveMeasure) or hasattr(measure, "get_config"):
            measure = keras.saving.serialize_keras_object(measure)
        return {
            **super().get_config(),
            "measure": measure,
            "groups": {key: list(shape) for key, shape in self.groups.items()},
            "target": self.target,
            "form": self.form,
            "coefficient": self.coefficient,
            "ramp_steps": self.ramp_steps,
            "multiplier_rate": self.multiplier_rate,
            "num_draws": self.num_draws,
            "num_fitted": self.num_fitted,
            "online": self.online,
            "memory": self.memory,
        }
