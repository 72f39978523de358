"""The section of HybridCFBERT, the model that learns from interactions and from product embeddings at once."""

from typing import Literal

from pydantic import Field, model_validator

from recsys.config.section import Section


class HybridConfig(Section):
    """HybridCFBERT in torch (extra torch): BPR on interactions and BPR on product embeddings, one user vector."""

    factors: int = Field(64, ge=1, le=4096, description="Dimensions of a factor vector.")
    cf_weight: float = Field(0.7, ge=0, description="Weight of the collaborative part in loss and score.")
    content_weight: float = Field(0.3, ge=0, description="Weight of the content part in loss and score.")
    learning_rate: float = Field(0.01, gt=0, le=1, description="Step of Adam.")
    regularization: float = Field(0.06, ge=0, description="L2 weight on the rows of a triplet.")
    epochs: int = Field(100, ge=1, description="Epochs at most.")
    # up to 32,768 elements torch computes by one thread, hence the same bits at any number of threads
    batch_size: int = Field(4096, ge=1, le=32_768, description="Triplets per step; part of the result.")
    samples_per_epoch: int = Field(5, ge=1, description="Triplets per positive and epoch.")
    negative_sampling: Literal["hard_mixed", "hard_merged", "uniform", "popularity", "adaptive"] = Field(
        "uniform",
        description="Where negatives come from; adaptive: the best-scored of several unseen ones.",
    )
    adaptive_candidates: int = Field(
        4, ge=2, le=256, description="adaptive: unseen candidates, of which the best-scored is the negative."
    )
    hard_negative_ratio: float = Field(0.3, ge=0, le=1, description="Share of hard negatives.")
    init_std: float = Field(0.01, gt=0, description="Standard deviation of the initial factors.")
    use_gpu: Literal["auto", "true", "false"] = Field("auto", description="GPU: demand, refuse or if usable.")
    validate_every: int = Field(2, ge=1, description="Epochs between looks at the validation split.")
    patience: int = Field(5, ge=1, description="Checks without improvement before an early stop.")
    checkpoint_every: int = Field(5, ge=1, description="Epochs between checkpoints.")

    @model_validator(mode="after")
    def _some_part_counts(self) -> "HybridConfig":
        if self.cf_weight + self.content_weight == 0:
            raise ValueError("cf_weight and content_weight must not both be 0")
        return self
