"""train-cf: nightly collaborative-filtering retraining. The library; it knows nothing of Prefect."""

__version__ = "0.1.0"
