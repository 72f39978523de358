"""Environment and machine: defaults, cgroup v1 and v2 limits read from a made-up file system."""

from pathlib import Path

import pytest

from recsys.config import settings
from recsys.config.cgroup import cpu_quota, memory_left_bytes, memory_limit_bytes


def make_files(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_locations_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RECSYS_STORE", "RECSYS_STATE", "RECSYS_LOG_DIR", "RECSYS_METRICS_FILE"):
        monkeypatch.delenv(name, raising=False)
    assert settings.default_store_uri() == "./store"
    assert (settings.state_dir(), settings.log_dir()) == (Path(".state"), Path("logs/cf"))
    assert settings.metrics_file() is None
    monkeypatch.setenv("RECSYS_METRICS_FILE", "/metrics/train_cf.prom")
    assert settings.metrics_file() == Path("/metrics/train_cf.prom")
    monkeypatch.setenv("RECSYS_STORE", "s3://shop/cf")
    monkeypatch.setenv("RECSYS_STATE", "/state")
    monkeypatch.setenv("RECSYS_LOG_DIR", "/logs")
    assert settings.default_store_uri() == "s3://shop/cf"
    assert (settings.state_dir(), settings.log_dir()) == (Path("/state"), Path("/logs"))


def test_nothing_limits_a_machine_without_cgroups(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None
    assert memory_left_bytes(tmp_path) is None
    assert memory_limit_bytes(tmp_path) is None
    assert settings.total_memory_bytes(tmp_path) > 0


def test_v2_tightest_limit_of_group_and_parents_rules(tmp_path: Path) -> None:
    root = make_files(
        tmp_path,
        {
            "proc/self/cgroup": "0::/kube/pod\n",
            "sys/fs/cgroup/kube/pod/cpu.max": "max 100000\n",
            "sys/fs/cgroup/kube/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/kube/pod/memory.max": "1000\n",
            "sys/fs/cgroup/kube/pod/memory.current": "900\n",
            "sys/fs/cgroup/kube/pod/memory.stat": "anon 700\ninactive_file 150\n",
            "sys/fs/cgroup/kube/memory.max": "max\n",
            "sys/fs/cgroup/kube/memory.current": "5000\n",
        },
    )
    assert cpu_quota(root) == 1.5
    assert memory_left_bytes(root) == 250
    assert memory_limit_bytes(root) == settings.total_memory_bytes(root) == 1000


def test_v2_inside_a_container_only_the_mount_exists(tmp_path: Path) -> None:
    root = make_files(
        tmp_path,
        {
            "proc/self/cgroup": "0::/docker/0123abc\n",
            "sys/fs/cgroup/cpu.max": "50000 100000\n",
            "sys/fs/cgroup/memory.max": "2048\n",
            "sys/fs/cgroup/memory.current": "4096\n",
        },
    )
    assert cpu_quota(root) == 0.5
    assert memory_left_bytes(root) == 0


def test_v1_controllers_have_directories_of_their_own(tmp_path: Path) -> None:
    root = make_files(
        tmp_path,
        {
            "proc/self/cgroup": "3:cpu,cpuacct:/box\n2:memory:/box\n",
            "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us": "300000\n",
            "sys/fs/cgroup/cpu/box/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/memory/box/memory.limit_in_bytes": "1000\n",
            "sys/fs/cgroup/memory/box/memory.usage_in_bytes": "600\n",
            "sys/fs/cgroup/memory/box/memory.stat": "total_inactive_file 100\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "700\n",
        },
    )
    assert cpu_quota(root) == 3.0
    assert memory_left_bytes(root) == 500


@pytest.mark.parametrize(("quota", "threads"), [("50000", 1), ("150000", 2), ("800000", 8), ("9900000", 16)])
def test_threads_are_the_quota_rounded_up_within_the_affinity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, threads: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(16)))
    root = make_files(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": f"{quota} 100000\n"})
    assert settings.available_threads(root) == threads


def test_free_memory_is_the_smaller_of_machine_and_container(tmp_path: Path) -> None:
    machine = settings.free_memory_bytes(tmp_path)
    assert machine > 1 << 20
    root = make_files(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": "1000000\n",
            "sys/fs/cgroup/memory.current": "400000\n",
        },
    )
    assert settings.free_memory_bytes(root) == 600_000
