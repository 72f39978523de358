"""Named presets: values for the fields of a model's section that the configuration does not set itself."""

from collections.abc import Mapping
from typing import Any, TypeVar

from recsys.config.schema import AlsConfig, BprConfig, Section, TrainingConfig

SectionT = TypeVar("SectionT", bound=Section)

# An empty table means the schema's own defaults, which are written there and nowhere else.
ALS_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "normalized": {"normalize": True},
    "high_quality": {"factors": 128, "regularization": 0.05, "iterations": 30},
    "fast": {"factors": 32, "iterations": 10},
    "sparse_data": {"regularization": 0.1},
}
# auto: room to converge, and patience for it; trials are short whatever stands here
BPR_PRESETS: Mapping[str, Mapping[str, Any]] = {"original": {}, "auto": {"epochs": 200, "patience": 6}}


def unset_fields(section: Section) -> frozenset[str]:
    """Return the names of the fields nobody set: those that a preset or the search is free to choose."""
    return frozenset(type(section).model_fields) - section.model_fields_set - {"preset"}


def resolve_presets(config: TrainingConfig) -> TrainingConfig:
    """Return ``config`` with the presets of als and bpr written out; a field set by the user always wins.

    Fields that no table has stay unset under ``auto``, for the search to choose. Resolving twice changes nothing.
    """
    return config.model_copy(
        update={
            "als": _resolve(config.als, ALS_PRESETS.get(config.als.preset, {})),
            "bpr": _resolve(config.bpr, BPR_PRESETS.get(config.bpr.preset, {})),
        }
    )


def _resolve(section: SectionT, preset: Mapping[str, Any]) -> SectionT:
    return type(section).model_validate({**preset, **section.model_dump(exclude_unset=True)})


def is_searched(section: AlsConfig | BprConfig) -> bool:
    """Return whether the search chooses the unset fields of ``section`` (its preset is ``auto``)."""
    return section.preset == "auto"
