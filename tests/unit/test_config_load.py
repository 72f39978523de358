"""Loading a configuration: overrides, one clear line for each mistake, fingerprint, presets."""

import json
from pathlib import Path

import pytest

import recsys
from recsys.config.load import config_to_yaml, fingerprint, load_config, schema_json
from recsys.config.presets import ALS_PRESETS, BPR_PRESETS, resolve_presets, unset_fields
from recsys.config.problems import known_keys
from recsys.config.schema import AlsConfig, BprConfig, TrainingConfig
from recsys.errors import ConfigError

NIGHTLY = Path(__file__).parents[2] / "deployments" / "training_config.yaml"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "night.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(path: Path | None, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return str(caught.value).splitlines()


def test_no_file_gives_the_defaults_with_nothing_set() -> None:
    config = load_config(None)
    assert config == TrainingConfig()
    assert unset_fields(config.als) == set(AlsConfig.model_fields) - {"preset"}


def test_file_and_overrides_set_just_what_they_name(tmp_path: Path) -> None:
    path = written(tmp_path, "als:\n  factors: 32\nbpr:\n  epochs: 10\n  regularization: 1e-3\n")
    config = load_config(path, ["bpr.epochs=30", "evaluation.k_values=[5, 10]", "runtime.models=[bpr]"])
    assert config.als.factors == 32
    assert (config.bpr.epochs, config.bpr.regularization) == (30, 0.001)
    assert config.evaluation.k_values == (5, 10)
    assert config.runtime.models == ("bpr",)
    assert config.als.model_fields_set == {"factors"}
    assert config.bpr.model_fields_set == {"epochs", "regularization"}


def test_last_override_wins() -> None:
    assert load_config(None, ["als.factors=8", "als.factors=9"]).als.factors == 9


@pytest.mark.parametrize("text", ["", "als:\n", "als:\n  # factors: 3\nbpr:\n"])
def test_empty_sections_mean_defaults(tmp_path: Path, text: str) -> None:
    assert load_config(written(tmp_path, text)) == TrainingConfig()


@pytest.mark.parametrize(("word", "meaning"), [("true", "true"), ("no", "false"), ("auto", "auto")])
def test_yaml_switches_are_the_words_of_use_gpu(word: str, meaning: str) -> None:
    assert load_config(None, [f"als.use_gpu={word}"]).als.use_gpu == meaning


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("bpr.epoch=3", "bpr.epoch: unknown key, did you mean bpr.epochs?"),
        ("als.epochs=3", "als.epochs: unknown key, did you mean bpr.epochs or hybrid.epochs?"),
        ("factors=3", "factors: unknown key, did you mean als.factors or bpr.factors or hybrid.factors?"),
        ("evalution.k_values=[1]", "evalution: unknown key, did you mean evaluation?"),
        ("data.columns.user=x", "data.columns.user: unknown key, did you mean data.columns.user_id?"),
        (
            "registry.zzz=1",
            "registry.zzz: unknown key, known here: "
            "keep_versions, grace_hours, single_writer, keep_data_versions",
        ),
        ("als.factors=0", "als.factors: 0 is too small, needs >= 1"),
        ("als.alpha=0", "als.alpha: 0 is too small, needs > 0"),
        ("bpr.hard_negative_ratio=1.5", "bpr.hard_negative_ratio: 1.5 is too large, needs <= 1"),
        ("promotion.tolerance=1", "promotion.tolerance: 1 is too large, needs < 1"),
        ("als.factors=many", "als.factors: 'many' is not a whole number"),
        ("als.iterations=1.5", "als.iterations: 1.5 is not a whole number"),
        ("als.alpha=.inf", "als.alpha: inf is not a finite number"),
        ("als.normalize=maybe", "als.normalize: 'maybe' is not true or false"),
        ("als=3", "als: 3 is not a section with keys of its own"),
        ("runtime.models=als", "runtime.models: 'als' is not a list, write [a, b]"),
        ("runtime.models=[]", "runtime.models: [] is too short, needs 1 or more entries"),
        ("runtime.models=[xyz]", "runtime.models[0]: 'xyz' is not allowed, choose 'als', 'bpr' or 'hybrid'"),
        (
            "bpr.learning_rate_schedule=stepp",
            "bpr.learning_rate_schedule: 'stepp' is not allowed, "
            "choose 'step', 'constant' or 'cosine'; did you mean step?",
        ),
        (
            "promotion.metric=speed",
            "promotion.metric: 'speed' does not look like recall|ndcg|precision|hit_rate|mrr|map@10",
        ),
        (
            "evaluation.k_values=[20, 10]",
            "evaluation: k_values must be positive, distinct and ascending, such as [10, 20]",
        ),
        ("promotion.metric=recall@50", "promotion.metric needs cutoff 50, add it to evaluation.k_values"),
    ],
)
def test_one_line_says_key_given_and_allowed(override: str, sentence: str) -> None:
    assert mistakes(None, override) == [f"--set: {sentence}"]


