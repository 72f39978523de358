"""Sentences for what is wrong with a configuration: the key, what was given, what is allowed."""

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, cast

from pydantic import BaseModel, ValidationError

# Message of pydantic's error type; the braces are filled from the error's context.
_NEEDS = {
    "greater_than_equal": "is too small, needs >= {ge:g}",
    "greater_than": "is too small, needs > {gt:g}",
    "less_than_equal": "is too large, needs <= {le:g}",
    "less_than": "is too large, needs < {lt:g}",
    "int_parsing": "is not a whole number",
    "int_type": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_parsing": "is not a number",
    "float_type": "is not a number",
    "finite_number": "is not a finite number",
    "bool_parsing": "is not true or false",
    "bool_type": "is not true or false",
    "string_type": "is not a text",
    "tuple_type": "is not a list, write [a, b]",
    "too_short": "is too short, needs {min_length} or more entries",
    "model_type": "is not a section with keys of its own",
    "literal_error": "is not allowed, choose {expected}",
    "string_pattern_mismatch": "does not look like {pattern}",
    "invalid_key": "keys must be texts",
}


def known_keys(schema: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield every key that ``schema`` knows, with its path: ``als``, ``als.factors``, ..."""
    for name, field in schema.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from known_keys(field.annotation, f"{prefix}{name}.")


def describe_problems(error: ValidationError, schema: type[BaseModel]) -> list[tuple[str, str]]:
    """Return (key path, sentence) for each finding of ``error``, the path "" standing for the whole.

    A list whose entries are wrong is also reported as too short by pydantic; only its entries are told.
    """
    found = [
        (_path(detail["loc"]), _sentence(cast("dict[str, Any]", detail), schema))
        for detail in error.errors(include_url=False)
    ]
    paths = [path for path, _ in found]
    return [
        (path, sentence)
        for path, sentence in found
        if not any(other.startswith(f"{path}[") for other in paths)
    ]


def _path(location: Sequence[int | str]) -> str:
    return "".join(_step(part) for part in location).removeprefix(".")


def _step(part: int | str) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if re.fullmatch(r"[\w-]+", part) else f".{part!r}"


def _sentence(detail: dict[str, Any], schema: type[BaseModel]) -> str:
    path, kind = _path(detail["loc"]), detail["type"]
    if kind == "extra_forbidden":
        return f"{path}: unknown key, {_suggestion(path, list(known_keys(schema)))}"
    if kind == "value_error":
        reason = str(detail["ctx"]["error"])
        return f"{path}: {reason}" if path else reason
    given = detail["input"]
    context = dict(detail.get("ctx", {}))
    if "pattern" in context:
        context["pattern"] = _readable_pattern(context["pattern"])
    needs = _NEEDS[kind].format(**context) if kind in _NEEDS else f"is refused: {detail['msg']}"
    near = _near_literal(given, context.get("expected", "")) if kind == "literal_error" else ""
    return f"{path}: {given!r} {needs}{near}"


def _suggestion(path: str, known: list[str]) -> str:
    section, _, leaf = path.rpartition(".")
    siblings = [key for key in known if key.rpartition(".")[0] == section]
    leaves = {key.rpartition(".")[2] for key in known}
    if near := get_close_matches(leaf, [key.rpartition(".")[2] for key in siblings], n=1, cutoff=0.7):
        return f"did you mean {section + '.' if section else ''}{near[0]}?"
    if near := get_close_matches(leaf, leaves, n=1, cutoff=0.8):
        return f"did you mean {' or '.join(key for key in known if key.rpartition('.')[2] == near[0])}?"
    return f"known here: {', '.join(key.rpartition('.')[2] for key in siblings)}"


def _near_literal(given: object, expected: str) -> str:
    near = get_close_matches(str(given), re.findall(r"'([^']*)'", expected), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _readable_pattern(pattern: str) -> str:
    """Return a pattern such as ``^(recall|ndcg)@\\d+$`` in the form ``recall|ndcg@10``."""
    return pattern.strip("^$").replace("(", "").replace(")", "").replace(r"\d+", "10")
