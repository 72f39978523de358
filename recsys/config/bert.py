"""The section of product embeddings: what models take from the texts of the products."""

from typing import Literal

from pydantic import Field, model_validator

from recsys.config.section import Section


class BertConfig(Section):
    """What models take from product embeddings (of the data version, or of a file)."""

    init: Literal["none", "als", "bpr", "both"] = Field(
        "none", description="Models whose item factors start from the projected embeddings."
    )
    anchored: bool = Field(
        False,
        description="ALS pulls item factors to the projected embeddings instead of zero, with the weight "
        "als.regularization; needs als.solver native.",
    )
    projection: Literal["svd", "pca", "random"] = Field(
        "svd", description="How embeddings get the number of factors."
    )
    scale: float = Field(
        1.0,
        gt=0,
        description="Root mean square length of the projected vectors, relative to that of a random start.",
    )
    anchor_scale: float = Field(
        0.7, gt=0, description="The same for the vectors that anchored pulls to; they are also its start."
    )
    freeze_first_iter: bool = Field(
        False, description="ALS keeps the projected embeddings through its first iteration."
    )
    min_coverage: float = Field(
        0.5, ge=0, le=1, description="Least share of the items that must have an embedding."
    )
    embeddings_path: str | None = Field(
        None,
        description="Embeddings (.npz, .pt, .safetensors) used instead of those of the data version.",
    )
    item_map: bool = Field(
        True,
        description="Store a map from embeddings to item factors with every model, for items it never saw.",
    )
    compare_random: bool = Field(
        True,
        description="Also train from a random start, to tell what the embeddings gained on cold items.",
    )

    @model_validator(mode="after")
    def _frozen_start_is_a_start(self) -> "BertConfig":
        if self.freeze_first_iter and not self.starts("als"):
            raise ValueError(
                "freeze_first_iter needs init als or both, or anchored: there is nothing to keep"
            )
        return self

    def starts(self, model: str) -> bool:
        """Return whether the item factors of this model ("als", "bpr") start from embeddings."""
        initialised = {"none": (), "als": ("als",), "bpr": ("bpr",), "both": ("als", "bpr")}[self.init]
        return model in initialised or (model == "als" and self.anchored)

    def problem_with(self, solver: str, use_gpu: str) -> str | None:
        """Return what als.solver or als.use_gpu cannot do of this section and what to change, or None."""
        if self.anchored and solver != "native":
            return "bert.anchored needs als.solver native: solver implicit pulls factors to zero only"
        if self.freeze_first_iter and use_gpu == "true":
            return (
                "bert.freeze_first_iter trains on the CPU: set als.use_gpu to auto or false, or leave it out"
            )
        return None
