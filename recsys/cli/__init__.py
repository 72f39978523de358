"""The recsys command, one file per group of commands."""

from recsys.config.settings import hold_blas_at_one_thread

hold_blas_at_one_thread()
