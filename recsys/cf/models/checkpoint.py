"""Checkpoints in the store: one atomic object each, so a killed process leaves a whole one or none."""

import json
import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.cf.data.npz import read_checked_arrays, write_arrays
from recsys.cf.models.base import Checkpoint
from recsys.errors import DataError, ObjectNotFound
from recsys.storage.base import Store
from recsys.storage.documents import put_file_deterministic
from recsys.storage.files import translated_errors
from recsys.storage.scratch import scratch_folder

_STATE, _IDENTITY = "state", "fit_identity"
_LOOKS = 3  # at a listing from which another attempt deletes
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
        """Write the checkpoint, then delete the older ones.

        Memory: none but that of the temporary file it goes through, where TMPDIR is a tmpfs.
        """
        state = {**checkpoint.state, _IDENTITY: self._fit_identity}
        arrays = {**checkpoint.arrays, _STATE: np.frombuffer(json.dumps(state).encode(), dtype=np.uint8)}
        key = f"{self._prefix}/{checkpoint.iteration:06d}.npz"
        older = [info.key for info in self._store.list(f"{self._prefix}/") if info.key < key]
        with scratch_folder("checkpoint") as temporary:
            path = temporary / "checkpoint.npz"
            with translated_errors(str(path)):
                write_arrays(path, arrays)
            put_file_deterministic(self._store, key, path)
        for old in older:
            self._store.delete(old)

    def load(self) -> Checkpoint | None:
        """Return the newest checkpoint of this fit; damaged ones and those of another fit are passed over.

        One that another attempt of the fit replaced between listing and reading is looked for again.

        Its arrays are read-only views of a mapped file: whoever changes them takes a copy.
        """
        for _ in range(_LOOKS):
            try:
                return self._newest()
            except ObjectNotFound as error:
                logger.info("a checkpoint was replaced while it was read: %s", error)
        return None

    def _newest(self) -> Checkpoint | None:
        for info in reversed(list(self._store.list(f"{self._prefix}/"))):
            try:
                arrays = self._arrays(info.key)
                state = dict(json.loads(arrays.pop(_STATE).tobytes()))
            except (DataError, ValueError, KeyError, TypeError, AttributeError) as error:
                logger.warning("checkpoint %s is damaged (%s); looking for an older one", info.key, error)
                continue
            if state.pop(_IDENTITY, None) != self._fit_identity:
                logger.warning("checkpoint %s belongs to a fit with other settings; it is not used", info.key)
                continue
            return Checkpoint(int(info.key.rsplit("/", 1)[1].removesuffix(".npz")), arrays, state)
        return None

    def _arrays(self, key: str) -> dict[str, NDArray[Any]]:
        with scratch_folder("checkpoint") as temporary:
            path = temporary / "checkpoint.npz"
            self._store.get_file(key, path)
            return read_checked_arrays(path)
