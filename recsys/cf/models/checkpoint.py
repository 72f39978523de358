"""Checkpoints in the store: one atomic object each, so a killed process leaves a whole one or none."""

import io
import json
import logging
import zipfile

import numpy as np

from recsys.cf.models.base import Checkpoint
from recsys.errors import ObjectExists
from recsys.storage.base import Store

_STATE = "state"
logger = logging.getLogger(__name__)


class StoreCheckpoints:
    """Checkpoints of one fit under ``prefix``, as .npz without pickles; only the newest is kept.

    A fit is deterministic, so a checkpoint that exists already holds the bytes that would be written.
    """

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint, then delete the older ones. Memory: one copy of its arrays."""
        arrays = dict(checkpoint.arrays)
        arrays[_STATE] = np.frombuffer(json.dumps(dict(checkpoint.state)).encode(), dtype=np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        key = f"{self._prefix}/{checkpoint.iteration:06d}.npz"
        older = [info.key for info in self._store.list(f"{self._prefix}/") if info.key < key]
        try:
            self._store.put_new(key, buffer.getvalue())
        except ObjectExists:
            logger.info("checkpoint %s is there already", key)
        for old in older:
            self._store.delete(old)

    def load(self) -> Checkpoint | None:
        """Return the newest checkpoint that can be read; unreadable ones are named in the log and passed."""
        for info in reversed(list(self._store.list(f"{self._prefix}/"))):
            try:
                with np.load(io.BytesIO(self._store.get(info.key).data), allow_pickle=False) as archive:
                    arrays = {name: archive[name] for name in archive.files}
                state = json.loads(arrays.pop(_STATE).tobytes())
            except (zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
                logger.warning("checkpoint %s is damaged (%s); looking for an older one", info.key, error)
                continue
            return Checkpoint(int(info.key.rsplit("/", 1)[1].removesuffix(".npz")), arrays, state)
        return None
