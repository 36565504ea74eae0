"""Solvers that turn noise into latents, and latents into noise, with a noise predictor.

A noise predictor is a function `(z [N, ...], t [N]) -> eps` like z. Solvers are small objects that
state their order; they count network evaluations and know no model.
"""

from tfgen.ops.kinds import kind_from_config
from tfgen.samplers.diffusion.adaptive import integrate
from tfgen.samplers.diffusion.discretized_bound import DiscretizedBound, discretized_bound
from tfgen.samplers.diffusion.flow_likelihood import FlowLikelihood, flow_log_prob
from tfgen.samplers.diffusion.guidance import (
    classifier_free_guidance,
    classifier_guidance,
    observation,
    reconstruction_guidance,
)
from tfgen.samplers.diffusion.heun import Heun
from tfgen.samplers.diffusion.interpolation import interpolate, spherical
from tfgen.samplers.diffusion.multistep import DDIM, DPMSolver
from tfgen.samplers.diffusion.predictor_corrector import PredictorCorrector
from tfgen.samplers.diffusion.probability_flow import RK45, flow_velocity
from tfgen.samplers.diffusion.solver import FixedStepSolver, Solution, starting_state
from tfgen.samplers.diffusion.step_table import StepTable
from tfgen.samplers.diffusion.stochastic import Ancestral, EulerMaruyama
from tfgen.samplers.diffusion.time_grids import GRIDS, time_grid

SOLVERS = {
    "rk45": RK45,
    "ddim": DDIM,
    "dpm_solver": DPMSolver,
    "heun": Heun,
    "euler_maruyama": EulerMaruyama,
    "ancestral": Ancestral,
    "predictor_corrector": PredictorCorrector,
}


def solver_from_config(config) -> FixedStepSolver | RK45:
    """A solver from its name, or from a dict of the name and its fields.

    Args:
        config: string, one of `SOLVERS`; dict `{"name": "dpm_solver", "num_steps": 10}`; or a
            solver, which is returned.

    Raises:
        ConfigError: there is no such solver, or it has no such field.
    """
    return kind_from_config("solver", SOLVERS, config)


__all__ = [
    "DDIM",
    "GRIDS",
    "RK45",
    "SOLVERS",
    "Ancestral",
    "DPMSolver",
    "DiscretizedBound",
    "EulerMaruyama",
    "FixedStepSolver",
    "FlowLikelihood",
    "Heun",
    "PredictorCorrector",
    "Solution",
    "StepTable",
    "classifier_free_guidance",
    "classifier_guidance",
    "discretized_bound",
    "flow_log_prob",
    "flow_velocity",
    "integrate",
    "interpolate",
    "observation",
    "reconstruction_guidance",
    "solver_from_config",
    "spherical",
    "starting_state",
    "time_grid",
]
