"""Leases: a running stage says so, and gc leaves its checkpoints and half-staged models alone."""

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from recsys.errors import AccessDenied, ObjectNotFound, RegistryError, StoreError
from recsys.registry.documents import SCHEMA_VERSION, decode, encode, parse_utc, utc_text
from recsys.storage.base import Store

RUNS_PREFIX = "runs/"
_LEASE_PREFIX = "running-"
logger = logging.getLogger(__name__)


@contextmanager
def running(store: Store, run_id: str, *, hours: float = 24.0, required: bool = True) -> Iterator[None]:
    """Hold a lease ``runs/{run_id}/running-{attempt}.json``; removed at the end, it runs out after ``hours``.

    Each attempt has one of its own, so two attempts of one run do not end each other's. Where it is not ``required``,
    those who may only read go on without one.

    Raises:
        AccessDenied: The store may not be written, and the lease is required.
    """
    key = f"{RUNS_PREFIX}{run_id}/{_LEASE_PREFIX}{uuid.uuid4().hex}.json"
    now = datetime.now(UTC)
    lease = encode(
        {
            "schema_version": SCHEMA_VERSION,
            "run_id": run_id,
            "started_at": utc_text(now),
            "expires_at": utc_text(now + timedelta(hours=hours)),
        }
    )
    held = True
    try:
        store.put_new(key, lease)
    except AccessDenied as error:
        if required:
            raise
        held = False
        logger.info("no lease protects what is read: %s", error)
    try:
        yield
    finally:
        try:
            if held:
                store.delete(key)
        except StoreError as error:  # the stage has its result, or an error that says more
            logger.warning("lease %s stays until it runs out: %s", key, error)


def running_since(store: Store, now: datetime) -> dict[str, datetime]:
    """Return the start of every run whose lease has not run out at ``now``, by run_id.

    A lease that cannot be read protects its run for ever: better a leftover than a deleted checkpoint.
    """
    started: dict[str, datetime] = {}
    for run_id, moment in _leases(store, RUNS_PREFIX, now):
        started[run_id] = min(moment, started.get(run_id, moment))
    return started


def is_running(store: Store, run_id: str, now: datetime) -> bool:
    """Return whether a lease of this run has not run out at ``now``; one listing, and a request for each lease."""
    return any(_leases(store, f"{RUNS_PREFIX}{run_id}/{_LEASE_PREFIX}", now))


def any_running(store: Store, beginning: str, now: datetime) -> bool:
    """Return whether a run whose id begins so has a lease that has not run out; lists those runs alone."""
    return any(_leases(store, f"{RUNS_PREFIX}{beginning}", now))


def _leases(store: Store, prefix: str, now: datetime) -> Iterator[tuple[str, datetime]]:
    """Yield (run_id, start) of the leases below ``prefix`` that have not run out."""
    for info in store.list(prefix):
        run_id, _, name = info.key.removeprefix(RUNS_PREFIX).rpartition("/")
        if not name.startswith(_LEASE_PREFIX):
            continue
        try:
            lease = decode(store.get(info.key).data, info.key)
            if parse_utc(lease["expires_at"]) <= now:
                continue
            moment = parse_utc(lease["started_at"])
        except ObjectNotFound:  # given back since it was listed
            continue
        except (RegistryError, KeyError, ValueError):
            moment = info.modified_at
        yield run_id, moment
