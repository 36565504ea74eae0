"""Samplers that know a call shape and no model: `energy(state) -> [B]`, `log_weight(z) -> [B]`."""

from tfgen.samplers.annealed_importance import (
    AnnealedChain,
    PartitionBounds,
    annealed_importance,
    partition_bounds,
    sigmoid_schedule,
    standard_normal_energy,
)
from tfgen.samplers.chain import Chain, Trace, compiled
from tfgen.samplers.diagnostics import (
    effective_sample_size,
    num_distinct,
    potential_scale_reduction,
    summary,
)
from tfgen.samplers.hmc import hmc
from tfgen.samplers.importance_resampling import (
    Resampled,
    importance_resampling,
    log_normalizer_bounds,
    num_proposals_for,
    proposal_noise,
    resample_lazily,
)
from tfgen.samplers.langevin import langevin, mala
from tfgen.samplers.noise import ChainNoise
from tfgen.samplers.replay_buffer import ReplayBuffer, replay_probability

__all__ = [
    "AnnealedChain",
    "Chain",
    "ChainNoise",
    "PartitionBounds",
    "ReplayBuffer",
    "Resampled",
    "Trace",
    "annealed_importance",
    "compiled",
    "effective_sample_size",
    "hmc",
    "importance_resampling",
    "langevin",
    "log_normalizer_bounds",
    "mala",
    "num_distinct",
    "num_proposals_for",
    "partition_bounds",
    "potential_scale_reduction",
    "proposal_noise",
    "replay_probability",
    "resample_lazily",
    "sigmoid_schedule",
    "standard_normal_energy",
    "summary",
]
