"""What `fit` lacks, once: a guarded step, exact resume, schedules, callbacks and strategies."""

from tfgen.training.files import replace_dir, replace_file

__all__ = ["replace_dir", "replace_file"]