def test_all_problems_are_told_with_their_source(tmp_path: Path) -> None:
    path = written(tmp_path, "als:\n  factors: 0\nbpr:\n  epoch: 3\n")
    assert mistakes(path, "bpr.epochs=0") == [
        f"{path}: als.factors: 0 is too small, needs >= 1",
        "--set: bpr.epochs: 0 is too small, needs >= 1",
        f"{path}: bpr.epoch: unknown key, did you mean bpr.epochs?",
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("als:\n  factors: [1\nbpr: 2", "line 3: not valid YAML"),
        ("als:\n  factors: 1\n  factors: 2", "line 3: not valid YAML: key 'factors' is written twice"),
        ("- als\n- bpr", "holds a list, needs sections such as 'als:' with keys below them"),
        ("als: \x07", "not valid YAML"),
        ("!!python/object/apply:os.system ['true']", "line 1: not valid YAML"),
    ],
)
def test_broken_documents_name_file_and_line(tmp_path: Path, text: str, sentence: str) -> None:
    path = written(tmp_path, text)
    [line] = mistakes(path)
    assert line.startswith(f"{path}: {sentence}")


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    assert "no such file" in mistakes(tmp_path / "absent.yaml")[0]
    assert "cannot be read" in mistakes(tmp_path)[0]
    (tmp_path / "latin.yaml").write_bytes(b"als: \xe9")
    assert "UTF-8" in mistakes(tmp_path / "latin.yaml")[0]


@pytest.mark.parametrize("override", ["als", "=3", "als..factors=3", ".=1"])
def test_overrides_need_a_key_and_a_value(override: str) -> None:
    assert mistakes(None, override) == [f"--set {override}: write key=value, such as bpr.epochs=30"]


@pytest.mark.parametrize("section", ["als", "bpr"])
def test_every_preset_of_the_schema_has_a_table_but_auto(section: str) -> None:
    tables = {"als": ALS_PRESETS, "bpr": BPR_PRESETS}[section]
    config = {"als": AlsConfig, "bpr": BprConfig}[section]
    names = config.model_json_schema()["properties"]["preset"]["enum"]
    assert set(names) == set(tables) | {"auto"}


def test_preset_fills_only_what_was_left_open() -> None:
    config = resolve_presets(load_config(None, ["als.preset=high_quality", "als.factors=16"]))
    assert (config.als.factors, config.als.regularization, config.als.iterations) == (16, 0.05, 30)
    assert resolve_presets(config) == config


def test_auto_leaves_the_search_free() -> None:
    config = resolve_presets(load_config(None, ["als.alpha=3"]))
    assert "alpha" not in unset_fields(config.als)
    assert {"factors", "regularization"} <= unset_fields(config.als)
    assert "preset" not in unset_fields(config.als)


@pytest.mark.parametrize(
    "override",
    [
        "runtime.threads=3",
        "runtime.retries=0",
        "runtime.timeout_minutes=1",
        "registry.keep_versions=2",
        "data.max_users=5",
    ],
)
def test_fingerprint_ignores_what_changes_no_result(override: str) -> None:
    assert fingerprint(load_config(None, [override])) == fingerprint(TrainingConfig())


@pytest.mark.parametrize(
    "override",
    [
        "runtime.seed=1",
        "runtime.models=[als]",
        "als.alpha=11",
        "bpr.blocks=4",
        "promotion.tolerance=0.07",
        "als.factors=64",  # the default, but no longer free for the search
        "bpr.preset=original",
    ],
)
def test_fingerprint_sees_what_changes_results(override: str) -> None:
    assert fingerprint(load_config(None, [override])) != fingerprint(TrainingConfig())


def test_fingerprint_takes_presets_by_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    named = fingerprint(load_config(None, ["als.preset=sparse_data"]))
    spelled = fingerprint(load_config(None, ["als.preset=default", "als.regularization=0.1"]))
    assert named == spelled
    assert len(named) == 64
    monkeypatch.setattr(recsys, "__version__", "9.9.9")
    assert fingerprint(load_config(None, ["als.preset=sparse_data"])) != named


def test_yaml_shows_defaults_as_comments_and_loads_back(tmp_path: Path) -> None:
    config = load_config(None, ["bpr.epochs=30", "runtime.models=[bpr]", "data.columns.rating=null"])
    text = config_to_yaml(config)
    assert "\n  epochs: 30\n" in text
    assert "\n  # learning_rate: 0.05\n" in text
    again = load_config(written(tmp_path, text))
    assert again == config
    assert fingerprint(again) == fingerprint(config)
    assert again.data.columns.model_fields_set == {"rating"}


def test_uncommented_yaml_loads_to_the_defaults(tmp_path: Path) -> None:
    text = config_to_yaml(TrainingConfig()).replace("# ", "")
    assert load_config(written(tmp_path, text)) == TrainingConfig()


def test_schema_describes_every_key() -> None:
    schema = json.loads(schema_json())
    definitions = schema["$defs"] | {"top": schema}
    properties = {name for model in definitions.values() for name in model.get("properties", {})}
    assert {key.rpartition(".")[2] for key in known_keys(TrainingConfig)} == properties


def test_nightly_configuration_loads_and_leaves_the_search_free() -> None:
    config = load_config(NIGHTLY)
    assert (config.als.preset, config.bpr.preset) == ("auto", "auto")
    assert {"factors", "regularization", "alpha"} <= unset_fields(config.als)
    assert {"negative_sampling", "regularization", "learning_rate"} <= unset_fields(config.bpr)
