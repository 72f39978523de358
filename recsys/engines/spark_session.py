"""One Spark session per process, started when it is needed and gone when nobody needs it any more."""

import importlib
import logging
import signal
import subprocess
import threading
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import recsys
from recsys.config.engine import SparkConfig
from recsys.engines.spark_environment import (
    DIRECTORY_SETTING,
    is_local,
    own_directory,
    require_cluster,
    require_spark,
    spark_environment,
    spark_settings,
)
from recsys.engines.spark_errors import translated_spark_errors
from recsys.engines.spark_probe import executor_facts
from recsys.errors import ConfigError, EngineError, EngineUnavailable, RecsysError

logger = logging.getLogger(__name__)
_EXECUTOR_SECONDS = 120.0  # a first executor has so long to register
_JAVA_SECONDS = 20.0  # Java has so long to end
_LOG_LINES = 15


@dataclass
class _Running:
    """The session of this process and how many use it."""

    session: Any
    config: SparkConfig
    ending: ExitStack
    users: int = 0


_lock = threading.RLock()
_running: _Running | None = None


@contextmanager
def spark_session(config: SparkConfig, app_name: str) -> Iterator[Any]:
    """Give a SparkSession; inside of another use of this function in this process, the same one.

    The last use that ends stops the session, ends its Java and removes its directory (``session_directory``).
    Errors of Spark that leave the context are raised as errors of train-cf, see ``translated_spark_errors``.
    Java's and Spark's own lines go to a file, never to standard output or error.

    Args:
        config: the section ``spark``.
        app_name: what the cluster shows.

    Raises:
        ConfigError: pyspark, pyarrow or Java 17 is missing; executors cannot import this version of recsys;
            ``shared_directory`` is missing or not seen by executors; another session with other settings runs.
        EngineUnavailable: the master does not answer, or no executor started (retry makes sense).
    Cost: 3 to 6 s on one machine, 10 to 12 s on a cluster, and Java's memory (``driver_memory`` at most).
    """
    global _running  # Spark knows one context per process
    with _lock:
        if _running is None:
            require_spark()
            require_cluster(config)
            _running = _started(config, app_name)
        elif _running.config != config:
            raise ConfigError(
                f"a Spark session with other settings runs in this process (master {_running.config.master}); "
                "one process has one"
            )
        mine = _running
        mine.users += 1
    try:
        with translated_spark_errors():
            yield mine.session
    finally:
        with _lock:
            mine.users -= 1
            if mine.users == 0:
                _running = None
                mine.ending.close()


def session_directory(session: Any) -> Path:
    """Return the directory of the session that driver and executors share; removed with it."""
    return Path(session.conf.get(DIRECTORY_SETTING))


def n_partitions(session: Any, config: SparkConfig) -> int:
    """Return how many parts rows are cut into: ``config.partitions``, else two for each core there is now."""
    return config.partitions or 2 * int(session.sparkContext.defaultParallelism)


def _started(config: SparkConfig, app_name: str) -> _Running:
    with ExitStack() as ending:
        directory = ending.enter_context(own_directory(config, "spark"))
        started = time.perf_counter()
        log = directory / "spark.log"
        try:
            with translated_spark_errors(), spark_environment(config):
                session = _launched(spark_settings(config, app_name, directory), log, ending)
                session.sparkContext.setLogLevel("WARN")
                session.sparkContext.setCheckpointDir(str(directory / "checkpoints"))
                if not is_local(config.master):
                    _require_executors(session, config, directory)
        except EngineError:
            if log.is_file():
                last = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
                logger.error("the last lines of Spark:\n%s", "\n".join(last))
            raise
        logger.info("Spark started at %s in %.1f s", config.master, time.perf_counter() - started)
        kept = ending.pop_all()
    return _Running(session, config, kept)


def _launched(settings: dict[str, str], log: Path, ending: ExitStack) -> Any:
    """Return a session in a new Java, whose output goes to ``log``."""
    warnings.filterwarnings(
        "ignore", "PySpark does not yet fully support pandas", FutureWarning
    )  # none is used
    context_class = importlib.import_module("pyspark").SparkContext
    if context_class._active_spark_context is not None:
        raise ConfigError("this process runs a Spark session of its own; stop it first")
    conf = importlib.import_module("pyspark").SparkConf(loadDefaults=False).setAll(settings.items())
    stream = ending.enter_context(log.open("wb"))
    launch = importlib.import_module("pyspark.java_gateway").launch_gateway
    gateway = launch(conf, {"stdout": stream, "stderr": stream})
    ending.callback(_end_java, context_class, gateway)
    before = signal.getsignal(signal.SIGINT)
    context = context_class(conf=conf, gateway=gateway)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, before)  # Spark takes Ctrl-C over; it is the command's
    session = importlib.import_module("pyspark.sql").SparkSession(context)
    ending.callback(_stop, session)
    return session


def _stop(session: Any) -> None:
    context, classes = session.sparkContext, type(session)
    server = context._accumulatorServer
    with suppress(RecsysError), warnings.catch_warnings(), translated_spark_errors():
        warnings.simplefilter("ignore", RuntimeWarning)  # that Java was gone already is known by then
        session.stop()
        return
    # Java did not answer: forget what is left of the session here, or no other could start
    server.shutdown()
    type(context)._active_spark_context = classes._instantiatedSession = classes._activeSession = None


def _end_java(context_class: Any, gateway: Any) -> None:
    """End Java: it would keep its heap and the settings it was started with for as long as this process lives."""
    with suppress(RecsysError), translated_spark_errors():
        gateway.shutdown()
    context_class._gateway = context_class._jvm = None
    process = gateway.proc
    process.stdin.close()  # Java ends when it sees this
    try:
        process.wait(_JAVA_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _require_executors(session: Any, config: SparkConfig, directory: Path) -> None:
    """Wait for an executor and ask those there are whether they can do our work."""
    context = session.sparkContext
    tracker = context._jsc.sc().statusTracker()
    deadline = time.monotonic() + _EXECUTOR_SECONDS
    while len(tracker.getExecutorInfos()) < 2:  # the driver is the first
        if time.monotonic() > deadline:
            raise EngineUnavailable(
                f"no executor of {config.master} started within {_EXECUTOR_SECONDS:.0f} s: does a worker run, with a "
                f"free core and {config.executor_memory} (spark.executor_memory) of memory? A session without "
                "spark.cores takes all cores of a standalone cluster for as long as it lives"
            )
        time.sleep(0.1)
    token = uuid.uuid4().hex
    (directory / "token").write_text(token)
    n_tasks = max(2, int(context.defaultParallelism))
    path = str(directory / "token")
    facts = context.parallelize(range(n_tasks), n_tasks).map(lambda _: executor_facts(path)).collect()
    for host, version, seen in sorted(set(facts)):
        if version != recsys.__version__:
            raise ConfigError(
                f"the Spark executor on {host} has train-cf {version}, this is {recsys.__version__}: install the "
                "same version on every worker"
            )
        if seen != token:
            raise ConfigError(
                f"the Spark executor on {host} does not see {directory}: spark.shared_directory must be a directory "
                "that driver and executors see at the same path"
            )
