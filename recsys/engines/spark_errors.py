"""What Spark, Py4J and Java raise, as errors of train-cf that say what to do and whether a retry can help."""

import importlib
import logging
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from recsys import errors
from recsys.errors import ConfigError, EngineError, EngineUnavailable, NotEnoughMemory, RecsysError

logger = logging.getLogger(__name__)
# Our own errors reach the driver as the last line of a Python traceback inside the text of a Java exception.
_OURS = re.compile(r"^\s*(?:[\w.]*: )?recsys\.errors\.(\w+): (.*)$", re.MULTILINE)
_NO_MODULE = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")
_MEMORY = ("java.lang.OutOfMemoryError", "SparkOutOfMemoryError", "exceeds spark.driver.maxResultSize")
# The cluster, not the work, failed: the same job may succeed on what is left or comes back.
_LOST = (
    "ExecutorLostFailure",
    "All masters are unresponsive",
    "Master removed our application",
    "SparkContext was shut down",
    "SparkContext has been shutdown",
    "Cannot call methods on a stopped SparkContext",
    "FetchFailed",
    "Answer from Java side is empty",
    "An error occurred while trying to connect to the Java server",
    "Python worker exited unexpectedly",
)
_CONNECTION_LOST = (ConnectionError, EOFError)
_PACKAGES = ("pyspark", "py4j")


def _raised_by_spark() -> tuple[type[Exception], ...]:
    """Return the classes of Spark's errors. Py4J's are no OSError when Java answers, but are when Java is gone."""
    return (
        importlib.import_module("pyspark.errors").PySparkException,
        importlib.import_module("py4j.protocol").Py4JError,
        *_CONNECTION_LOST,
    )


def _came_through_spark(error: BaseException) -> bool:
    """Return whether pyspark or Py4J raised it; a lost connection may be one of MLflow's or Prefect's as well."""
    if not isinstance(error, _CONNECTION_LOST):
        return True  # a class of Spark's own
    frames = traceback.walk_tb(error.__traceback__)
    return any(str(frame.f_globals.get("__name__")).split(".")[0] in _PACKAGES for frame, _ in frames)


@contextmanager
def translated_spark_errors() -> Iterator[None]:
    """Raise in place of an error of Spark, Py4J or Java the one of ``recsys.errors`` that it means.

    Errors of others pass as they are, also those of a connection that neither pyspark nor Py4J used.

    Raises:
        EngineUnavailable: the cluster or its connection was lost (retry makes sense).
        ConfigError: a package is missing where the work ran. NotEnoughMemory: Java ran out of its heap.
        Whatever error of train-cf our own code raised on an executor; EngineError: everything else.
    """
    try:
        yield
    except RecsysError:
        raise
    except _raised_by_spark() as error:
        if not _came_through_spark(error):
            raise
        logger.debug("Spark failed: %s", error)
        raise meaning_of(error) from error


def meaning_of(error: BaseException) -> RecsysError:
    """Return the error of train-cf that an error of Spark, Py4J or Java means."""
    text = _text(error)
    ours = _OURS.findall(text)
    if ours:
        name, message = ours[-1]
        known = getattr(errors, name, None)
        if isinstance(known, type) and issubclass(known, RecsysError):
            return known(f"{message} (on a Spark executor)")
    missing = _NO_MODULE.search(text)
    if missing:
        return ConfigError(
            f"a Spark executor cannot import {missing.group(1)}: install the same version of train-cf on every "
            "worker, pip install 'train-cf[spark]', and set PYSPARK_PYTHON to that Python's path"
        )
    if any(sign in text for sign in _MEMORY):
        return NotEnoughMemory(
            f"Spark ran out of memory ({_cause(text)}): raise spark.executor_memory, spark.driver_memory or "
            "spark.partitions"
        )
    if _java_is_gone(error) or any(sign in text for sign in _LOST):
        return EngineUnavailable(
            f"Spark lost its cluster or an executor too often: {_cause(text)}; try again"
        )
    return EngineError(f"Spark failed: {_cause(text)}")


def _java_is_gone(error: BaseException) -> bool:
    """Return whether nobody answered: Py4J then raises its plain error, without one of Java's in it."""
    py4j = importlib.import_module("py4j.protocol")
    answered = isinstance(error, py4j.Py4JJavaError) or "Trace:" in str(error)
    return isinstance(error, _CONNECTION_LOST) or (isinstance(error, py4j.Py4JError) and not answered)


def _text(error: BaseException) -> str:
    """Return everything that is known of an error: its message, and what Java says its causes were."""
    parts = [str(error)]
    java = getattr(error, "java_exception", None) or getattr(error, "_origin", None)
    if java is not None:
        gone: tuple[type[Exception], ...] = (OSError, *_raised_by_spark())
        try:
            parts.append(str(java.toString()))
        except gone:  # Java is gone; the message must do
            parts.append("Answer from Java side is empty")
    parts += [str(one) for one in (error.__cause__, error.__context__) if one is not None]
    return "\n".join(part for part in parts if part) or "".join(traceback.format_exception_only(error))


def _cause(text: str) -> str:
    """Return the innermost line that says something: the last "Caused by", else the first line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return (causes or lines or ["no message"])[-1 if causes else 0][:300]
