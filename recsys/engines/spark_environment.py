"""What must be there before Spark starts: its package, Java, a cluster that answers, and the right settings."""

import importlib.util
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import recsys
from recsys.config.engine import SparkConfig
from recsys.errors import ConfigError, EngineUnavailable
from recsys.storage.scratch import scratch_folder

logger = logging.getLogger(__name__)
OLDEST_JAVA = 17
SHARED_MODE = 0o770  # executors may run as another user of the group; the rows are nobody else's business
DIRECTORY_SETTING = "spark.recsys.directory"
_CONNECT_SECONDS = 5.0
_STANDALONE = re.compile(r"spark://(?P<hosts>.+)")
_YARN_VARIABLES = ("HADOOP_CONF_DIR", "YARN_CONF_DIR")
_LOOPBACK = ("127.", "localhost", "[::1]")
_JAVA_VERSION = re.compile(r'version "(\d+)')


def require_spark() -> None:
    """Raise ConfigError unless pyspark, pyarrow and Java 17 or newer are on this machine."""
    missing = [name for name in ("pyspark", "pyarrow", "pandas") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"the engine spark needs {' and '.join(missing)}: pip install 'train-cf[spark]', and Java {OLDEST_JAVA}"
        )
    version = _java_version()
    if version < OLDEST_JAVA:
        raise ConfigError(f"the engine spark needs Java {OLDEST_JAVA} or newer; {_java()} is Java {version}")


def is_local(master: str) -> bool:
    """Return whether the driver's own Java does all the work: no cluster, no executor processes."""
    return re.fullmatch(r"local(\[.*\])?", master) is not None


def is_on_this_machine(master: str) -> bool:
    """Return whether everything talks over loopback: ``local[...]``, or a standalone master there."""
    standalone = _STANDALONE.fullmatch(master)
    return is_local(master) or (standalone is not None and standalone["hosts"].startswith(_LOOPBACK))


def require_cluster(config: SparkConfig) -> None:
    """Refuse, before Java starts, a cluster that cannot work.

    Raises:
        ConfigError: a cluster on other machines without ``shared_directory``; yarn without its configuration.
        EngineUnavailable: no master of a standalone cluster takes connections.
    """
    if config.shared_directory is None and not is_on_this_machine(config.master):
        raise ConfigError(
            f"spark.master {config.master} is not this machine, so spark.shared_directory is needed: a directory "
            "that driver and executors see at the same path (checkpoints of ALS, staged rows)"
        )
    if config.master == "yarn" and not any(os.environ.get(name) for name in _YARN_VARIABLES):
        raise ConfigError(
            f"spark.master yarn needs {' or '.join(_YARN_VARIABLES)}: the directory that says where the cluster is"
        )
    standalone = _STANDALONE.fullmatch(config.master)
    if standalone is None:
        return
    problems = []
    for address in standalone["hosts"].split(","):
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
            return
        except ValueError as error:  # no name of a host
            raise ConfigError(f"spark.master {config.master} is not spark://host:port") from error
        except OSError as error:
            problems.append(f"{address}: {error}")
    raise EngineUnavailable(
        f"no Spark master answers at {config.master} ({'; '.join(problems)}): is it running?"
    )


def spark_settings(config: SparkConfig, app_name: str, directory: Path) -> dict[str, str]:
    """Return Spark's settings for a session whose own directory is ``directory``."""
    settings = {
        "spark.master": config.master,
        "spark.app.name": app_name,
        "spark.driver.memory": config.driver_memory,
        "spark.executor.memory": config.executor_memory,
        "spark.driver.maxResultSize": "0",  # results come by blocks whose size we choose
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.warehouse.dir": str(directory / "warehouse"),
        # with its pool of threads on, MLlib's small solves take five times as long at rank 128
        "spark.executorEnv.OPENBLAS_NUM_THREADS": "1",
        DIRECTORY_SETTING: str(directory),
    }
    if config.cores is not None:
        settings["spark.cores.max"] = str(config.cores)
    if config.partitions is not None:
        settings["spark.sql.shuffle.partitions"] = str(config.partitions)
    if config.driver_host is not None:
        settings |= {"spark.driver.host": config.driver_host, "spark.driver.bindAddress": "0.0.0.0"}
    if is_on_this_machine(config.master):
        settings |= {
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.local.dir": str(directory / "local"),
            # the code that runs here, whichever the workers were started with
            "spark.executorEnv.PYTHONPATH": str(Path(recsys.__file__).parents[1]),
        }
    return settings


@contextmanager
def own_directory(config: SparkConfig, purpose: str) -> Iterator[Path]:
    """Give a new directory in ``shared_directory``, else a temporary one of this machine; removed afterwards.

    What cannot be removed, such as files of another user, is logged and stays: the work is done by then.

    Raises:
        ConfigError: ``shared_directory`` cannot be made or written.
    """
    shared = config.shared_directory
    if shared is None:
        with scratch_folder(purpose) as path:
            yield path
        return
    try:
        Path(shared).mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(prefix=f"recsys-{purpose}-", dir=shared)).absolute()
    except OSError as error:
        raise ConfigError(f"spark.shared_directory {shared} cannot be used: {error}") from error
    try:
        path.chmod(SHARED_MODE)
        yield path
    finally:
        # TemporaryDirectory raises at files of others in spite of ignore_cleanup_errors
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            logger.warning("%s could not be removed; delete it by hand", path)


@contextmanager
def spark_environment(config: SparkConfig) -> Iterator[None]:
    """Set the variables that Java and the executors' Python are started with; as before afterwards."""
    python = sys.executable
    if not is_on_this_machine(config.master):  # there, Python may live at another path
        python = os.environ.get("PYSPARK_PYTHON", python)
    wanted: dict[str, str] = {"PYSPARK_PYTHON": python, "OPENBLAS_NUM_THREADS": "1"}
    if is_on_this_machine(config.master):
        wanted["SPARK_LOCAL_IP"] = "127.0.0.1"
    with _variables(wanted):
        yield


@contextmanager
def _variables(wanted: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def java_path() -> str | None:
    """Return the java that Spark starts, that of JAVA_HOME unless it is not set or empty; None where there is none."""
    home = os.environ.get("JAVA_HOME")
    found = str(Path(home, "bin", "java")) if home else shutil.which("java")
    return found if found is not None and Path(found).is_file() else None


def _java() -> str:
    found = java_path()
    if found is None:
        home = os.environ.get("JAVA_HOME")
        where = (
            f"JAVA_HOME is {home}, which has no bin/java"
            if home
            else "no java is on PATH, JAVA_HOME is not set"
        )
        raise ConfigError(f"the engine spark needs Java {OLDEST_JAVA} or newer: {where}")
    return found


def _java_version() -> int:
    java = _java()
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(
            f"{java} does not run ({error}); the engine spark needs Java {OLDEST_JAVA}"
        ) from error
    version = _JAVA_VERSION.search(answer.stderr + answer.stdout)
    if version is None:
        raise ConfigError(f"{java} does not tell its version; the engine spark needs Java {OLDEST_JAVA}")
    return int(version.group(1))
