"""The flag of binaries that may replace what they find."""

from absl import flags

OVERWRITE = flags.DEFINE_bool(
    "overwrite", False, "Replace what exists, once its successor is good."
)
