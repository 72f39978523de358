"""Which engine does which part of the work, and how the engines beyond one machine are reached."""

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from recsys.config.section import Section

# What Spark takes for a master; anything else ends its Java before that can say why. K8s: what follows is its own.
_MASTER = re.compile(
    r"local(\[(\*|[1-9]\d*)(, *[1-9]\d*)?\])?"
    r"|spark://[^\s/,]+:[1-9]\d{0,4}(,[^\s/,]+:[1-9]\d{0,4})*"
    r"|yarn"
    r"|k8s://\S+"
)


class EngineConfig(Section):
    """The engine of each part. One word instead, such as ``engine: spark``, chooses it for every part that has it."""

    prepare: Literal["local", "spark"] = Field(
        "local", description="Preparation of raw reviews; both make the same bytes."
    )
    als: Literal["local", "spark"] = Field(
        "local", description="local: als.solver on one machine; spark: MLlib's ALS on a cluster."
    )
    bpr: Literal["local", "torchrec"] = Field(
        "local", description="local: our kernel on one machine; torchrec: tables sharded over processes."
    )
    hybrid: Literal["local", "torchrec"] = Field(
        "local", description="local: torch on one machine; torchrec: tables sharded over processes."
    )
    recommend: Literal["local", "spark"] = Field(
        "local", description="Top lists of all users; both give the same lists."
    )

    @model_validator(mode="before")
    @classmethod
    def _one_word_for_all(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        parts = {
            name: given
            for name, field in cls.model_fields.items()
            if given in getattr(field.annotation, "__args__", ())
        }
        if not parts:
            raise ValueError(f"{given!r} is no engine; use local, spark or torchrec, or one for each part")
        return parts


class SparkConfig(Section):
    """A Spark cluster (extra spark, Java 17). Of all this only ``partitions`` is part of a model's result."""

    master: str = Field(
        "local[*]",
        description="Address of the cluster's master, such as spark://host:7077; local[*]: this machine.",
    )
    cores: int | None = Field(
        None,
        ge=1,
        description="Cores of a standalone cluster that a session takes at most; None: all, and other sessions wait.",
    )
    shared_directory: str | None = Field(
        None,
        description="Directory that driver and executors see at the same path, for checkpoints and staged rows; "
        "None: a temporary one, enough for executors on this machine.",
    )
    driver_host: str | None = Field(
        None,
        description="Name or address of this host as executors reach it, for hosts with several networks; None: "
        "its own name.",
    )
    driver_memory: str = Field("2g", pattern=r"^\d+[kmgt]$", description="Memory of the driver's Java.")
    executor_memory: str = Field("1g", pattern=r"^\d+[kmgt]$", description="Memory of each executor's Java.")
    partitions: int | None = Field(
        None, ge=1, description="Parts that rows are cut into; None: two for each core of the cluster."
    )
    checkpoint_interval: int = Field(
        10, ge=1, le=50, description="ALS iterations between two cuts of the lineage (no restart points)."
    )

    @field_validator("master")
    @classmethod
    def _is_an_address(cls, master: str) -> str:
        if not _MASTER.fullmatch(master):
            raise ValueError(
                f"{master!r} is no address of a Spark master; use spark://host:port, local[*], local[4], yarn or "
                "k8s://https://host:port"
            )
        return master


class TorchRecConfig(Section):
    """Sharded tables by TorchRec (extra torchrec, an environment of its own), processes started by torchrun."""

    ranks: int = Field(
        2, ge=1, description="Processes on each host; the rows of the tables are cut into so many parts."
    )
    python: str | None = Field(
        None, description="Python of the environment with the extra torchrec; None: the one that runs this."
    )
    batch_size: int | None = Field(
        None,
        ge=1,
        description="BPR: triplets per step of all ranks together; part of the result. None: by the number of "
        "items. The hybrid has hybrid.batch_size.",
    )
    hosts: int = Field(
        1,
        ge=1,
        description="Hosts that torchrun joins; on the others you start the command that the log names.",
    )
    rendezvous: str | None = Field(
        None, description="host:port where the ranks of several hosts meet; None: this host alone."
    )
    shared_directory: str | None = Field(
        None,
        description="Directory that all hosts see at the same path, for what ranks read and write; None: a "
        "temporary one, enough for one host.",
    )

    @model_validator(mode="after")
    def _hosts_can_meet(self) -> "TorchRecConfig":
        if self.hosts > 1 and self.rendezvous is None:
            raise ValueError("torchrec.hosts above 1 needs torchrec.rendezvous, host:port of the first host")
        if self.hosts > 1 and self.shared_directory is None:
            raise ValueError("torchrec.hosts above 1 needs torchrec.shared_directory, seen by every host")
        return self


class RecommendConfig(Section):
    """Top lists of all users, as `recsys recommend-all` and the flow recommend-all write them."""

    k: int = Field(10, ge=1, le=1000, description="Items per user.")
    method: Literal["exact", "hnsw"] = Field(
        "exact",
        description="exact: every score is computed; hnsw (extra ann): an approximate index, its recall measured.",
    )
    rows_per_file: int = Field(
        250_000,
        ge=1,
        description="Users in one Parquet file of the result: bounds the memory, and is a task of Spark.",
    )
    keep_sets: int = Field(
        3, ge=1, description="Finished sets of the same settings that `recsys recommendations gc` keeps."
    )
    hnsw_m: int = Field(32, ge=2, le=512, description="hnsw: links per item.")
    hnsw_ef_construction: int = Field(200, ge=1, description="hnsw: candidates while the index is built.")
    hnsw_ef_search: int = Field(200, ge=1, description="hnsw: candidates while it is asked.")
    min_recall: float = Field(
        0.95,
        ge=0,
        le=1,
        description="hnsw: least measured recall of its lists; below it nothing is published.",
    )
    recall_users: int = Field(
        1000, ge=1, description="hnsw: users whose exact lists the recall is measured against."
    )
