"""Thirty nights of a shop whose popularity drifts, two of them bad: what the gates let through, and what history says.

The shop has 800 test users, who show relative differences of about 4 % (the power note of each night), so the
tolerance is 10 %: at 5 %, near what so few users can tell from chance, two of the 28 good nights would have kept
yesterday's champion.
"""

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from recsys.cf.data.prepare import prepare
from recsys.config.load import load_config
from recsys.pipeline import fitter
from recsys.pipeline.nightly import run_nightly
from recsys.registry.catalogue import Registry
from recsys.storage.local import LocalStore
from recsys.types import Factors

NIGHTS, HISTORY_DAYS = 30, 80
SHUFFLED_NIGHT, DIVERGED_NIGHT = 12, 21
N_USERS, N_ITEMS, N_TASTES = 800, 100, 5
OPENED = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = [
    *("als.preset=default", "als.factors=16", "als.iterations=8", "als.regularization=10"),
    *("bpr.preset=original", "bpr.factors=16", "bpr.epochs=15", "bpr.negative_sampling=uniform"),
    *("bpr.regularization=0.01", "promotion.tolerance=0.10"),
]


def reviews():
    """Return all reviews of the shop: every user has a taste, and the weights of items wander from day to day."""
    rng = np.random.default_rng(0)
    taste_of_user, taste_of_item = rng.integers(N_TASTES, size=N_USERS), np.arange(N_ITEMS) % N_TASTES
    weight = rng.normal(0, 0.7, N_ITEMS)
    days = []
    for day in range(HISTORY_DAYS + NIGHTS):
        weight += rng.normal(0, 0.1, N_ITEMS)
        user = rng.integers(N_USERS, size=N_USERS // 10)
        appeal = np.exp(weight) * np.where(taste_of_item == taste_of_user[user][:, None], 25.0, 1.0)
        # the highest of weight + Gumbel noise is a draw by weight
        item = (np.log(appeal) + rng.gumbel(size=appeal.shape)).argmax(axis=1)
        days.append(
            pl.DataFrame(
                {
                    "user_id": [f"u{one:05d}" for one in user],
                    "item_id": [f"i{one:03d}" for one in item],
                    "rating": rng.choice([5, 4, 2], p=[0.8, 0.15, 0.05], size=len(user)),
                    "timestamp": [
                        OPENED + timedelta(days=day, seconds=int(one))
                        for one in rng.integers(86_400, size=len(user))
                    ],
                }
            )
        )
    return pl.concat(days).sort("timestamp").unique(["user_id", "item_id"], keep="first", maintain_order=True)


def spoilt(result, how):
    """Return the fit as a bug would leave it: items under each other's ids, or numbers that are none."""
    U, V = result.factors.user_factors, result.factors.item_factors
    if how == "shuffled":
        V = np.ascontiguousarray(V[np.random.default_rng(1).permutation(len(V))])
    else:
        U = np.full_like(U, np.nan)
    return replace(result, factors=Factors(U, V))


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    """Return (results by night, registry)."""
    place = tmp_path_factory.mktemp("month")
    store, config, rows = LocalStore(place / "store"), load_config(None, SETTINGS), reviews()
    plan = {(SHUFFLED_NIGHT, "als"): "shuffled", (SHUFFLED_NIGHT, "bpr"): "shuffled"}
    plan |= {(DIVERGED_NIGHT, "als"): "diverged"}
    results = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # nothing here is about a power cut, and a disk is slow
        for model, trainer in (("als", "train_als"), ("bpr", "fit_bpr")):
            real = getattr(fitter, trainer)

            def planted(*arguments, model=model, real=real, **options):
                result, how = real(*arguments, **options), plan.get((night, model))
                return spoilt(result, how) if how else result

            patch.setattr(fitter, trainer, planted)
        for night in range(1, NIGHTS + 1):
            tonight = OPENED + timedelta(days=HISTORY_DAYS + night)
            rows.filter(pl.col("timestamp") < tonight).write_parquet(place / "reviews.parquet")
            prepare(store, place / "reviews.parquet", None, config.data, seed=1)
            results[night] = run_nightly(str(place / "store"), config)
    return results, Registry(store)


def ids(result):
    return {name: facts["model_id"] for name, facts in result["models"].items()}


def test_the_shuffled_models_are_stopped_and_the_champion_stays(month):
    results, _ = month
    before, bad = results[SHUFFLED_NIGHT - 1]["decision"], results[SHUFFLED_NIGHT]["decision"]
    assert not bad["promote"]
    assert bad["champion"] == before["champion"]
    for model_id in ids(results[SHUFFLED_NIGHT]).values():
        failed = {gate["name"] for gate in bad["gates"][model_id] if not gate["passed"]}
        assert {"improvement", "not_worse_than_champion"} <= failed


def test_the_diverged_model_is_stopped_and_its_healthy_sister_promoted(month):
    results, _ = month
    bad = results[DIVERGED_NIGHT]
    als, bpr = ids(bad)["als"], ids(bad)["bpr"]
    assert bad["decision"]["champion"] == bpr
    failed = {gate["name"] for gate in bad["decision"]["gates"][als] if not gate["passed"]}
    assert "finite_factors" in failed
    assert bad["models"]["als"]["metrics"] == {}
    assert bad["models"]["bpr"]["metrics"]["recall@10"] > 0.5


def test_no_good_model_is_stopped(month):
    results, _ = month
    for night, result in results.items():
        if night == SHUFFLED_NIGHT:
            continue
        assert result["decision"]["champion"] == ids(result)["bpr"], night
        versus = (result["champion_before"] or {"versus": {}})["versus"]
        for name, model_id in ids(result).items():
            failed = [gate["name"] for gate in result["decision"]["gates"][model_id] if not gate["passed"]]
            if failed and (night, name) != (DIVERGED_NIGHT, "als"):
                # ALS, not tuned here, is truly worse than the BPR that serves, beyond what is tolerated
                assert failed == ["not_worse_than_champion"]
                assert versus[name]["relative"] < -0.10


def test_the_history_tells_who_came_who_went_and_why(month):
    results, registry = month
    events = registry.history()
    promoted = [event.arguments["model_id"] for event in events if event.action == "promote"]
    assert promoted == [ids(results[night])["bpr"] for night in results if night != SHUFFLED_NIGHT]
    archived = {event.arguments["model_id"]: event.reasons for event in events if event.action == "archive"}
    for name in ("als", "bpr"):
        reasons = archived[ids(results[SHUFFLED_NIGHT])[name]]
        assert any("against popularity" in reason for reason in reasons)
    failed = {
        event.arguments["model_id"]: event.reasons
        for event in events
        if event.action == "register" and event.arguments["status"] == "failed"
    }
    assert failed == {ids(results[DIVERGED_NIGHT])["als"]: ("the factors are no usable numbers",)}
    assert all(event.reasons for event in events if event.action in ("promote", "archive"))


def test_a_decision_holds_every_number_it_rests_on(month):
    results, _ = month
    decision = results[NIGHTS]["decision"]
    bpr = next(one for one in decision["candidates"] if one["model_type"] == "bpr")
    assert bpr["metrics"] == results[NIGHTS]["models"]["bpr"]["metrics"]
    versus, common = bpr["versus_champion"], bpr["versus_champion_common"]
    # the champion is a day old: it knows nearly everyone, and never saw what tonight is tested on
    before = results[NIGHTS]["champion_before"]
    assert before["common_users"] == common["n_users"] <= versus["n_users"] == before["n_users"]
    assert before["test_pairs_in_its_training"] == 0
    assert 0.02 < versus["smallest_relative"] < 0.08
    assert decision["config"]["tolerance"] == 0.10
