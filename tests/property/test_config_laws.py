"""Laws of configuration: any valid one survives YAML with its set fields; no text breaks the loader."""

import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.config.load import config_to_yaml, fingerprint, load_config
from recsys.config.presets import resolve_presets
from recsys.errors import ConfigError

sections = st.fixed_dictionaries(
    {},
    optional={
        "als": st.fixed_dictionaries(
            {},
            optional={
                "preset": st.sampled_from(["auto", "default", "fast", "high_quality", "sparse_data"]),
                "factors": st.integers(1, 4096),
                "regularization": st.floats(0, 1e6),
                "alpha": st.floats(1e-9, 1e9),
                "preference_threshold": st.none() | st.floats(1, 6),
                "normalize": st.booleans(),
                "use_gpu": st.sampled_from([True, False, "auto"]),
            },
        ),
        "bpr": st.fixed_dictionaries({}, optional={"preset": st.sampled_from(["auto", "original"])}),
        "evaluation": st.fixed_dictionaries({}, optional={"k_values": st.just([10, 20, 50])}),
        "data": st.fixed_dictionaries(
            {}, optional={"columns": st.fixed_dictionaries({}, optional={"user_id": st.text(min_size=1)})}
        ),
    },
)


def load_text(text: str) -> Any:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "config.yaml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        return load_config(path)


def complaints(text: str) -> list[str]:
    try:
        load_text(text)
    except ConfigError as error:
        return str(error).splitlines()
    return []


@settings(max_examples=100, deadline=None)
@given(sections)
def test_shown_yaml_loads_to_the_same_configuration(document: dict[str, Any]) -> None:
    config = load_text(yaml.safe_dump(document, allow_unicode=True))
    again = load_text(config_to_yaml(config))
    assert again == config
    assert again.als.model_fields_set == config.als.model_fields_set == set(document.get("als", {}))
    assert fingerprint(again) == fingerprint(config)


@settings(max_examples=100, deadline=None)
@given(sections)
def test_presets_never_touch_what_was_set_and_settle_at_once(document: dict[str, Any]) -> None:
    config = load_text(yaml.safe_dump(document))
    resolved = resolve_presets(config)
    assert resolve_presets(resolved) == resolved
    for name in config.als.model_fields_set:
        assert getattr(resolved.als, name) == getattr(config.als, name)
    assert fingerprint(resolved) == fingerprint(config)


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
documents = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["als", "bpr", "factors", "data", "columns", "k_values", "evaluation", "use_gpu"])
            | st.text(max_size=5)
            | st.integers(),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(documents)
def test_any_document_loads_or_is_refused_in_words(document: Any) -> None:
    assert all("config.yaml: " in line for line in complaints(yaml.safe_dump(document)))


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("als:bpr \n-[]{}&*!|>'\"%@?#,\t\x00é1"), max_size=40))
def test_any_text_loads_or_is_refused_in_words(text: str) -> None:
    assert all("config.yaml: " in line for line in complaints(text))
