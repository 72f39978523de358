"""The configuration: one frozen object; every default of the product is written here and nowhere else."""

from typing import Literal

from pydantic import Field, model_validator

from recsys.config.als import NO_EMBEDDINGS_ON_SPARK
from recsys.config.als import AlsConfig as AlsConfig
from recsys.config.bert import BertConfig as BertConfig
from recsys.config.engine import EngineConfig as EngineConfig
from recsys.config.engine import RecommendConfig as RecommendConfig
from recsys.config.engine import SparkConfig as SparkConfig
from recsys.config.engine import TorchRecConfig as TorchRecConfig
from recsys.config.hybrid import HybridConfig as HybridConfig
from recsys.config.section import Section as Section
from recsys.config.tuning import TuningConfig as TuningConfig

ModelName = Literal["als", "bpr", "hybrid"]


class InteractionColumns(Section):
    """Names of the columns in the review file; None means: look for the usual names."""

    user_id: str | None = Field(None, description="Column of the shop's user id.")
    item_id: str | None = Field(None, description="Column of the shop's item id.")
    rating: str | None = Field(None, description="Column of the stars, 1 to 5.")
    timestamp: str | None = Field(None, description="Column of the time of the review.")
    comment: str | None = Field(None, description="Column of the review text (optional).")
    comment_quality: str | None = Field(
        None, description="Column with a ready score in [0, 1]; takes precedence over the heuristic."
    )


class ItemColumns(Section):
    """Names of the columns in the product file; None means: look for the usual names."""

    item_id: str | None = Field(None, description="Column of the shop's item id.")
    title: str | None = Field(None, description="Column of the product's name (optional).")
    description: str | None = Field(None, description="Column of the product's text (optional).")
    num_sold_time: str | None = Field(None, description="Column of the number sold (optional).")


class DataConfig(Section):
    """How raw reviews become a data version."""

    columns: InteractionColumns = InteractionColumns()
    item_columns: ItemColumns = ItemColumns()
    rating_min: float = Field(1.0, description="Lowest valid rating; rows below are dropped and counted.")
    rating_max: float = Field(5.0, description="Highest valid rating; rows above are dropped and counted.")
    positive_threshold: float = Field(4.0, description="A rating at or above it is a positive.")
    min_user_interactions: int = Field(2, ge=1, description="Interactions a trainable user has at least.")
    min_user_positives: int = Field(1, ge=1, description="Positives a trainable user has at least.")
    min_item_positives: int = Field(
        5, ge=1, description="Positives from trainable users an item has at least."
    )
    split_unit: Literal["event", "row"] = Field(
        "event", description="What the split holds out: whole events (honest), or single rows (the original)."
    )
    top_popular_items: int = Field(50, ge=1, description="Size of the pool of implicit hard negatives.")
    quality_languages: tuple[Literal["vi", "en"], ...] = Field(
        ("vi", "en"), description="Word lists the comment-quality heuristic uses."
    )
    max_users: int | None = Field(
        None, ge=1, description="Keep at most that many trainable users, sampled with the seed (memory)."
    )

    @model_validator(mode="after")
    def _ratings_in_order(self) -> "DataConfig":
        if not self.rating_min < self.positive_threshold <= self.rating_max:
            raise ValueError("rating_min < positive_threshold <= rating_max must hold")
        return self


