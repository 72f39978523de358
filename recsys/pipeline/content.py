"""What the hybrid model needs besides interactions: torch, and embeddings of the items."""

import hashlib

from recsys.cf.data.files import EMBEDDINGS_FILE
from recsys.cf.data.manifest import Manifest
from recsys.cf.embeddings.align import AlignedEmbeddings
from recsys.cf.models.hybrid_torch import require_torch
from recsys.config.schema import TrainingConfig
from recsys.errors import DataError
from recsys.types import Json


def require_content(config: TrainingConfig, manifest: Manifest) -> None:
    """Raise when the configuration names the hybrid model and it cannot be trained on this data version.

    Cheap, so that a night finds out before anything is trained: ConfigError without torch where it is needed,
    DataError without embeddings.
    """
    if "hybrid" not in config.runtime.models:
        return
    if (
        config.runtime.engine.hybrid == "local"
    ):  # of torchrec the ranks have it, in an environment of their own
        require_torch()
    if EMBEDDINGS_FILE not in manifest.files and config.bert.embeddings_path is None:
        raise DataError(
            f"data version {manifest.version} has no product embeddings, which the model hybrid learns from: "
            "prepare it with `recsys prepare ... --embeddings FILE.npz`, name a file with "
            "bert.embeddings_path, or take hybrid out of runtime.models"
        )


def content_facts(content: AlignedEmbeddings | None) -> Json | None:
    """Return what identifies and describes the embeddings a model learned from; None of none."""
    if content is None:
        return None
    digest = hashlib.sha256(content.vectors.tobytes() + content.known.tobytes()).hexdigest()
    return {
        "name": content.name,
        "version": content.version,
        "dimensions": content.dimensions,
        "sha256": digest,
        **content.report(),
    }
