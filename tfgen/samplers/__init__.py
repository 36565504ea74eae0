"""Samplers that know call shapes and no model."""

from tfgen.samplers.importance_resampling import (
    Resampled,
    importance_resampling,
    log_normalizer_bounds,
    num_proposals_for,
    proposal_noise,
    resample_lazily,
)

__all__ = [
    "Resampled",
    "importance_resampling",
    "log_normalizer_bounds",
    "num_proposals_for",
    "proposal_noise",
    "resample_lazily",
]