class BprConfig(Section):
    """BPR by our own kernel. ``preset: auto`` chooses the fields you do not set by trials on validation."""

    preset: Literal["auto", "original"] = Field(
        "auto", description="original: the values written here; auto tries several on validation."
    )
    factors: int = Field(64, ge=1, le=4096, description="Dimensions of a factor vector.")
    learning_rate: float = Field(0.05, gt=0, le=10, description="Step of the stochastic gradient.")
    learning_rate_schedule: Literal["step", "constant", "cosine"] = Field(
        "step", description="step: times 0.9 every 10 epochs; constant; cosine: down to 0 in the last epoch."
    )
    regularization: float = Field(1e-4, ge=0, description="L2 weight on the three rows of a triplet.")
    user_regularization: float | None = Field(None, ge=0, description="The same for users alone.")
    positive_regularization: float | None = Field(
        None, ge=0, description="The same for positive items alone."
    )
    negative_regularization: float | None = Field(
        None, ge=0, description="The same for negative items alone."
    )
    item_bias: bool = Field(
        False, description="One more column: the item's bias, against a constant 1 of every user."
    )
    epochs: int = Field(50, ge=1, description="Epochs at most.")
    samples_per_epoch: int = Field(5, ge=1, description="Triplets per positive and epoch.")
    negative_sampling: Literal["hard_mixed", "hard_merged", "uniform", "popularity", "adaptive"] = Field(
        "hard_mixed",
        description="Where negatives come from; adaptive: the best-scored of several unseen ones.",
    )
    adaptive_candidates: int = Field(
        4, ge=2, le=256, description="adaptive: unseen candidates, of which the best-scored is the negative."
    )
    adaptive_refreshes: int = Field(
        1,
        ge=1,
        description="adaptive: times per epoch that draws see fresh factors; at most samples_per_epoch.",
    )
    hard_negative_ratio: float = Field(0.3, ge=0, le=1, description="Share of hard negatives.")
    init_std: float = Field(0.01, gt=0, description="Standard deviation of the initial factors.")
    validate_every: int = Field(5, ge=1, description="Epochs between looks at the validation split.")
    patience: int = Field(3, ge=1, description="Checks without improvement before an early stop.")
    checkpoint_every: int = Field(5, ge=1, description="Epochs between checkpoints.")
    blocks: int | None = Field(
        None,
        ge=1,
        le=64,
        description="User blocks that may run in parallel, part of the result, unlike threads; "
        "None: by the number of triplets.",
    )
    warm_start: bool = Field(
        False, description="Start from the newest registered BPR model, its factors matched by ids."
    )

    @model_validator(mode="after")
    def _a_refresh_has_samples(self) -> "BprConfig":
        if self.negative_sampling == "adaptive" and self.adaptive_refreshes > self.samples_per_epoch:
            raise ValueError("adaptive_refreshes must be at most samples_per_epoch")
        return self


class EvaluationConfig(Section):
    """How models are measured."""

    k_values: tuple[int, ...] = Field((10, 20), min_length=1, description="Cutoffs of the metrics.")
    popularity: Literal["train_counts", "num_sold_time", "recent"] = Field(
        "train_counts", description="What the popularity baseline, which the gates ask, ranks by."
    )
    recent_days: int = Field(30, ge=1, description="Days of train that the recent popularity counts.")
    auc: bool = Field(False, description="Also measure the area under the ROC curve.")
    diversity: bool = Field(
        False, description="Also measure the diversity of the lists, where the data version has embeddings."
    )
    block_users: int = Field(
        8192,
        ge=1,
        description="Users scored at a time, all threads together, at least 128; bounds the memory.",
    )
    bootstrap_resamples: int = Field(2000, ge=1000, description="Resamples of the paired bootstrap.")
    confidence_level: float = Field(0.95, gt=0.5, lt=1, description="Level of all intervals.")
    max_scores: int = Field(
        1_000_000_000,
        ge=1,
        description="Users x items scored for the score range and for each look at validation; where there are more, "
        "a seeded sample of users is, 2,000 at least.",
    )
    max_users: int | None = Field(
        None,
        ge=1,
        description="Test users that models are measured on: a seeded sample of so many; None: all of them.",
    )
    score_range_exact_samples: int = Field(
        50_000_000, ge=1000, description="Scores up to which percentiles are exact; beyond, a histogram."
    )

    @model_validator(mode="after")
    def _cutoffs_positive_and_sorted(self) -> "EvaluationConfig":
        if any(k < 1 for k in self.k_values) or list(self.k_values) != sorted(set(self.k_values)):
            raise ValueError("k_values must be positive, distinct and ascending, such as [10, 20]")
        return self


