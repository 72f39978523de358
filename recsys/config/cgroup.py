"""What the container's control groups (cgroup v2, v1) leave this process: processors and memory."""

from collections.abc import Iterator
from pathlib import Path

# cgroup v1 writes a number near 2**63 where there is no limit.
_UNLIMITED_BYTES = 1 << 60


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return the processors' worth of time the process may use, such as 1.5; None where nothing limits it.

    Args:
        root: Where ``proc`` and ``sys`` are mounted.
    """
    quotas = []
    for directory in _groups(root, "cpu"):
        if limits := _words(directory / "cpu.max"):
            quotas.append(_ratio(limits[0], limits[1] if len(limits) > 1 else "100000"))
        elif quota := _words(directory / "cpu.cfs_quota_us"):
            period = _words(directory / "cpu.cfs_period_us") or ["100000"]
            quotas.append(_ratio(quota[0], period[0]))
    return min((quota for quota in quotas if quota is not None), default=None)


def memory_left_bytes(root: Path = Path("/")) -> int | None:
    """Return the bytes the container's limit still leaves; None where nothing limits it.

    The kernel's cache of file pages that nobody has used lately counts as free, as it is dropped on demand.
    """
    left = []
    for directory in _groups(root, "memory"):
        limit = _first_number(directory, "memory.max", "memory.limit_in_bytes")
        used = _first_number(directory, "memory.current", "memory.usage_in_bytes")
        if limit is None or used is None or limit >= _UNLIMITED_BYTES:
            continue
        left.append(max(0, limit - used + _reclaimable_bytes(directory)))
    return min(left, default=None)


def memory_limit_bytes(root: Path = Path("/")) -> int | None:
    """Return the container's limit of memory in bytes; None where nothing limits it."""
    limits = (_first_number(one, "memory.max", "memory.limit_in_bytes") for one in _groups(root, "memory"))
    return min((one for one in limits if one is not None and one < _UNLIMITED_BYTES), default=None)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the directories of the process's group and its parents: the tightest of their limits rules."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / (controller if controllers else "")
        group = mount / path.lstrip("/")
        yield group
        # Inside a container the path is the host's, and only the mount itself exists.
        yield from (parent for parent in group.parents if parent == mount or mount in parent.parents)


def _ratio(quota: str, period: str) -> float | None:
    return int(quota) / int(period) if quota.isdigit() and int(quota) > 0 else None


def _first_number(directory: Path, *names: str) -> int | None:
    for name in names:
        words = _words(directory / name)
        if words and words[0].isdigit():
            return int(words[0])
    return None


def _reclaimable_bytes(directory: Path) -> int:
    statistics = dict(line.split(" ", 1) for line in _lines(directory / "memory.stat") if " " in line)
    return int(statistics.get("total_inactive_file", statistics.get("inactive_file", 0)))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []  # the file belongs to the other cgroup version, or this is no Linux


def _words(path: Path) -> list[str]:
    lines = _lines(path)
    return lines[0].split() if lines else []
