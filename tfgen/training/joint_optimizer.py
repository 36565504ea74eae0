"""Several optimizers that step as one."""

import dataclasses
from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from tfgen.errors import ConfigError


@keras.saving.register_keras_serializable(package="tfgen")
class JointOptimizer(keras.optimizers.Optimizer):
    """Optimizers of different parts of a model, which step together or not at all.

    A VAE and its prior may want different learning rates and different rules. To the model, to the
    guard of its step, to checkpoints and to a loss scale this is one optimizer: all parts are
    updated from one batch, or none is. Which variables belong to which part the model says in
    `tfgen.training.Model.variable_groups`.

    Args:
        optimizers: dict by name of the part of anything that `keras.optimizers.get` takes. Each
            clips, averages and decays by itself.
        name: string, name of the whole.

    Raises:
        ConfigError: there are none, or one of them scales losses (wrap the whole instead).
    """

    def __init__(self, optimizers: Mapping, name: str = "joint_optimizer"):
        super().__init__(learning_rate=0.0, name=name)
        if not optimizers:
            raise ConfigError("JointOptimizer got no optimizers; expected one for each part.")
        for part, optimizer in optimizers.items():
            optimizer = keras.optimizers.get(optimizer)
            if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
                raise ConfigError(
                    f"The optimizer of {part!r} scales its loss; scale that of all parts: "
                    "LossScaleOptimizer(JointOptimizer(...))."
                )
            setattr(self, _attribute(part), optimizer)
        self.parts = tuple(optimizers)
        self.use_ema = any(optimizer.use_ema for optimizer in self.optimizers.values())
        self._groups = _Groups({})

    @property
    def optimizers(self) -> dict[str, keras.Optimizer]:
        """The optimizer of every part."""
        return {part: getattr(self, _attribute(part)) for part in self.parts}

    def assign_groups(self, groups: Mapping[str, Sequence[keras.Variable]]) -> None:
        """Says which variables each part has; `Model.build_optimizer` does it.

        Raises:
            ConfigError: the names are not those of the optimizers.
        """
        if set(groups) != set(self.parts):
            raise ConfigError(
                f"The optimizers are for {', '.join(self.parts)}, and the model's groups of "
                f"variables are {', '.join(groups) or 'none'}; expected the same names."
            )
        self._groups = _Groups({part: list(groups[part]) for part in self.parts})

    def build(self, variables):
        """Builds every part's optimizer.

        Raises:
            ConfigError: a variable belongs to no part or to several.
        """
        owned = [id(variable) for group in self._groups.of_part.values() for variable in group]
        if sorted(owned) != sorted(id(variable) for variable in variables):
            raise ConfigError(
                f"The parts {', '.join(self.parts)} have {len(owned)} variables and the model "
                f"trains {len(variables)}; expected every one in exactly one part."
            )
        for part, optimizer in self.optimizers.items():
            optimizer.build(self._groups.of_part[part])
        self.built = True

    @property
    def variables(self) -> list[keras.Variable]:
        """Iterations of the whole, then what every part keeps."""
        inner = [v for optimizer in self.optimizers.values() for v in optimizer.variables]
        return [self._iterations, *inner]

    @property
    def learning_rate(self):
        """That of the first part."""
        return next(iter(self.optimizers.values())).learning_rate

    def apply(self, grads, trainable_variables=None):
        """Updates every part; gradients come in the order of the variables."""
        gradients = {id(v): g for v, g in zip(trainable_variables, grads, strict=True)}
        for part, optimizer in self.optimizers.items():
            group = self._groups.of_part[part]
            optimizer.apply([gradients[id(variable)] for variable in group], group)
        self._iterations.assign_add(tf.ones_like(self._iterations.value))

    def finalize_variable_values(self, var_list):
        """Gives the weights of every part that keeps averages their averages, as `fit` ends."""
        del var_list
        for part, optimizer in self.optimizers.items():
            optimizer.finalize_variable_values(self._groups.of_part[part])

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        parts = {part: serialize(optimizer) for part, optimizer in self.optimizers.items()}
        return {"name": self.name, "optimizers": parts}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        config["optimizers"] = {
            part: keras.saving.deserialize_keras_object(optimizer, custom_objects)
            for part, optimizer in config["optimizers"].items()
        }
        return cls(**config)


@dataclasses.dataclass(frozen=True)
class _Groups:
    """Holds variables that are the model's: Keras would take a bare dict of them for state."""

    of_part: dict[str, list[keras.Variable]]


def plain_optimizers(optimizer: keras.Optimizer | None) -> dict[str, keras.Optimizer]:
    """The optimizers behind a loss scale and a joint step; a single one goes by the name ""."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if optimizer is None:
        return {}
    return optimizer.optimizers if isinstance(optimizer, JointOptimizer) else {"": optimizer}


def _attribute(part: str) -> str:
    return f"optimizer_of_{part}"
