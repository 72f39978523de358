"""One run: a data version and a configuration, pinned once; nothing later asks for "latest" again."""

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel, ConfigDict

from recsys.cf.data.dataset import InteractionDataset
from recsys.cf.data.load import load_processed_data
from recsys.cf.data.manifest import read_manifest
from recsys.cf.data.version import resolve_version
from recsys.cf.embeddings.load import fingerprint_with_embeddings, require_embeddings
from recsys.config.load import fingerprint
from recsys.config.presets import is_searched, resolve_presets, unset_fields
from recsys.config.schema import TrainingConfig
from recsys.config.settings import data_cache_dir
from recsys.errors import ConfigError
from recsys.pipeline.content import require_content
from recsys.registry.catalogue import Registry
from recsys.registry.lease import running
from recsys.storage.base import Store
from recsys.storage.documents import read_document
from recsys.storage.open import open_store
from recsys.types import Json

_load_lock = threading.Lock()


class RunReference(BaseModel):
    """Names a run: small, immutable, safe to pass between tasks and processes."""

    model_config = ConfigDict(frozen=True)

    store_uri: str
    run_id: str
    data_version: str
    fingerprint: str
    config: TrainingConfig
    searched: Mapping[str, frozenset[str]]  # by model: the fields the search may choose
    output: str | None = None  # local directory for copies of the artifacts

    @property
    def prefix(self) -> str:
        """Key prefix of everything that belongs to this run alone."""
        return f"runs/{self.run_id}"

    def open_store(self) -> Store:
        """Return the store this run reads and writes."""
        return open_store(self.store_uri)

    def registry(self) -> Registry:
        """Return the registry of the store, writing in the name of this run."""
        single_writer = self.config.registry.single_writer
        return Registry(self.open_store(), actor=self.run_id, single_writer=single_writer)

    def lease(self) -> AbstractContextManager[None]:
        """Return a context in which the registry's garbage collection leaves this run's files alone."""
        return running(self.open_store(), self.run_id)

    def section(self, model: str) -> Any:
        """Return the configuration of one model."""
        return getattr(self.config, model)


def open_run(
    store_uri: str,
    config: TrainingConfig,
    *,
    data_version: str = "latest",
    force: bool = False,
    stamp: str | None = None,
    output: str | None = None,
) -> RunReference:
    """Return the run of this data version and configuration.

    The id is a function of both, so that a rerun finds checkpoints and results of an earlier attempt;
    ``force`` makes a new one, which ends in ``stamp`` (None: in the time), so that attempts with the same stamp
    are one run. Raises DataVersionNotFound; ConfigError when ``output`` cannot be written; what
    ``require_content`` and ``require_embeddings`` raise.
    """
    _check_output(output)
    store = open_store(store_uri)
    version = resolve_version(store, data_version)
    manifest = read_manifest(store, version)
    require_content(config, manifest)
    require_embeddings(config, manifest)
    print_of_config = fingerprint_with_embeddings(config.bert, fingerprint(config))
    run_id = f"r_{manifest.content_hash[:12]}_{print_of_config[:8]}"
    if force:
        run_id += "_" + (stamp or f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}")
    searched = {
        name: unset_fields(section) if is_searched(section) else frozenset()
        for name, section in (("als", config.als), ("bpr", config.bpr))
    }
    return RunReference(
        store_uri=store_uri,
        run_id=run_id,
        data_version=version,
        fingerprint=print_of_config,
        config=resolve_presets(config),
        searched=searched | {"hybrid": frozenset()},  # its search space is empty
        output=output,
    )


def _check_output(output: str | None) -> None:
    """Raise ConfigError when the directory of local copies cannot be written; nothing is trained in vain."""
    if output is None:
        return
    try:
        Path(output).mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=output, prefix=".probe-"):
            pass
    except OSError as error:
        raise ConfigError(
            f"--output {output}: {error.strerror}; name a directory that can be written"
        ) from error


def finished_result(run: RunReference) -> Json | None:
    """Return the result of this run if it ended well before, else None."""
    return read_document(
        run.open_store(), f"{run.prefix}/result.json", required=("run_id", "models", "decision")
    )


def load_dataset(run: RunReference) -> InteractionDataset:
    """Return the verified data of the run; read once per process and shared, nobody writes to it.

    Where RECSYS_STATE is set, all processes of the host map one copy of the files.
    """
    with _load_lock:  # two trainings start together: one loads, the other waits for it
        return _load_dataset(run.store_uri, run.data_version)


@lru_cache(maxsize=1)
def _load_dataset(store_uri: str, version: str) -> InteractionDataset:
    return load_processed_data(open_store(store_uri), version, cache_dir=data_cache_dir())
