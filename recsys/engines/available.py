"""Whether an engine can be started from this process: its packages and what they need are here."""

from importlib.util import find_spec

from recsys.config.schema import TrainingConfig
from recsys.engines.spark_environment import java_path


def engine_is_installed(engine: str, config: TrainingConfig) -> bool:
    """Return whether this process could start ``engine`` ("local", "spark" or "torchrec"); imports none of them."""
    if engine == "spark":
        packages = all(find_spec(name) is not None for name in ("pyspark", "pyarrow", "pandas"))
        return packages and java_path() is not None
    if engine == "torchrec":
        return config.torchrec.python is not None or find_spec("torchrec") is not None
    return True
