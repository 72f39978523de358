"""The engines that `recsys plan` names beyond one machine: only where the host that shares nothing holds its part."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.config.schema import TrainingConfig
from recsys.planning import memory
from recsys.planning.engines import HEADROOM, LARGEST, NO_ENGINE, Advice, Machine
from recsys.planning.night import Night
from recsys.planning.plan import Plan, make_plan, sizes_of

CONFIG = TrainingConfig.model_validate({"runtime": {"models": ["als", "bpr", "hybrid"]}})
HERE = Machine(2, 24e9)


def plan_of(users, items, interactions, *, config=CONFIG, machine=HERE) -> Plan:
    return make_plan(sizes_of(users, items, interactions), config, machine)


def advice_of(plan: Plan, part: str) -> Advice:
    return next(one for one in plan.advice if one.part == part)


def engines(plan: Plan) -> dict[str, str]:
    return {one.part: one.engine for one in plan.advice}


def test_tables_beyond_the_largest_machine_are_sharded():
    plan = plan_of(100_000_000, 1_000_000, 5_000_000_000)
    found = engines(plan)
    shared = {"als": "spark", "bpr": "torchrec", "hybrid": "torchrec", "prepare": "spark"}
    assert {part: found[part] for part in shared} == shared
    assert plan.recommended is None
    assert all(one.machines >= 2 for one in plan.advice if one.part in shared)


def test_lists_go_to_spark_when_exactness_and_index_take_too_long_but_every_host_holds_the_model():
    plan = plan_of(1_000_000_000, 1_000_000, 5_000_000_000)
    lists = advice_of(plan, "recommend-all")
    assert (lists.engine, lists.machine) == ("spark", LARGEST)
    assert "every host must hold 333.2 GB" in lists.reason


def test_where_the_driver_cannot_hold_its_own_no_engine_is_named():
    plan = plan_of(2_000_000_000, 50_000_000, 40_000_000_000)
    assert set(engines(plan).values()) == {NO_ENGINE}
    assert all(one.machines == 0 for one in plan.advice)
    for part in ("als", "prepare"):
        assert "with spark the driver must hold" in advice_of(plan, part).reason
    assert "with torchrec the first host must hold" in advice_of(plan, "bpr").reason


@settings(max_examples=60, deadline=None)
@given(users=st.integers(10**7, 2 * 10**9), items=st.integers(10**5, 5 * 10**7), per_user=st.floats(1, 60))
def test_the_host_of_every_advised_engine_holds_what_it_must_hold_alone(users, items, per_user):
    plan = plan_of(users, items, int(users * per_user))
    night = Night(plan.sizes, CONFIG)
    for one in plan.advice:
        if one.engine in ("spark", "torchrec", "dask"):
            part = "grid" if one.part.startswith("grid") else one.part
            n_bytes = night.beyond(part).host_bytes(one.machine.cores, one.machines)
            assert n_bytes * HEADROOM <= one.machine.memory_bytes


def test_a_driver_needs_the_data_version_and_factors_and_java():
    sizes = sizes_of(10**8, 10**6, 10**9)
    night = Night(sizes, CONFIG)
    data, r = memory.dataset_bytes(sizes, 50), 4 * 64 * (10**8 + 10**6)
    assert night.beyond("als").host_bytes(64, 2) > data + 2 * r + 4 * 10**9 + 2 * 2**30
    assert night.beyond("prepare").host_bytes(64, 2) > data + 2 * 2**30
    torchrec = night.beyond("bpr").host_bytes
    assert torchrec(64, 2) > data + 3.5 * r
    assert torchrec(64, 2) - torchrec(64, 4) == pytest.approx(r / 4, rel=1e-6)  # its share of the rows
    larger = TrainingConfig.model_validate({"spark": {"driver_memory": "8g"}})
    grown = Night(sizes, larger).beyond("als").host_bytes(64, 2) - night.beyond("als").host_bytes(64, 2)
    assert grown == 6 * 2**30


def test_machines_past_2_to_the_31_entries_follow_the_need():
    few = advice_of(plan_of(50_000_000, 1_000_000, 2**31), "als")
    many = advice_of(plan_of(100_000_000, 1_000_000, 9 * 10**9), "als")
    assert few.engine == many.engine == "spark"
    assert few.machine.memory_bytes < many.machine.memory_bytes
    assert few.machines * few.machine.memory_bytes < many.machines * many.machine.memory_bytes


def test_a_grid_past_2_to_the_31_entries_needs_the_native_solver():
    part = "grid of 50 ALS fits"
    native = TrainingConfig.model_validate({"als": {"solver": "native"}})
    sizes = (50_000_000, 1_000_000, 3 * 10**9)
    refused = advice_of(plan_of(*sizes), part)
    assert refused.engine == NO_ENGINE
    assert "als.solver native" in refused.reason
    assert advice_of(plan_of(*sizes, config=native), part).engine != NO_ENGINE


def test_a_configured_engine_is_named_beside_the_advised_one():
    spark = TrainingConfig.model_validate({"runtime": {"engine": "spark"}, "recommend": {"method": "hnsw"}})
    plan = plan_of(26_000, 2_244, 370_000, config=spark)
    assert {one.part: one.configured for one in plan.advice} == {
        "recommend-all": "spark, hnsw", "evaluation": None, "grid of 50 ALS fits": None, "als": "spark",
        "bpr": "local", "prepare": "spark",
    }  # fmt: skip
    assert advice_of(plan, "als").engine == "local"
    assert "configured: spark, the driver must hold 2.6 GB" in advice_of(plan, "als").reason
    assert "more than there is here" not in advice_of(plan, "als").reason
    small = plan_of(26_000, 2_244, 370_000, config=spark, machine=Machine(2, 2.5e9))
    assert "more than there is here" in advice_of(small, "als").reason
    assert not any("configured" in one.reason for one in plan_of(26_000, 2_244, 370_000).advice)
