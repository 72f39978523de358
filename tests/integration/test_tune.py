"""`recsys tune` on a small shop: the whole study, its files, adoption, and a kill in the middle."""

import csv
import io
import json
from contextlib import redirect_stderr, redirect_stdout

import polars as pl
import pytest
import yaml

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.prepare import prepare
from recsys.cf.tuning.space import Space
from recsys.cf.tuning.spaces import load_space, space_names
from recsys.cli.main import run as recsys
from recsys.config.load import load_config
from recsys.config.schema import DataConfig
from recsys.errors import ConfigError
from recsys.pipeline.study import load_study, open_study
from recsys.pipeline.tune import run_study
from recsys.pipeline.tune_finish import study_summaries
from recsys.registry.catalogue import Registry
from recsys.registry.serving import load_model
from recsys.storage.local import LocalStore

SPACE = {
    "model": "als",
    "stages": [
        {
            "name": "coarse",
            "fixed": {"als.iterations": 8},
            "search": {"als.factors": [8, 16], "als.regularization": [1.0, 30.0]},
        },
        {"name": "fine", "refine": {"als.regularization": "midpoints"}},
    ],
}
CURRENT = ("als.preset=default", "als.factors=4", "als.regularization=3000", "als.iterations=3")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Return a store with one small data version."""
    place = tmp_path_factory.mktemp("tune")
    write_demo_shop(place / "raw", size="small", seed=6)
    store = LocalStore(place / "store")
    prepare(store, place / "raw" / "reviews.csv", place / "raw" / "products.csv", DataConfig(), seed=1)
    return store


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder that is the current one, with the space in space.yaml."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "space.yaml").write_text(yaml.safe_dump(SPACE))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def call(*arguments):
    """Return exit code, standard output and standard error of a command."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as left:
        recsys([str(one) for one in arguments])
    return left.value.code, out.getvalue(), err.getvalue()


def tuned(store):
    settings = [word for one in CURRENT for word in ("--set", one)]
    code, out, err = call("tune", "--space", "space.yaml", "--store", store.uri, "--json", *settings)
    assert code == 0, err
    return json.loads(out)["studies"][0]


@pytest.fixture(scope="module")
def study(shop, place):
    return tuned(shop)


def test_a_study_searches_in_stages_compares_and_looks_at_test_once(shop, place, study):
    assert [stage["n_trials"] for stage in study["stages"]] == [4, 2]
    best = max(study["trials"], key=lambda one: one["value"])
    assert study["winner"]["trial"] == best["number"]
    # measured again, user by user, the winner has the objective of its trial
    assert study["winner"]["metrics"]["ndcg@10"] == pytest.approx(best["value"], abs=1e-9)
    found = study["comparison"]["ndcg@10"]
    assert found["difference"] == pytest.approx(
        study["winner"]["metrics"]["ndcg@10"] - study["current"]["metrics"]["ndcg@10"]
    )
    assert found["low"] > 0, "four factors under that regularization learn nothing"
    assert study["verdict"].startswith("Better")
    final = study["final"]
    assert final["trained_on"] == ["train", "validation"]
    assert final["steps"]["winner"] == study["winner"]["best_iteration"]
    assert set(final["metrics"]) == {"winner", "current", "popularity"}
    assert sum(study["importance"].values()) > 0
    for name in ("final.json", "trials.parquet", "proposal.yaml", "report.html", "result.json"):
        assert shop.head(f"tuning/studies/{study['study_id']}/{name}") is not None, name
    again = tuned(shop)
    assert again.pop("reused") is True
    assert again == study


def test_every_trial_is_a_row_of_file_and_table(shop, place, study):
    file = place / "experiments" / "cf_experiments.csv"
    every = list(csv.DictReader(file.open(newline="")))
    rows = [one for one in every if one["study_id"] == study["study_id"]]
    assert [int(one["trial"]) for one in sorted(rows, key=lambda one: int(one["trial"]))] == list(range(6))
    by_number = {one["number"]: one for one in study["trials"]}
    for one in rows:
        trial = by_number[int(one["trial"])]
        assert float(one["ndcg@10"]) == trial["metrics"]["ndcg@10"]
        assert float(one["reg"]) == trial["settings"]["als.regularization"]
        assert (one["study_id"], one["model_type"], one["seed"]) == (study["study_id"], "als", "42")
        assert one["data_version"] == study["data_version"]
    stored = shop.get(f"tuning/studies/{study['study_id']}/trials.parquet").data
    table = pl.read_parquet(io.BytesIO(stored))
    assert sorted(table["ndcg@10"].to_list()) == sorted(float(one["ndcg@10"]) for one in rows)


def test_the_proposal_is_a_configuration_and_adopting_it_is_recorded(shop, place, study):
    text = shop.get(f"tuning/studies/{study['study_id']}/proposal.yaml").data.decode()
    assert study["study_id"] in text
    (place / "proposal.yaml").write_text(text)
    proposed = load_config(place / "proposal.yaml").als
    winner = study["winner"]["settings"]
    assert proposed.factors == winner["als.factors"]
    assert proposed.regularization == winner["als.regularization"]
    (place / "mine.yaml").write_text(
        "# hand-written\nbpr:\n  epochs: 7\nals:\n  preset: auto\n  patience: 9\n"
    )
    listed = call("tune", "list", "--store", shop.uri, "--json")[1]
    assert not any(one["adopted"] for one in json.loads(listed)["studies"])
    code, out, err = call(
        "tune",
        "adopt",
        study["study_id"][:14],
        "--config",
        "mine.yaml",
        "--reason",
        "weekly",
        *place_of(shop),
    )
    assert code == 0, err
    adopted = load_config(place / "mine.yaml")
    assert (adopted.bpr.epochs, adopted.als.patience) == (7, 9), "what the file sets besides stays"
    assert (adopted.als.factors, adopted.als.iterations) == (winner["als.factors"], 8)
    assert adopted.als.preset == "default", "a search each night would undo it"
    assert (place / "mine.yaml.before-adoption").read_text().startswith("# hand-written")
    document = json.loads(out)
    assert document["reason"] == "weekly"
    key = next(one.key for one in shop.list(f"tuning/studies/{study['study_id']}/adoptions/"))
    assert json.loads(shop.get(key).data) == document
    assert next(one for one in study_summaries(shop) if one["study_id"] == study["study_id"])["adopted"]


