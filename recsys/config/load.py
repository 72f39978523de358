"""From a YAML file and ``--set`` overrides to the frozen configuration, back to YAML, and its fingerprint."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

import recsys
from recsys.config.presets import is_searched, resolve_presets, unset_fields
from recsys.config.problems import describe_problems
from recsys.config.schema import AlsConfig, BprConfig, TrainingConfig
from recsys.errors import ConfigError
from recsys.types import Json

# What a run may differ in and still give the same models; the data version stands for the data section.
_IRRELEVANT_SECTIONS = {"data", "registry", "tuning", "recommend", "spark", "torchrec"}
_IRRELEVANT_RUNTIME = {
    "threads",
    "retries",
    "retry_delay_seconds",
    "timeout_minutes",
    "pickup_seconds",
    "min_data_change",
    "engine",  # that of the trained models counts, see _engines
}


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> TrainingConfig:
    """Return the configuration of the YAML file at ``path`` (None: all defaults) with ``overrides`` on top.

    Args:
        path: A YAML file whose keys are sections of ``TrainingConfig``; an empty section means its defaults.
        overrides: Entries such as ``bpr.epochs=30``; the value is read as YAML, the last one wins.

    Returns:
        A frozen configuration. ``model_fields_set`` of each section holds only what was written, so that
        presets and the search know what they may choose.

    Raises:
        ConfigError: the file is missing, is no YAML or no mapping, or has unknown keys or bad values: one
            line for each problem, with the file (or ``--set``), the key, what was given and what is allowed.
    """
    document = {} if path is None else _read_yaml(path)
    overridden = [_apply_override(document, override) for override in overrides]
    try:
        return TrainingConfig.model_validate(_as_written(document, TrainingConfig))
    except ValidationError as error:
        lines = []
        for key, sentence in describe_problems(error, TrainingConfig):
            set_here = any(key == name or key.startswith((f"{name}.", f"{name}[")) for name in overridden)
            source = "--set" if set_here or path is None else str(path)
            lines.append(f"{source}: {sentence}")
        raise ConfigError("\n".join(lines)) from error


def config_from_document(document: Json, source: str) -> TrainingConfig:
    """Return the configuration of a parsed document; ``source`` names it in the ConfigError of bad ones."""
    try:
        return TrainingConfig.model_validate(_as_written(document, TrainingConfig))
    except ValidationError as error:
        problems = (sentence for _, sentence in describe_problems(error, TrainingConfig))
        raise ConfigError("\n".join(f"{source}: {sentence}" for sentence in problems)) from error


def fingerprint(config: TrainingConfig) -> str:
    """Return the SHA-256 (64 hex digits) of the settings that change a run's results, and of our version.

    Equal data version and fingerprint mean equal results (under ``auto``, given the same last night). Presets
    count as the values they stand for; under ``auto`` the fields left to the search are part of it. Threads,
    retries, time limits, the registry's retention and the data section (pinned by the data version) are left
    out.
    """
    resolved = resolve_presets(config)
    document = resolved.model_dump(mode="json", exclude=_IRRELEVANT_SECTIONS)
    document["runtime"] = {k: v for k, v in document["runtime"].items() if k not in _IRRELEVANT_RUNTIME}
    document["als"], document["bpr"] = _model_settings(resolved.als), _model_settings(resolved.bpr)
    if "hybrid" not in config.runtime.models:
        document.pop("hybrid")  # a model that few train must not give everybody new runs
    document |= _engines(resolved)
    document["recsys"] = recsys.__version__
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def config_to_yaml(config: TrainingConfig) -> str:
    """Return ``config`` as YAML: what was set as keys, every default beside it as a comment.

    Loading the text gives an equal configuration with the same fields set.
    """
    return "\n".join(_yaml_lines(config, indent=0)) + "\n"


def schema_json() -> str:
    """Return the JSON Schema of the configuration file, indented, for editors and the reference."""
    return json.dumps(TrainingConfig.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


def _read_yaml(path: Path) -> Json:
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: no such file; name an existing one with --config or leave it out"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {_yaml_problem(error)}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(
            f"{path}: holds a {type(document).__name__}, needs sections such as 'als:' with keys below them"
        )
    return document


class _UniqueKeyLoader(yaml.SafeLoader):
    """A safe loader that refuses a key written twice, where YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} is written twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"line {mark.line + 1}: not valid YAML: {problem}" if mark else f"not valid YAML: {problem}"


def _apply_override(document: Json, override: str) -> str:
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")):
        raise ConfigError(f"--set {override}: write key=value, such as bpr.epochs=30")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: the value is {_yaml_problem(error)}") from error
    *sections, leaf = key.split(".")
    target = document
    for name in sections:
        if not isinstance(target.get(name), dict):
            target[name] = {}
        target = target[name]
    target[leaf] = value
    return key


def _as_written(document: Json, schema: type[BaseModel]) -> Json:
    """Return ``document`` as its author meant it: an empty section has no keys, a switch's true is a word."""
    meant: Json = {}
    for name, value in document.items():
        field = schema.model_fields.get(name) if isinstance(name, str) else None
        annotation = field.annotation if field else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            value = {} if value is None else value
            meant[name] = _as_written(value, annotation) if isinstance(value, dict) else value
        elif isinstance(value, bool) and "true" in get_args(annotation):
            meant[name] = str(value).lower()
        else:
            meant[name] = value
    return meant


def _model_settings(section: AlsConfig | BprConfig) -> Json:
    settings: Json = section.model_dump(mode="json", exclude={"preset"})
    if is_searched(section):
        settings["searched"] = sorted(unset_fields(section))
    return settings


def _engines(config: TrainingConfig) -> Json:
    """Return the engines of the models that are not trained by this machine alone, and what of them counts."""
    chosen = {model: getattr(config.runtime.engine, model) for model in config.runtime.models}
    engines: Json = {model: engine for model, engine in chosen.items() if engine != "local"}
    if not engines:
        return {}  # an engine that few use must not give everybody new runs
    settings: Json = {"engines": engines}
    if "spark" in engines.values():
        settings["spark"] = config.spark.model_dump(mode="json", include={"partitions"})
    if "torchrec" in engines.values():
        settings["torchrec"] = config.torchrec.model_dump(
            mode="json", include={"ranks", "hosts", "batch_size"}
        )
    return settings


def _yaml_lines(section: BaseModel, indent: int) -> Iterator[str]:
    margin = " " * indent
    for name, value in section:
        if isinstance(value, BaseModel):
            yield f"{margin}{name}:"
            yield from _yaml_lines(value, indent + 2)
            continue
        plain = list(value) if isinstance(value, tuple) else value
        text = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=10_000)
        line = f"{name}: {text.strip().removesuffix('...').strip()}"
        yield f"{margin}{line}" if name in section.model_fields_set else f"{margin}# {line}"