class PromotionConfig(Section):
    """When a candidate becomes champion."""

    metric: str = Field(
        "recall@10",
        pattern=r"^(recall|ndcg|precision|hit_rate|mrr|map)@\d+$",
        description="Metric of the gates.",
    )
    choose_by: str = Field(
        "ndcg@10",
        pattern=r"^(recall|ndcg|precision|hit_rate|mrr|map)@\d+$",
        description="Metric that orders the candidates which pass.",
    )
    min_improvement: float = Field(
        0.20, ge=0, description="Least relative gain over popularity (0.2 = 20 %)."
    )
    tolerance: float = Field(
        0.10, ge=0, lt=1, description="How much worse than the champion, relatively, is still not worse."
    )
    min_coverage: float = Field(0.05, ge=0, le=1, description="Least share of items in somebody's top list.")
    promote: bool = Field(True, description="False: decide and record, but never move the alias.")


class RegistryConfig(Section):
    """How long the registry keeps what."""

    keep_versions: int = Field(10, ge=1, description="Versions per model type that gc never collects.")
    grace_hours: float = Field(48.0, ge=0, description="Age below which gc touches nothing.")
    single_writer: bool = Field(
        False,
        description="Promise that one process at most writes: allows stores without create-once writes.",
    )
    keep_data_versions: int = Field(
        10,
        ge=1,
        description="Data versions that `recsys data gc` keeps besides those that models serve from.",
    )


class RuntimeConfig(Section):
    """What a run does and with which resources."""

    seed: int = Field(42, ge=0, description="Seeds everything.")
    models: tuple[ModelName, ...] = Field(("als", "bpr"), min_length=1, description="Models to train.")
    threads: int | None = Field(None, ge=1, description="Threads in all; None: those this process may use.")
    retries: int = Field(3, ge=0, description="How often a stage is tried again after a passing failure.")
    retry_delay_seconds: float = Field(
        8.0,
        ge=0,
        description="Pause before the first retry; it doubles each time and varies by half at random. "
        "With three retries an outage of 20 s is always outlived.",
    )
    timeout_minutes: float = Field(120.0, gt=0, description="Longest time one training may take.")
    min_data_change: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Train only if the data moved at least so far (0-1) since the champion's; None: always.",
    )
    pickup_seconds: float = Field(
        300.0,
        gt=0,
        description="How long a worker of the pool gpu, spark or torchrec has to take a model; then ALS and "
        "hybrid are trained here if use_gpu is auto, else the branch fails.",
    )
    engine: EngineConfig = EngineConfig()

    @model_validator(mode="after")
    def _models_are_distinct(self) -> "RuntimeConfig":
        if len(set(self.models)) < len(self.models):
            raise ValueError("models names one twice")
        return self


class TrainingConfig(Section):
    """The whole configuration of a night."""

    data: DataConfig = DataConfig()
    als: AlsConfig = AlsConfig()
    bpr: BprConfig = BprConfig()
    hybrid: HybridConfig = HybridConfig()
    bert: BertConfig = BertConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    promotion: PromotionConfig = PromotionConfig()
    registry: RegistryConfig = RegistryConfig()
    tuning: TuningConfig = TuningConfig()
    recommend: RecommendConfig = RecommendConfig()
    spark: SparkConfig = SparkConfig()
    torchrec: TorchRecConfig = TorchRecConfig()
    runtime: RuntimeConfig = RuntimeConfig()

    @model_validator(mode="after")
    def _spark_can_train_als(self) -> "TrainingConfig":
        if self.runtime.engine.als == "spark" and "als" in self.runtime.models:
            if problem := self.als.spark_problem():
                raise ValueError(f"als: {problem}")
            if self.bert.starts("als") or self.bert.anchored:
                raise ValueError(NO_EMBEDDINGS_ON_SPARK)
        return self

    @model_validator(mode="after")
    def _gated_metrics_are_measured(self) -> "TrainingConfig":
        for name in ("metric", "choose_by"):
            k = int(getattr(self.promotion, name).split("@")[1])
            if k not in self.evaluation.k_values:
                raise ValueError(f"promotion.{name} needs cutoff {k}, add it to evaluation.k_values")
        return self

    @model_validator(mode="after")
    def _embeddings_fit_the_solver(self) -> "TrainingConfig":
        problem = self.bert.problem_with(self.als.solver, self.als.use_gpu)
        if problem and "als" in self.runtime.models:
            raise ValueError(problem)
        return self
