"""The reference of the configuration in Markdown, written from the schema, so that it cannot be out of date."""

import types
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from recsys.config.presets import ALS_PRESETS
from recsys.config.schema import TrainingConfig

ENVIRONMENT: Mapping[str, str] = {
    "RECSYS_STORE": "the store where no `--store` is given; without it `./store`",
    "RECSYS_STATE": "directory of checkpoints and local copies of unfinished runs, and of the three data versions "
    "used last, which all processes of the host map; without it `.state`, and nights share no copy",
    "RECSYS_LOG_DIR": "directory of log files; without it `logs/cf`",
    "RECSYS_LOG_FORMAT": "`json`: every log line is a JSON object; without it, text",
    "RECSYS_METRICS_FILE": "file for the run's metrics in Prometheus' text format; without it, none is written",
    "RECSYS_GIT_COMMIT": "commit that lineage names where the code is no git working copy, such as in an image",
    "RECSYS_PROJECT": "where the project lies on a Prefect worker's machine (deployments/prefect.yaml)",
    "RECSYS_ALERT_WEBHOOK": "address that `make deploy` gives to the alerts; without it, no alerts",
    "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE": "credentials of the S3 store",
    "AWS_ENDPOINT_URL, AWS_REGION, AWS_CA_BUNDLE": "where the S3 store answers, and whom to trust",
    "XDG_CACHE_HOME": "where serving keeps its verified copies of models; without it `~/.cache`",
    "MLFLOW_TRACKING_URI": "MLflow server of studies, where `tuning.mlflow_uri` names none",
}
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "length ≥"}
_INTRODUCTION = """\
# Configuration

Written by `recsys config reference`; a test fails when this page is not what the schema says.

One YAML file (`--config`, see deployments/training_config.yaml) with the sections below; whatever it leaves out has
the default. `--set section.name=value` overrides, and can be repeated. An unknown key is refused with the nearest
known one. `recsys config show` prints what a file and its overrides amount to, `recsys config schema` the JSON Schema
for editors.
"""


def render_reference() -> str:
    """Return every setting with type, default, range and meaning as GitHub-flavoured Markdown."""
    parts = [_INTRODUCTION]
    for name, field in TrainingConfig.model_fields.items():
        section = _section_of(field)
        if section is not None:
            parts.append(f"## {name}\n\n{_first_paragraph(section)}\n\n{_table(name, section)}")
            if name == "als":
                parts.append(_presets())
    variables = (
        f"| {', '.join(f'`{one}`' for one in names.split(', '))} | {told} |"
        for names, told in ENVIRONMENT.items()
    )
    parts.append("## Environment\n\n" + "\n".join(["| variable | what it does |", "|---|---|", *variables]))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def setting_paths(section: type[BaseModel] = TrainingConfig, prefix: str = "") -> Iterator[str]:
    """Yield the path of every setting, such as ``bpr.epochs``, in the order of the schema."""
    for name, field in section.model_fields.items():
        inner = _section_of(field)
        if inner is None:
            yield f"{prefix}{name}"
        else:
            yield from setting_paths(inner, f"{prefix}{name}.")


def _table(path: str, section: type[BaseModel]) -> str:
    return "\n".join(["| setting | type | default | meaning |", "|---|---|---|---|", *_rows(path, section)])


def _rows(path: str, section: type[BaseModel]) -> Iterator[str]:
    for name, field in section.model_fields.items():
        inner = _section_of(field)
        if inner is not None:
            yield from _rows(f"{path}.{name}", inner)
            continue
        kind = f"{_type(field.annotation)}{_range(field)}"
        cells = (
            f"`{path}.{name}`",
            _cell(kind),
            f"`{_cell(_yaml(field.default))}`",
            _cell((field.description or "").replace("None:", "null:")),
        )
        yield f"| {' | '.join(cells)} |"


def _section_of(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _type(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(one) for one in inner)
    if origin in (tuple, list):
        return f"list of {_type(inner[0])}"
    if origin in (dict, Mapping) or kind is dict:
        return "mapping"
    names = {
        bool: "`true` or `false`",
        int: "whole number",
        float: "number",
        str: "text",
        type(None): "`null`",
    }
    return names.get(kind, getattr(kind, "__name__", str(kind)))


def _range(field: FieldInfo) -> str:
    found = [
        f"{sign} {getattr(rule, name):g}"
        for rule in field.metadata
        for name, sign in _BOUNDS.items()
        if getattr(rule, name, None) is not None
    ]
    return f", {', '.join(found)}" if found else ""


def _yaml(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=10_000)
    return text.strip().removesuffix("...").strip()


def _presets() -> str:
    lines = (f"| `{name}` | {_preset(values)} |" for name, values in ALS_PRESETS.items())
    return "\n".join(
        ["Presets of ALS; a value that is set always wins:", "", "| preset | sets |", "|---|---|", *lines]
    )


def _preset(values: Mapping[str, Any]) -> str:
    return (
        ", ".join(f"`{key}: {_yaml(value)}`" for key, value in values.items())
        or "nothing: the defaults above"
    )


def _first_paragraph(section: type[BaseModel]) -> str:
    paragraph = (section.__doc__ or "").strip().split("\n\n")[0]
    return " ".join(paragraph.split()).replace("``", "`")


def _cell(words: str) -> str:
    return " ".join(words.replace("|", "\\|").split())
