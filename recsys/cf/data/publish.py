"""A directory of files becomes a data version: checked as every load checks it, then uploaded, the manifest last."""

from pathlib import Path

from recsys.cf.data.files import read_dataset_files
from recsys.cf.data.manifest import Manifest
from recsys.cf.data.validate import validate_dataset
from recsys.cf.data.version import publish
from recsys.storage.base import Store


def publish_directory(store: Store, directory: Path, manifest: Manifest) -> str:
    """Return the id of the new version. Raises DataValidationError when a file breaks a law: nothing is uploaded."""
    dataset, interactions = read_dataset_files(
        directory, version="being prepared", content_hash=manifest.content_hash
    )
    validate_dataset(dataset, interactions, manifest.settings)
    del dataset, interactions
    return publish(store, directory, manifest)
