"""Which engine carries each part of the work, and why: this machine, a larger one, or what lies beyond."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from recsys.types import MAX_INT32_ENTRIES

_GB = 1e9
HEADROOM = 1.2  # times a prediction is what must be free
CORES = (2, 4, 8, 16, 32, 64)
MEMORY_GB = (4, 8, 16, 32, 64, 128, 256, 512)
_MOST_GB_PER_CORE = 16  # of machines one can buy or rent


@dataclass(frozen=True)
class Machine:
    """A machine of so many cores and bytes of memory."""

    cores: int
    memory_bytes: float

    def holds(self, n_bytes: float) -> bool:
        """Return whether so many bytes fit with headroom."""
        return n_bytes * HEADROOM <= self.memory_bytes

    def __str__(self) -> str:
        return f"{self.cores} cores, {self.memory_bytes / _GB:,.0f} GB"


NO_ENGINE = "none"
LARGEST = Machine(CORES[-1], MEMORY_GB[-1] * _GB)
MACHINES = tuple(
    Machine(cores, memory * _GB)
    for cores in CORES
    for memory in MEMORY_GB
    if memory <= _MOST_GB_PER_CORE * cores
)


@dataclass(frozen=True)
class Need:
    """What a part of the work needs on so many cores: bytes and seconds."""

    memory_bytes: Callable[[int], float]
    seconds: Callable[[int], float]

    def fits(self, machine: Machine, limit_seconds: float) -> bool:
        """Return whether ``machine`` does it within the time."""
        return (
            machine.holds(self.memory_bytes(machine.cores)) and self.seconds(machine.cores) <= limit_seconds
        )

    def on(self, machine: Machine) -> str:
        """Return a sentence: what it takes there."""
        gigabytes = self.memory_bytes(machine.cores) / _GB
        return f"{gigabytes:,.1f} GB and {duration(self.seconds(machine.cores))} on {machine}"


@dataclass(frozen=True)
class Cluster:
    """An engine over several machines, and the bytes that one of them must hold however many there are."""

    engine: str
    host: str  # which one
    host_bytes: Callable[[int, int], float]  # of its cores and the number of machines
    why: str

    def says(self, host_bytes: float) -> str:
        """Return a clause: what the host must hold."""
        return f"{self.host} must hold {host_bytes / _GB:,.1f} GB"


@dataclass(frozen=True)
class Advice:
    """The engine of a part: ``machines`` of the kind ``machine``, and the reason; with ``NO_ENGINE`` there are none."""

    part: str
    engine: str
    machines: int
    machine: Machine
    reason: str
    configured: str | None = None  # engine of this part in the configuration, None: it has none


def smallest_machine(need: Need, limit_seconds: float) -> Machine | None:
    """Return the smallest usual machine that does it within the time, or None when none does."""
    return next((one for one in MACHINES if need.fits(one, limit_seconds)), None)


def machines_needed(need: Need, limit_seconds: float, machine: Machine = LARGEST) -> int:
    """Return how many such machines share memory and time, if both divide evenly; two at least."""
    memory = need.memory_bytes(machine.cores) * HEADROOM / machine.memory_bytes
    return max(2, math.ceil(memory), math.ceil(need.seconds(machine.cores) / limit_seconds))


def share(
    part: str, need: Need, cluster: Cluster, limit_seconds: float, short: str, machine: Machine = LARGEST
) -> Advice:
    """Return the cluster of such machines, or ``NO_ENGINE`` when one host cannot hold what it must hold alone.

    ``short`` says why one machine is not enough.
    """
    least = machines_needed(need, limit_seconds, machine)
    for machines in (least, 2 * least, 4 * least, 8 * least):
        n_bytes = cluster.host_bytes(machine.cores, machines)
        if machine.holds(n_bytes):
            reason = f"{short}: {cluster.why}; {cluster.says(n_bytes)}"
            return Advice(part, cluster.engine, machines, machine, reason)
    reason = f"{short}, and with {cluster.engine} {cluster.says(n_bytes)}: more than {machine} with headroom"
    return Advice(part, NO_ENGINE, 0, machine, reason)


def advise(part: str, need: Need, here: Machine, limit_seconds: float, beyond: Cluster) -> Advice:
    """Return local as long as one machine does it within the time, else the engine ``beyond`` if there is one."""
    if need.fits(here, limit_seconds):
        return Advice(part, "local", 1, here, need.on(here))
    larger = smallest_machine(need, limit_seconds)
    if larger is not None:
        lacks = "time" if here.holds(need.memory_bytes(here.cores)) else "memory"
        return Advice(part, "local", 1, larger, f"{lacks} is short here; {need.on(larger)}")
    return share(part, need, beyond, limit_seconds, f"{need.on(LARGEST)} is too much")


def advise_lists(exact: Need, hnsw: Need, here: Machine, limit_seconds: float, beyond: Cluster) -> Advice:
    """Return exact lists where one machine makes them in time, else an index, else Spark around the same kernel."""
    part = "recommend-all"
    machine = here if exact.fits(here, limit_seconds) else smallest_machine(exact, limit_seconds)
    if machine is not None:
        return Advice(part, "local, exact", 1, machine, exact.on(machine))
    exactly = f"exact lists take {duration(exact.seconds(LARGEST.cores))} on {LARGEST}"
    machine = here if hnsw.fits(here, limit_seconds) else smallest_machine(hnsw, limit_seconds)
    if machine is not None:
        measured = "its recall is measured, see recommend.min_recall"
        return Advice(part, "local, hnsw", 1, machine, f"{exactly}; hnsw {hnsw.on(machine)}, {measured}")
    return share(part, exact, beyond, limit_seconds, exactly)


def advise_index_width(
    entries: int, solver: str, need: Need, limit_seconds: float, beyond: Cluster
) -> Advice | None:
    """Return None below 2^31 entries and for the native solver; past that `implicit` is refused.

    The machines are the smallest that can be the driver, so many that they share what one fit needs.
    """
    short = _too_wide(entries, solver)
    if short is None:
        return None
    drivers = (one for one in MACHINES if one.holds(beyond.host_bytes(one.cores, 2)))
    found = share("als", need, beyond, limit_seconds, short, next(drivers, LARGEST))
    return (
        found if found.engine == NO_ENGINE else replace(found, reason=f"{found.reason}; or als.solver native")
    )


def advise_grid_width(part: str, entries: int, solver: str) -> Advice | None:
    """Return None below 2^31 entries and for the native solver; past that only trials of the native solver run."""
    short = _too_wide(entries, solver)
    if short is None:
        return None
    return Advice(part, NO_ENGINE, 0, LARGEST, f"{short}, on a cluster too: choose als.solver native")


def _too_wide(entries: int, solver: str) -> str | None:
    if entries <= MAX_INT32_ENTRIES or solver == "native":
        return None
    return f"{entries:,} entries need 64-bit indices, with which `implicit` is refused"


def duration(seconds: float) -> str:
    """Return seconds as people say them."""
    for size, unit in ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} s" if seconds >= 0.1 else "< 0.1 s"
