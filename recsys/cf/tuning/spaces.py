"""The spaces that come with the product, and those that a YAML file describes.

als-original and bpr-original are the original's grids, 3 x 3 x 2 x 3 = 54 settings each; als-staged and
bpr-staged its workflow of a coarse and a fine stage. als and bpr are ours: wider, because the best
regularization of sparse shops lies far above the original's (DECISIONS.md).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml
from pydantic import ValidationError

from recsys.cf.tuning.space import Space, Stage
from recsys.config.problems import describe_problems
from recsys.errors import ConfigError
from recsys.types import Json

_ORIGINAL_NEGATIVES: Json = {"bpr.negative_sampling": "hard_mixed", "bpr.hard_negative_ratio": 0.3}
_DOCUMENTS: Mapping[str, Json] = {
    "als-original": {
        "model": "als",
        "stages": [
            {
                "name": "grid",
                "search": {
                    "als.factors": (32, 64, 128),
                    "als.regularization": (0.01, 0.05, 0.1),
                    "als.iterations": (10, 20),
                    "als.alpha": (5.0, 10.0, 20.0),
                },
            }
        ],
    },
    "bpr-original": {
        "model": "bpr",
        "stages": [
            {
                "name": "grid",
                "fixed": _ORIGINAL_NEGATIVES,
                "search": {
                    "bpr.factors": (32, 64, 128),
                    "bpr.learning_rate": (0.01, 0.05, 0.1),
                    "bpr.regularization": (1e-5, 1e-4, 1e-3),
                    "bpr.epochs": (30, 50),
                },
            }
        ],
    },
    "als-staged": {
        "model": "als",
        "stages": [
            {
                "name": "coarse",
                "fixed": {"als.iterations": 15, "als.alpha": 10.0},
                "search": {"als.factors": (32, 64, 128), "als.regularization": (0.05, 0.1, 0.15)},
            },
            {
                "name": "fine",
                "refine": {"als.alpha": (-20.0, -10.0, 10.0, 20.0), "als.regularization": "midpoints"},
            },
        ],
    },
    "bpr-staged": {
        "model": "bpr",
        "stages": [
            {
                "name": "coarse",
                "fixed": {**_ORIGINAL_NEGATIVES, "bpr.epochs": 30, "bpr.factors": 64},
                "search": {"bpr.learning_rate": (0.01, 0.05, 0.1), "bpr.regularization": (1e-4, 1e-3)},
            },
            {
                "name": "fine",
                "refine": {"bpr.learning_rate": "midpoints"},
                "search": {
                    "bpr.learning_rate_schedule": ("step", "constant", "cosine"),
                    "bpr.negative_sampling": ("hard_mixed", "hard_merged", "uniform"),
                },
            },
        ],
    },
    "als": {
        "model": "als",
        "stages": [
            {
                "name": "coarse",
                "fixed": {"als.iterations": 20},
                "search": {
                    "als.factors": (32, 64, 128),
                    "als.regularization": (1.0, 10.0, 50.0, 200.0),
                    "als.alpha": (1.0, 10.0, 40.0),
                },
            },
            {"name": "fine", "refine": {"als.regularization": "midpoints", "als.alpha": "midpoints"}},
        ],
    },
    "bpr": {
        "model": "bpr",
        "stages": [
            {
                "name": "coarse",
                "fixed": {"bpr.epochs": 200, "bpr.patience": 6, "bpr.factors": 64},
                "search": {
                    "bpr.negative_sampling": ("uniform", "adaptive", "popularity"),
                    "bpr.regularization": (0.003, 0.01, 0.03, 0.1),
                    "bpr.learning_rate": (0.02, 0.05, 0.15),
                },
            },
            {
                "name": "fine",
                "refine": {"bpr.regularization": "midpoints", "bpr.learning_rate": "midpoints"},
                "search": {"bpr.learning_rate_schedule": ("step", "constant", "cosine")},
            },
        ],
    },
    "als-tpe": {
        "model": "als",
        "stages": [
            {
                "name": "tpe",
                "sampler": "tpe",
                "trials": 40,
                "fixed": {"als.iterations": 20},
                "search": {
                    "als.factors": (32, 64, 128),
                    "als.regularization": {"low": 0.1, "high": 500.0, "log": True},
                    "als.alpha": {"low": 0.5, "high": 100.0, "log": True},
                },
            }
        ],
    },
    "bpr-tpe": {
        "model": "bpr",
        "stages": [
            {
                "name": "tpe",
                "sampler": "tpe",
                "trials": 40,
                "fixed": {"bpr.epochs": 200, "bpr.patience": 6},
                "search": {
                    "bpr.factors": (32, 64, 128),
                    "bpr.negative_sampling": ("uniform", "adaptive", "popularity"),
                    "bpr.regularization": {"low": 1e-4, "high": 0.2, "log": True},
                    "bpr.learning_rate": {"low": 0.01, "high": 0.3, "log": True},
                },
            }
        ],
    },
    "als-native": {
        "model": "als",
        "stages": [
            {
                "name": "coarse",
                "fixed": {"als.solver": "native", "als.iterations": 20},
                "search": {
                    "als.regularization": (0.3, 3.0, 30.0, 100.0),
                    "als.regularization_exponent": (0.0, 0.5, 1.0),
                    "als.unobserved_weight": (0.1, 0.3, 1.0),
                },
            },
            {
                "name": "fine",
                "refine": {"als.regularization": "midpoints", "als.unobserved_weight": "midpoints"},
                "search": {"als.factors": (64, 128)},
            },
        ],
    },
    "hybrid": {
        "model": "hybrid",
        "stages": [
            {
                "name": "coarse",
                "fixed": {"hybrid.epochs": 50},
                "search": {
                    "hybrid.learning_rate": (0.003, 0.01, 0.03),
                    "hybrid.regularization": (0.001, 0.01, 0.1),
                    "hybrid.cf_weight": (0.5, 0.7, 0.9),
                },
            },
            {
                "name": "fine",
                "refine": {"hybrid.regularization": "midpoints", "hybrid.cf_weight": "midpoints"},
            },
        ],
    },
}


def space_names() -> list[str]:
    """Return the names of the spaces that come with the product."""
    return list(_DOCUMENTS)


def load_space(name: str) -> Space:
    """Return the space of that name, or the one in the YAML file ``name`` (it ends with .yaml or .yml).

    Raises:
        ConfigError: no such space or file, or the file describes none; says what is wrong where.
    """
    if name.endswith((".yaml", ".yml")):
        return _space(Path(name).stem, _read(Path(name)), name)
    if name not in _DOCUMENTS:
        known = ", ".join(_DOCUMENTS)
        raise ConfigError(f"no search space {name!r}; take one of {known}, or name a .yaml file")
    return _space(name, _DOCUMENTS[name], name)


def _read(path: Path) -> Json:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: needs the keys model and stages")
    return document


def _space(name: str, document: Json, source: str) -> Space:
    try:
        return Space.model_validate({"name": name, **document})
    except ValidationError as error:
        problems = list(_stage_problems(document.get("stages"))) or [
            sentence for _, sentence in describe_problems(error, Space)
        ]
        raise ConfigError("\n".join(f"{source}: {problem}" for problem in problems)) from error


def _stage_problems(stages: object) -> Iterator[str]:
    """Yield what is wrong inside single stages, with the keys they know."""
    for number, stage in enumerate(stages if isinstance(stages, list) else ()):
        try:
            Stage.model_validate(stage)
        except ValidationError as error:
            for _, sentence in describe_problems(error, Stage):
                yield f"stages[{number}]: {sentence}"