def test_a_winner_that_is_worse_is_said_so_and_not_adopted_by_accident(shop, place):
    better = ("als.preset=default", "als.factors=16", "als.regularization=30", "als.iterations=8")
    bad = {"model": "als", "stages": [{"name": "bad", "search": {"als.regularization": [3000.0, 9000.0]}}]}
    result = run_study(
        open_study(shop.uri, load_config(None, better), Space.model_validate({"name": "b", **bad}))
    )
    assert result["comparison"]["ndcg@10"]["high"] < 0
    assert result["verdict"].startswith("Worse")
    code, _, err = call("tune", "adopt", result["study_id"], "--config", "worse.yaml", *place_of(shop))
    assert code == 2
    assert "--force" in err
    assert not (place / "worse.yaml").exists()
    code, _, err = call(
        "tune", "adopt", result["study_id"], "--config", "worse.yaml", "--force", *place_of(shop)
    )
    assert code == 0, err
    assert (
        load_config(place / "worse.yaml").als.regularization
        == result["winner"]["settings"]["als.regularization"]
    )


def place_of(store):
    return "--store", store.uri, "--json"


def test_bad_spaces_and_unknown_studies_are_refused_before_anything_is_trained(shop, place):
    bad = yaml.safe_load((place / "space.yaml").read_text())
    bad["stages"][0]["search"]["als.factor"] = [8]
    (place / "bad.yaml").write_text(yaml.safe_dump(bad))
    code, _, err = call("tune", "--space", "bad.yaml", *place_of(shop))
    assert code == 2
    assert "als.factor: unknown key, did you mean als.factors?" in err
    code, _, err = call("tune", "show", "st_nothing", *place_of(shop))
    assert code == 2
    assert "st_nothing" in err
    code, _, err = call("tune", "--space", "als-orignal", *place_of(shop))
    assert code == 2
    space, config = Space.model_validate({"name": "s", **SPACE}), load_config(None, ("tuning.runner=dask",))
    with pytest.raises(ConfigError, match=r"flows\.tune_cf"):
        run_study(open_study(shop.uri, config, space))


@pytest.mark.parametrize("name", space_names())
def test_every_space_of_the_product_fits_the_schema(shop, name):
    study = open_study(shop.uri, load_config(None), load_space(name))
    assert load_study(shop, study.study_id) == study


def test_pruned_trials_end_early_and_cannot_win(shop, place):
    pytest.importorskip("optuna")
    space = {
        "name": "pruned",
        "model": "bpr",
        "stages": [
            {
                "name": "grid",
                "fixed": {"bpr.epochs": 60, "bpr.patience": 60, "bpr.factors": 8, "bpr.validate_every": 5},
                "search": {"bpr.learning_rate": [0.1, 0.08, 0.06, 0.05, 0.04, 0.03, 1e-5, 2e-5]},
            }
        ],
    }
    config = load_config(None, ("tuning.pruner=median", "tuning.batch=6", "bpr.preset=original"))
    result = run_study(open_study(shop.uri, config, Space.model_validate(space)))
    states = [one["state"] for one in result["trials"]]
    assert states[:6] == ["complete"] * 6, "a first batch has nobody to be compared with"
    assert states[6:] == ["pruned"] * 2
    assert all(one["iterations"] < 60 for one in result["trials"][6:])
    assert result["winner"]["trial"] < 6
    assert result["stages"][0]["states"] == {"complete": 6, "pruned": 2}


def test_a_refit_on_all_data_is_registered_as_such_and_serves(shop, place):
    config = load_config(None, (*CURRENT, "tuning.refit_all=true", "runtime.seed=3"))
    result = run_study(open_study(shop.uri, config, Space.model_validate({"name": "r", **SPACE})))
    model_id = result["refit"]["model_id"]
    entry = Registry(shop).show(model_id)
    assert entry.metrics == result["final"]["metrics"]["winner"], "the registry shows the twin's numbers"
    assert entry.status == "candidate"
    model = load_model(shop, model_id)
    assert len(model.recommend(next(iter(model.user_rows)), k=5)) == 5
    metadata = json.loads(shop.get(f"registry/models/{model_id.replace('_', '/', 1)}/als_metadata.json").data)
    assert metadata["refit"]["trained_on"] == ["train", "validation", "test"]


def test_an_exported_study_is_read_by_optuna(shop, place, study):
    optuna = pytest.importorskip("optuna")
    code, out, err = call(
        "tune", "export", study["study_id"], "--store", shop.uri, "--storage", "sqlite:///study.db", "--json"
    )
    assert code == 0, err
    assert json.loads(out) == {"study_id": study["study_id"], "storage": "sqlite:///study.db"}
    loaded = optuna.load_study(study_name=study["study_id"], storage="sqlite:///study.db")
    assert loaded.best_value == pytest.approx(study["winner"]["metrics"]["ndcg@10"])
    assert loaded.best_params == study["winner"]["settings"]
