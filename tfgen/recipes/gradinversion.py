"""Settings that attacks of several recipes share."""

from typing import Any


def deep_attack() -> dict[str, Any]:
    """For networks in whose gradients kinks and early layers hide what belongs to the pixels.

    Returns:
        Fields of an attack that knows the batch's statistics.
    """
    return dict(
        gradient_form="layerwise",
        gradient_weight=1.0,
        late_kernels=0.5,
        relu_width=1.0,
        batch_norm_form="relative",
        batch_norm_weight=0.25,
        signed=False,
        noise=0.0,
        tv_weight=0.0,
        l2_weight=0.0,
        learning_rate=0.2,
        warmup_steps=0,
        beta_2=0.99,
        initial_mean=0.45,
        initial_std=0.125,
    )
