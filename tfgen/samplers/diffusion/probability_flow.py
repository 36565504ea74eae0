"""The probability-flow ODE, dz/dt = f z + g^2 eps / (2 sigma), by an adaptive solver.

It has the marginals of the diffusion and no noise, so that it runs both ways: latents to noise and
back (Song et al., 2021, arXiv:2011.13456).
"""

import dataclasses

import tensorflow as tf

from tfgen.ops.checks import in_range, whole_number
from tfgen.ops.diffusion import SDE
from tfgen.samplers import state as states
from tfgen.samplers.diffusion.adaptive import integrate
from tfgen.samplers.diffusion.solver import Solution
from tfgen.samplers.diffusion.step_table import NoisePredictor, predicted_noise
from tfgen.samplers.diffusion.time_grids import check_grid


def flow_coefficients(sde: SDE, t: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """f and g^2 / (2 sigma), the factors on z and eps.

    Args:
        sde: an `SDE`, the diffusion.
        t: float64 `[N]`.
    """
    return sde.drift(t), 0.5 * sde.squared_diffusion(t) / sde.std(t)


def flow_velocity(sde: SDE, predict_noise: NoisePredictor):
    """The right-hand side as a function `(t, z) -> dz/dt`.

    Args:
        sde: an `SDE`, the diffusion.
        predict_noise: function `(z, t) -> eps`.
    """

    def velocity(t, z):
        f, half = flow_coefficients(sde, t)
        return states.combine((f, z), (half, predicted_noise(predict_noise, z, t)))

    return velocity


@dataclasses.dataclass(frozen=True)
class RK45:
    """Dormand and Prince's pair of orders 5 and 4, with a controller for every state.

    States are best float64: the error of a float32 step is about 1e-7 whatever the tolerance.

    Args:
        rtol: float, relative tolerance. Defaults to `1e-5`.
        atol: float, absolute tolerance. Defaults to `1e-5`.
        end: float, time at which it ends. Defaults to `1e-5`.
        max_steps: integer, tries after which a state gives up. Defaults to `1000`.
    """

    rtol: float = 1e-5
    atol: float = 1e-5
    end: float = 1e-5
    max_steps: int = 1000

    order = 5

    def __post_init__(self):
        in_range("rtol", self.rtol, 0.0, above=True)
        in_range("atol", self.atol, 0.0, above=True)
        whole_number("max_steps", self.max_steps, 1)
        check_grid("uniform", self.end)

    def solve(self, sde: SDE, predict_noise: NoisePredictor, state: tf.Tensor) -> Solution:
        """From states at t = 1 to the end.

        Args:
            sde: an `SDE`, the diffusion.
            predict_noise: function `(z, t) -> eps`, of states `[N, ...]` and times `[N]`.
            state: tensor `[N, ...]`, see `starting_state`.

        Returns:
            A `Solution`.
        """
        return self.between(1.0, self.end, flow_velocity(sde, predict_noise), state)

    def encode(self, sde: SDE, predict_noise: NoisePredictor, state: tf.Tensor) -> Solution:
        """From data to noise.

        Args:
            sde: an `SDE`, the diffusion.
            predict_noise: function `(z, t) -> eps`, of states `[N, ...]` and times `[N]`.
            state: tensor `[N, ...]`, states at the time `end`.

        Returns:
            A `Solution` at t = 1.
        """
        return self.between(self.end, 1.0, flow_velocity(sde, predict_noise), state)

    def turns_round(self, sde: SDE) -> bool:
        """Whether it can `encode`: always.

        Args:
            sde: an `SDE`, the diffusion.
        """
        del sde
        return True

    def between(self, start: float, end: float, velocity, state) -> Solution:
        """From any time to any other, by any velocity.

        Args:
            start: float, the first time.
            end: float, the last time.
            velocity: function `(t [N] float64, state) -> d state / dt`.
            state: nested tensors `[N, ...]`.

        Returns:
            A `Solution`.
        """
        found = integrate(velocity, state, start, end, self.rtol, self.atol, self.max_steps)
        return Solution(*found)

    def get_config(self) -> dict:
        """The fields by name, as `from_config` takes them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict) -> "RK45":
        """A solver with these fields.

        Args:
            config: dict, as `get_config` gives it.
        """
        return cls(**config)
