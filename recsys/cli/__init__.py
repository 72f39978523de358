"""The recsys command, one file per group of commands."""

from recsys.config.settings import set_thread_policy

set_thread_policy()
