"""A process that writes to a registry as fast as it can, for the race tests."""

import multiprocessing
import time
from dataclasses import dataclass
from typing import Any

from recsys.registry.catalogue import Registry
from recsys.storage.open import open_store

_START_SECONDS = 400  # each process imports the product first, 32 of them on two cores


@dataclass(frozen=True)
class Race:
    """What the writers report."""

    acknowledged: list[str]  # "{actor}:{sequence number}"
    seconds: float
    longest_seconds: float


def run_race(uri: str, model_ids: list[tuple[str, str]], n_updates: int) -> Race:
    """Let one process per pair of models promote them in turns, ``n_updates`` times, all processes at once.

    Return what was acknowledged.
    """
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    start = context.Barrier(len(model_ids) + 1)
    writers = [
        context.Process(target=_write, args=(uri, f"writer-{place}", pair, n_updates, start, results))
        for place, pair in enumerate(model_ids)
    ]
    for writer in writers:
        writer.start()
    start.wait(_START_SECONDS)
    began = time.monotonic()
    reports = [results.get(timeout=_START_SECONDS) for _ in writers]
    seconds = time.monotonic() - began
    for writer in writers:
        writer.join()
    return Race([tag for tags, _ in reports for tag in tags], seconds, max(longest for _, longest in reports))


def _write(uri: str, actor: str, pair: tuple[str, str], n_updates: int, start: Any, results: Any) -> None:
    registry = Registry(open_store(uri), actor=actor)
    acknowledged: list[str] = []
    longest = 0.0
    start.wait(_START_SECONDS)
    try:
        for number in range(n_updates):
            began = time.monotonic()
            tag = f"{actor}:{number}"
            # whoever is champion now, it is not the one of ours whose turn it is: each promotion is an event
            registry.promote(pair[number % 2], reasons=[tag])
            acknowledged.append(tag)
            longest = max(longest, time.monotonic() - began)
    finally:
        results.put((acknowledged, longest))
