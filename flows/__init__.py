"""The Prefect layer: order, concurrency, retries and what the UI shows. No arithmetic lives here."""

from recsys.config.settings import set_thread_policy

set_thread_policy()
