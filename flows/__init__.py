"""The Prefect layer: order, concurrency, retries and what the UI shows. No arithmetic lives here."""

import logging

from recsys.config.settings import set_thread_policy

set_thread_policy()

# PREFECT_LOGGING_EXTRA_LOGGERS gives the library's lines to Prefect, but leaves them at the root's level
if logging.getLogger("recsys").level == logging.NOTSET:
    logging.getLogger("recsys").setLevel(logging.INFO)
