"""What product embeddings give to the fits of one model in a run: where item factors start."""

from collections.abc import Mapping
from typing import Any

from recsys.cf.data.dataset import InteractionDataset
from recsys.cf.embeddings.load import aligned_embeddings
from recsys.cf.embeddings.project import Projection, project
from recsys.cf.models.item_start import ItemStart
from recsys.pipeline.content import content_facts
from recsys.pipeline.run import RunReference
from recsys.types import Json


class EmbeddingStart:
    """Reads the embeddings once, and projects them once for every number of factors that is tried."""

    def __init__(self, run: RunReference, model: str, data: InteractionDataset) -> None:
        """Load the embeddings if ``bert`` wants them for this model. Raises DataError when there are too few."""
        self._config, self._seed = run.config.bert, run.config.runtime.seed
        self._version = run.data_version
        self._anchored = model == "als" and self._config.anchored
        self._frozen = model == "als" and self._config.freeze_first_iter
        self._scale = self._config.anchor_scale if self._anchored else self._config.scale
        wanted = self._config.starts(model)
        self._embeddings = aligned_embeddings(run.open_store(), data, self._config) if wanted else None
        self._projections: dict[int, Projection] = {}

    def items(self, factors: int) -> ItemStart | None:
        """Return the start of the item factors, None for a random one."""
        projection = self._projection(factors)
        return None if projection is None else ItemStart(projection, self._scale)

    @property
    def to_compare(self) -> bool:
        """Whether a fit from a random start is wanted beside one from embeddings."""
        return self._embeddings is not None and self._config.compare_random

    def identity(self) -> list[str]:
        """Return what else a fit depends on: nothing, or the embeddings and their use."""
        facts = content_facts(self._embeddings)
        return [] if facts is None else [facts["sha256"], self._config.model_dump_json()]

    def facts(self, factors: int) -> Json:
        """Return bert_initialization of the metadata, with the names of the original specification."""
        projection = self._projection(factors)
        if projection is None:
            return {"enabled": False}
        path = self._config.embeddings_path
        return {
            "enabled": True,
            "embeddings_path": path or f"data version {self._version}",
            **projection.facts(),
            "anchored": self._anchored,
            "freeze_first_iter": self._frozen,
            "scale": self._scale,
        }

    def _projection(self, factors: int) -> Projection | None:
        if self._embeddings is None:
            return None
        if factors not in self._projections:
            self._projections[factors] = project(
                self._embeddings, factors, self._config.projection, seed=self._seed
            )
        return self._projections[factors]


def without_embeddings(run: RunReference, model: str, settings: Mapping[str, Any]) -> RunReference:
    """Return the run as if products had no embeddings, with these settings of one model written out."""
    bert = run.config.bert.model_copy(update={"init": "none", "anchored": False, "freeze_first_iter": False})
    section = run.section(model).model_copy(update=dict(settings))
    return run.model_copy(update={"config": run.config.model_copy(update={"bert": bert, model: section})})
