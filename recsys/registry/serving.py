"""What a serving process holds: the champion, verified and memory-mapped, following the registry."""

import logging
from pathlib import Path

from recsys.registry.cache import cached_model, default_cache_dir
from recsys.registry.commit import catch_up
from recsys.registry.log import event_exists
from recsys.registry.lookup import find_model
from recsys.registry.served import Recommendation, ServedModel, open_model
from recsys.registry.snapshot import SNAPSHOT_KEY
from recsys.registry.state import RegistryState
from recsys.storage.base import Store

_log = logging.getLogger(__name__)


def load_model(store: Store, name: str, *, cache_dir: Path | None = None) -> ServedModel:
    """Return any registered model, by id, alias or unique beginning; it never changes.

    Raises:
        ModelNotFound: There is none.
        IntegrityError: Its files are not those that were registered.
    """
    state, _ = catch_up(store, None)
    return _open(store, state, name, cache_dir or default_cache_dir())


def load_champion(store: Store, *, cache_dir: Path | None = None) -> "ServingModel":
    """Return the champion, ready to recommend; ``refresh()`` makes it follow later promotions.

    Args:
        cache_dir: Where verified copies are kept; None: the user's cache directory.

    Raises:
        ModelNotFound: Nothing was promoted yet.
        IntegrityError: The champion's files are not those that were registered.
    """
    return ServingModel(store, cache_dir or default_cache_dir())


class ServingModel:
    """The champion of a registry. Threads may share it: a refresh swaps one reference."""

    def __init__(self, store: Store, cache_dir: Path) -> None:
        self._store = store
        self._cache_dir = cache_dir
        self._snapshot_etag = _snapshot_etag(store)
        self._state, _ = catch_up(store, None)
        self._model = _open(store, self._state, "champion", cache_dir)

    @property
    def model(self) -> ServedModel:
        """The model that serves now."""
        return self._model

    @property
    def model_id(self) -> str:
        """The id of the model that serves now."""
        return self._model.model_id

    def recommend(self, user_id: str, k: int = 10) -> list[Recommendation]:
        """Return the k best unseen items, see ``ServedModel.recommend``."""
        return self._model.recommend(user_id, k)

    def refresh(self) -> bool:
        """Follow the registry and return whether another model serves now.

        Cost when nothing changed: two small requests without a body.
        The etag of registry.json tells most changes. A writer that died between its event and registry.json
        left that behind, therefore the next number of the log is looked for too.

        Raises:
            IntegrityError: The new champion's files are damaged; the old model goes on serving.
        """
        etag = _snapshot_etag(self._store)
        if etag == self._snapshot_etag and not event_exists(self._store, self._state.generation + 1):
            return False
        state, _ = catch_up(self._store, self._state)
        changed = state.champion != self.model_id
        if changed:
            self._model = _open(self._store, state, "champion", self._cache_dir)
            _log.info("champion is now %s", self.model_id)
        self._state, self._snapshot_etag = state, etag
        return changed


def _open(store: Store, state: RegistryState, name: str, cache_dir: Path) -> ServedModel:
    entry = find_model(state, name)
    directory = cached_model(store, entry.model_id, entry.manifest_sha256, cache_dir)
    return open_model(entry.model_id, entry.model_type, directory)


def _snapshot_etag(store: Store) -> str | None:
    info = store.head(SNAPSHOT_KEY)
    return info.etag if info else None
