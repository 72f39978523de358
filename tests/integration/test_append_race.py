"""Processes that append to ``latest`` at the same time: all their rows are in it afterwards."""

import multiprocessing
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.engine import Inputs, LocalEngine, Making
from recsys.cf.data.funnel import Funnel
from recsys.cf.data.prepare import prepare
from recsys.cf.data.version import list_versions, resolve_version, store_stats, verify_version
from recsys.config.schema import DataConfig
from recsys.storage.memory import MemoryStore
from recsys.storage.open import open_store

WAIT_SECONDS = 120
N_APPENDS = 3


@pytest.fixture(params=["local", "seaweedfs"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path / "store")
    return request.getfixturevalue("s3").new_uri()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Return the first file of a shop and those that are appended to it."""
    shop = write_demo_shop(tmp_path, size="small", seed=5, users=400, interactions=3_000)
    header, *lines = shop.reviews.read_text("utf-8").splitlines(keepends=True)
    paths = []
    for start, end in pairwise([0, 1_800, 2_200, 2_600, len(lines)]):
        paths.append(tmp_path / f"from-{start}.csv")
        paths[-1].write_text(header + "".join(lines[start:end]), "utf-8")
    return paths


class MeetsTheOthers(LocalEngine):
    """Builds its first version only when all others have opened the version that they append to, too."""

    def __init__(self, barrier: Any) -> None:
        self._barrier = barrier

    def interactions(self, inputs: Inputs, making: Making, funnel: Funnel) -> Iterator[pl.DataFrame]:
        if self._barrier is not None:
            self._barrier.wait(WAIT_SECONDS)
            self._barrier = None
        return super().interactions(inputs, making, funnel)


def _append(uri: str, file: Path, barrier: Any, results: Any) -> None:
    try:
        made = prepare(
            open_store(uri),
            file,
            None,
            DataConfig(),
            seed=0,
            append_to="latest",
            engine=MeetsTheOthers(barrier),
        )
        results.put(("", made.rows_in))
    except BaseException as error:
        results.put((repr(error), 0))
        raise


def test_all_appends_end_up_in_latest(uri: str, files: list[Path]) -> None:
    store = open_store(uri)
    first = prepare(store, files[0], None, DataConfig(), seed=0)
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(N_APPENDS), context.Queue()
    writers = [context.Process(target=_append, args=(uri, file, barrier, results)) for file in files[1:]]
    for writer in writers:
        writer.start()
    told = [results.get(timeout=WAIT_SECONDS) for _ in writers]
    for writer in writers:
        writer.join()
    assert [error for error, _ in told] == [""] * N_APPENDS
    latest = resolve_version(store, "latest")
    whole = prepare(MemoryStore(), files, None, DataConfig(), seed=0)
    assert store_stats(store, latest)["rows_in"] == 3_000
    assert latest[-12:] == whole.version[-12:]
    assert verify_version(store, latest) == []
    assert max(rows for _, rows in told) == 3_000
    assert len(list_versions(store)) > 1 + N_APPENDS, f"nobody lost a race: {first.version}"
