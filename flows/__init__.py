"""The Prefect layer: order, concurrency, retries and what the UI shows. No arithmetic lives here."""

from recsys.config.settings import hold_blas_at_one_thread

hold_blas_at_one_thread()
