"""Checkpoints in the store: one atomic object each, so a killed process leaves a whole one or none."""

import io
import json
import logging
import zipfile

import numpy as np

from recsys.cf.models.base import Checkpoint
from recsys.storage.base import Store
from recsys.storage.documents import put_deterministic

_STATE, _IDENTITY = "state", "fit_identity"
logger = logging.getLogger(__name__)


class StoreCheckpoints:
    """Checkpoints of one fit under ``prefix``, as .npz without pickles; only the newest is kept.

    ``fit_identity`` names everything the fit depends on (settings, seed, shapes): a checkpoint of another fit is
    passed over. A fit is deterministic, so one that exists already holds what would be written.
    """

    def __init__(self, store: Store, prefix: str, fit_identity: str = "") -> None:
        self._store = store
        self._prefix = prefix
        self._fit_identity = fit_identity

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint, then delete the older ones. Memory: one copy of its arrays."""
        arrays = dict(checkpoint.arrays)
        state = {**checkpoint.state, _IDENTITY: self._fit_identity}
        arrays[_STATE] = np.frombuffer(json.dumps(state).encode(), dtype=np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        key = f"{self._prefix}/{checkpoint.iteration:06d}.npz"
        older = [info.key for info in self._store.list(f"{self._prefix}/") if info.key < key]
        put_deterministic(self._store, key, buffer.getvalue())
        for old in older:
            self._store.delete(old)

    def load(self) -> Checkpoint | None:
        """Return the newest checkpoint of this fit; damaged ones and those of another fit are passed over."""
        for info in reversed(list(self._store.list(f"{self._prefix}/"))):
            try:
                with np.load(io.BytesIO(self._store.get(info.key).data), allow_pickle=False) as archive:
                    arrays = {name: archive[name] for name in archive.files}
                state = dict(json.loads(arrays.pop(_STATE).tobytes()))
            except (zipfile.BadZipFile, ValueError, KeyError, EOFError, TypeError, AttributeError) as error:
                logger.warning("checkpoint %s is damaged (%s); looking for an older one", info.key, error)
                continue
            if state.pop(_IDENTITY, None) != self._fit_identity:
                logger.warning("checkpoint %s belongs to a fit with other settings; it is not used", info.key)
                continue
            return Checkpoint(int(info.key.rsplit("/", 1)[1].removesuffix(".npz")), arrays, state)
        return None
