"""The needs of one night, stage by stage, as functions of the cores."""

from collections.abc import Callable

from recsys.config.schema import TrainingConfig
from recsys.planning import memory, rates, times
from recsys.planning.engines import Cluster, Need
from recsys.planning.sizes import Sizes

EMBEDDING_DIMENSIONS = 384  # of the default encoder
_BASELINES = 3  # popularity, recent popularity and chance; only the last one scores every user and item
_SPILL_COPIES = 3  # of the rows on disk while they are prepared: runs, cleaned, parts
_ROW_DISK_BYTES = 25  # a cleaned row in Parquet
_JAVA_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_TABLES = {"bpr": 1, "hybrid": 3}  # of each factor matrix at the ranks: with Adam's moments
Seconds = Callable[[int], float]


class Night:
    """What the stages of a night need, each in a process of its own that opens the data version first."""

    def __init__(self, sizes: Sizes, config: TrainingConfig) -> None:
        self.sizes, self.config = sizes, config
        self.models = config.runtime.models
        self.factors = max(getattr(config, model).factors for model in self.models)
        self.pool = config.data.top_popular_items
        self._load = memory.INTERPRETER_BYTES + memory.load_bytes(sizes, self.pool)
        self._prepare = memory.INTERPRETER_BYTES + memory.prepare_bytes(sizes, self.pool)

    def stages(self) -> dict[str, Need]:
        """Return the need of each stage by its name, in the order of a night, the lists last."""
        sizes, factors, n_models = self.sizes, self.factors, len(self.models)
        scorers = n_models + _BASELINES
        settings = self.config.evaluation
        test_users = min(sizes.users, settings.max_users or sizes.users)
        return {
            "prepare": Need(lambda _: self._prepare, lambda _: times.prepare_seconds(sizes.rows)),
            "load": Need(lambda _: self._load, lambda _: times.load_seconds(sizes)),
            **{model: self.fit(model) for model in self.models},
            "evaluation": self._with_data(
                lambda cores: memory.evaluation_bytes(sizes, factors, scorers, cores, test_users),
                lambda cores: times.evaluation_seconds(
                    sizes, factors, n_models + 1, cores, settings.max_users
                ),
            ),
            "score range": self._with_data(
                lambda cores: memory.score_range_bytes(
                    sizes, factors, cores, settings.score_range_exact_samples
                ),
                lambda cores: (
                    n_models * times.score_range_seconds(sizes, factors, cores, settings.max_scores)
                ),
            ),
            "publish": self._with_data(
                lambda _: memory.publish_bytes(sizes, factors),
                lambda _: n_models * times.publish_seconds(sizes, factors),
                0,
            ),
            "recommend-all": self.lists(self.config.recommend.method),
        }

    def fit(self, model: str, n_fits: int = 1) -> Need:
        """Return the need of one fit of a model, or of several one after the other."""
        seconds = self._fit_seconds(model)
        return self._with_data(
            lambda cores: self.fit_bytes(model, cores), lambda cores: n_fits * seconds(cores)
        )

    def lists(self, method: str) -> Need:
        """Return the need of top lists for all users."""
        sizes, factors = self.sizes, self.factors
        config = self.config.recommend.model_copy(update={"method": method})
        return Need(
            lambda cores: memory.INTERPRETER_BYTES + memory.recommend_bytes(sizes, factors, config, cores),
            lambda cores: times.recommend_seconds(sizes, factors, config, cores),
        )

    def beyond(self, part: str) -> Cluster:
        """Return the engine of a part beyond one machine, with what one of its hosts holds.

        Spark's driver opens the data version, or builds it, and has factors and weights as one machine has.
        """
        if part in _TABLES:
            why = "tables sharded by rows over hosts or GPUs"
            return Cluster(
                "torchrec", "the first host", lambda _, hosts: self._torchrec_bytes(part, hosts), why
            )
        java = int(self.config.spark.driver_memory[:-1]) * _JAVA_UNITS[self.config.spark.driver_memory[-1]]
        if part == "als":
            why = "MLlib shares factors and matrix among hosts; its regularization is tuned anew"
            return Cluster("spark", "the driver", lambda cores, _: java + self._als_driver_bytes(cores), why)
        if part == "prepare":
            why = "the same rules in Spark SQL, the same bytes"
            return Cluster("spark", "the driver", lambda *_: java + self._prepare, why)
        if part == "recommend-all":
            lists, why = self.lists("exact"), "the same kernel in every task"
            return Cluster("spark", "every host", lambda cores, _: lists.memory_bytes(cores), why)
        trial, why = self.fit("als"), "trials on a standing cluster, data by path, see tuning.runner"
        return Cluster("dask", "every host", lambda cores, _: trial.memory_bytes(cores), why)

    def whole(self) -> Need:
        """Return the need of a first night on one machine: all trainings at once; the lists are not counted."""
        stages = {name: need for name, need in self.stages().items() if name != "recommend-all"}

        def together(cores: int) -> float:
            fits = sum(self.fit_bytes(model, cores) for model in self.models)
            return memory.stage_bytes(self.sizes, self.pool, fits, memory.SCORING_SET_UP_BYTES)

        return Need(
            lambda cores: max(together(cores), *(need.memory_bytes(cores) for need in stages.values())),
            lambda cores: sum(need.seconds(cores) * self._fits_of(name) for name, need in stages.items()),
        )

    def fit_bytes(self, model: str, cores: int) -> int:
        """Return the bytes of one fit beside its data."""
        sizes, config = self.sizes, self.config
        if model == "als":
            return memory.als_bytes(sizes.users, sizes.items, sizes.train, config.als, cores)
        if model == "bpr":
            return memory.bpr_bytes(sizes.users, sizes.items, sizes.positives, config.bpr, cores)
        dimensions = EMBEDDING_DIMENSIONS
        return memory.hybrid_bytes(sizes.users, sizes.items, sizes.positives, dimensions, config.hybrid)

    def disk_bytes(self) -> int:
        """Return the bytes on disk of preparation, and of data versions and registry once they are full."""
        sizes, kept = self.sizes, self.config.registry
        rows = sizes.rows * _ROW_DISK_BYTES
        versions = kept.keep_data_versions * (rows + memory.dataset_bytes(sizes, self.pool))
        model = memory.factors_bytes(sizes.users, sizes.items, self.factors) + 4 * sizes.train
        return _SPILL_COPIES * rows + versions + len(self.models) * model * (kept.keep_versions + 1)

    def _fit_seconds(self, model: str) -> Seconds:
        sizes, config = self.sizes, self.config
        max_scores = config.evaluation.max_scores
        if model == "als":
            return lambda cores: times.als_seconds(sizes, config.als, cores, max_scores)
        if model == "bpr":
            return lambda cores: times.bpr_seconds(sizes, config.bpr, cores, max_scores)
        return lambda cores: times.hybrid_seconds(sizes, config.hybrid, cores, max_scores)

    def _als_driver_bytes(self, cores: int) -> float:
        sizes, factors = self.sizes, self.config.als.factors
        fit = memory.als_spark_bytes(sizes.users, sizes.items, sizes.train, factors, cores)
        return memory.stage_bytes(sizes, self.pool, fit, memory.SCORING_SET_UP_BYTES)

    def _torchrec_bytes(self, model: str, hosts: int) -> float:
        factors = getattr(self.config, model).factors
        config = self.config.torchrec.model_copy(update={"hosts": hosts})
        fit = memory.torchrec_bytes(self.sizes.users, self.sizes.items, factors, _TABLES[model], config)
        return memory.stage_bytes(self.sizes, self.pool, fit, memory.SCORING_SET_UP_BYTES)

    def _with_data(
        self,
        beside_data: Callable[[int], float],
        seconds: Seconds,
        set_up: int = memory.SCORING_SET_UP_BYTES,
    ) -> Need:
        return Need(
            lambda cores: memory.stage_bytes(self.sizes, self.pool, beside_data(cores), set_up), seconds
        )

    def _fits_of(self, stage: str) -> int:
        """Return how often a stage runs in a first night: the search of a model fits it many times."""
        searched = stage in self.models and getattr(getattr(self.config, stage), "preset", None) == "auto"
        return 1 + rates.TRIALS[stage] if searched else 1
