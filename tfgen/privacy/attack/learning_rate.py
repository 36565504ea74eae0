"""Learning rates of attacks."""

import tensorflow as tf

from tfgen.privacy.attack.settings import AttackSettings
from tfgen.training.schedules import WarmupCosine


def learning_rate_of(settings: AttackSettings):
    """The schedule of an attack, a function of the step."""
    s = settings
    if s.schedule == "cosine":
        # One step more than there are, so that the last step still moves a little.
        return WarmupCosine(
            s.learning_rate,
            min(s.warmup_steps, s.num_steps),
            steps_per_epoch=1,
            epochs=s.num_steps + 1,
            final=0.0,
            per_step=True,
            zero_first_step=False,
        )

    def rate(step):
        done = tf.cast(step, tf.float32)
        rise = tf.minimum(1.0, (done + 1.0) / max(s.warmup_steps, 1))
        passed = 0.0
        if s.schedule == "steps":
            passed = tf.add_n(
                [tf.cast(done >= f * s.num_steps, tf.float32) for f in (3 / 8, 5 / 8, 7 / 8)]
            )
        return s.learning_rate * rise * tf.pow(0.1, passed)

    return rate
