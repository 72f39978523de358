"""The proposed configuration: what the rules say, that the product accepts it, and the command around it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.cf.tuning.recommend import Shop, as_yaml, needed_bytes, recommend_settings
from recsys.cli.main import run
from recsys.config.load import load_config
from recsys.errors import ConfigError

REAL = Shop(28_433, 1_200, 33_000, 5.49, 0.55, 0.04, 4_000, 4_131)


def values(shop):
    return {one.path: one.value for one in recommend_settings(shop)}


def test_a_small_sparse_shop_is_left_to_the_trials():
    chosen = values(REAL)
    assert (chosen["als.preset"], chosen["bpr.preset"]) == ("auto", "auto")
    assert "als.factors" not in chosen
    assert chosen["als.preference"] == "threshold"
    assert chosen["promotion.tolerance"] == pytest.approx(0.10, abs=0.005)


def test_too_few_validation_users_mean_fixed_settings():
    chosen = values(Shop(300, 80, 400, 5.5, 0.5, 0.0, 10, 20))
    assert (chosen["als.preset"], chosen["als.factors"]) == ("sparse_data", 32)
    assert chosen["als.regularization"] == 50.0
    assert chosen["als.alpha"] == 10.0
    assert chosen["als.preference"] == "binary"
    assert (chosen["bpr.preset"], chosen["bpr.regularization"]) == ("original", 0.03)  # auto would search on
    assert chosen["promotion.tolerance"] == 0.5


def test_a_large_shop_gets_more_factors_and_a_warm_start():
    chosen = values(Shop(2_600_000, 220_000, 37_000_000))
    assert (chosen["als.factors"], chosen["bpr.warm_start"]) == (128, True)


def test_memory_is_that_of_the_largest_model_that_trials_may_choose():
    shop = Shop(1_000_000, 10_000, 2_000_000)
    settings = recommend_settings(shop)
    most = 128 * (shop.users + shop.items) * 4
    assert "als.factors" not in {one.path for one in settings}
    assert needed_bytes(shop, settings) > 4 * most  # with 64 factors ALS and BPR would take 3.2 times that


def test_a_typical_pair_weighs_ten_whatever_the_stars():
    for mean in (2.0, 3.5, 5.5):
        alpha = values(Shop(300, 80, 400, mean, 0.5, 0.1, 10))["als.alpha"]
        assert 1 + alpha * (mean - 1) / 5 == pytest.approx(10, rel=0.05)


@given(
    st.integers(1, 10**7),
    st.integers(1, 10**6),
    st.floats(0, 1),
    st.floats(1, 6),
    st.floats(0, 2.5),
    st.integers(0, 10**5),
)
def test_every_proposal_is_accepted_as_a_configuration(
    tmp_path_factory, users, items, density, mean, std, held
):
    shop = Shop(users, items, max(1, int(users * items * density)), mean, std, 0.1, held, held)
    settings = recommend_settings(shop)
    path = tmp_path_factory.mktemp("config") / "night.yaml"
    path.write_text(as_yaml(shop, settings))
    config = load_config(path)
    for one in settings:
        section, field = one.path.split(".")
        assert getattr(getattr(config, section), field) == one.value
        assert one.reason
    assert needed_bytes(shop, settings) > 0


@pytest.mark.parametrize("shop", [Shop(0, 3, 1), Shop(2, 2, 5)])
def test_an_impossible_shop_is_refused(shop):
    with pytest.raises(ConfigError):
        recommend_settings(shop)


def run_command(capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        run(["recommend-config", *arguments])
    printed = capsys.readouterr()
    return left.value.code or 0, printed.out, printed.err


def test_the_command_prints_yaml_or_json(capsys):
    code, out, _ = run_command(capsys, "--users", "28433", "--items", "1200", "--nnz", "33000")
    assert code == 0
    assert "als:\n  # trials on validation" in out
    code, out, _ = run_command(capsys, "--users", "28433", "--items", "1200", "--nnz", "33000", "--json")
    assert {one["path"] for one in json.loads(out)["settings"]} >= {"als.preset", "als.solver"}


def test_half_a_size_is_refused(capsys):
    code, _, error = run_command(capsys, "--users", "10")
    assert code == 2
    assert "--users, --items and --nnz together" in error
