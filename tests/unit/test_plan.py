"""The laws of `recsys plan`: more of anything needs no less, and each engine begins where one machine ends."""

import json
import math
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.cli.main import run
from recsys.config.schema import TrainingConfig
from recsys.errors import ConfigError
from recsys.planning import memory, times
from recsys.planning.engines import MACHINES, Machine, duration
from recsys.planning.plan import Plan, make_plan, sizes_of, with_factors
from recsys.planning.sizes import Sizes

CONFIG = TrainingConfig.model_validate({"runtime": {"models": ["als", "bpr", "hybrid"]}})
NATIVE = TrainingConfig.model_validate({"als": {"solver": "native"}, "recommend": {"method": "hnsw"}})
HERE = Machine(2, 24e9)
MOST_INDICES = 2**31 - 1  # user_idx and item_idx are int32


def plan_of(
    users=26_000, items=2_244, interactions=370_000, *, config=CONFIG, machine=HERE, hours=8.0
) -> Plan:
    return make_plan(sizes_of(users, items, interactions), config, machine, hours=hours)


def engines(plan: Plan) -> dict[str, str]:
    return {one.part: one.engine for one in plan.advice}


@settings(max_examples=150, deadline=None)
@given(
    users=st.integers(1_000, 10**9),
    items=st.integers(100, 10**8),
    per_user=st.floats(0.5, 90),
    factors=st.integers(1, 2048),
    grown=st.sampled_from(["users", "items", "interactions", "factors"]),
    by=st.floats(1.001, 20),
    native=st.booleans(),
)
def test_more_of_anything_never_needs_less(users, items, per_user, factors, grown, by, native):
    size = {"users": users, "items": items, "interactions": int(users * per_user), "factors": factors}
    larger = {**size, grown: math.ceil(size[grown] * by)}
    if larger["interactions"] > larger["users"] * larger["items"] or larger["factors"] > 4096:
        return
    if larger["users"] > MOST_INDICES:
        return
    config = NATIVE if native else CONFIG
    small, large = (
        plan_of(one["users"], one["items"], one["interactions"], config=with_factors(config, one["factors"]))
        for one in (size, larger)
    )
    for before, after in zip(small.stages, large.stages, strict=True):
        assert after.memory_bytes >= before.memory_bytes, (grown, before.name)
        assert after.seconds >= before.seconds * (1 - 1e-12), (grown, before.name)
        assert before.fits or not after.fits
    assert large.night_bytes >= small.night_bytes
    assert large.disk_bytes >= small.disk_bytes


@settings(max_examples=60, deadline=None)
@given(cores=st.integers(1, 500), more=st.integers(1, 500), users=st.integers(10_000, 10**8))
def test_more_cores_are_never_slower(cores, more, users):
    few, many = (plan_of(users, 50_000, 12 * users, machine=Machine(n, 1e12)) for n in (cores, cores + more))
    for before, after in zip(few.stages, many.stages, strict=True):
        assert after.seconds <= before.seconds
        assert after.memory_bytes >= before.memory_bytes  # tiles of every thread


def test_positions_are_64_bits_wide_from_exactly_2_to_the_31_on():
    below, at = (plan_of(200_000_000, 1_000_000, 2**31 - 1 + more) for more in (0, 1))
    assert (below.index_width, at.index_width) == ("int32", "int64")
    assert engines(at)["als"] == "spark"
    assert "64-bit" in next(one.reason for one in at.advice if one.part == "als")
    assert "64-bit" not in next(one.reason for one in below.advice if one.part == "als")
    native = plan_of(100_000_000, 1_000_000, 2**31, config=NATIVE)
    assert engines(native)["als"] == "local"
    narrow, wide = (
        memory.dataset_bytes(Sizes(10**8, 10**6, 2**31 - 1 + more, 10**9, 0), 50) for more in (0, 1)
    )
    # both matrices: 4 bytes more for each entry and each pointer
    assert wide - narrow == pytest.approx(4 * (2**31 + 10**9 + 2 * 10**8), rel=1e-6)


def test_a_small_shop_needs_nothing_but_this_machine():
    plan = plan_of()
    assert all(stage.fits for stage in plan.stages)
    assert set(engines(plan).values()) == {"local", "local, exact"}
    assert plan.recommended == MACHINES[0]


def test_what_outgrows_one_machine_first_is_named_first():
    assert [one.part for one in plan_of().advice] == [
        "recommend-all", "evaluation", "grid of 50 ALS fits", "als", "bpr", "hybrid", "prepare",
    ]  # fmt: skip


def test_lists_of_all_users_leave_exactness_before_training_leaves_one_machine():
    found = engines(plan_of(100_000_000, 10_000_000, 1_900_000_000, config=TrainingConfig()))
    assert found["recommend-all"] == "local, hnsw"
    assert found["als"] == "local"


def test_an_evaluation_of_all_users_that_takes_too_long_is_sampled():
    plan = plan_of(20_000_000, 1_000_000, 200_000_000, machine=Machine(2, 256e9), config=TrainingConfig())
    assert engines(plan)["evaluation"] == "local, sampled"
    assert "evaluation.max_users" in next(one.reason for one in plan.advice if one.part == "evaluation")
    sampled = TrainingConfig.model_validate({"evaluation": {"max_users": 100_000}})
    again = plan_of(20_000_000, 1_000_000, 200_000_000, machine=Machine(2, 256e9), config=sampled)
    assert engines(again)["evaluation"] == "local"


def test_too_little_memory_asks_for_a_larger_machine_and_says_so():
    plan = plan_of(2_600_000, 224_400, 30_000_000, machine=Machine(2, 4e9), config=TrainingConfig())
    bpr = next(one for one in plan.advice if one.part == "bpr")
    assert bpr.engine == "local"
    assert bpr.machine.memory_bytes > 4e9
    assert "memory is short here" in bpr.reason
    assert not {stage.name: stage.fits for stage in plan.stages}["bpr"]


def test_too_little_time_asks_for_more_cores_and_says_so():
    plan = plan_of(
        2_600_000, 224_400, 30_000_000, machine=Machine(1, 64e9), hours=0.5, config=TrainingConfig()
    )
    grid = next(one for one in plan.advice if one.part.startswith("grid"))
    assert grid.machine.cores > 2 or grid.engine == "dask"
    assert plan.recommended is None or plan.recommended.cores > 2


def test_an_advised_machine_does_what_it_is_advised_for():
    limit = 8 * 3600
    for users in (10**5, 10**6, 10**7, 10**8):
        plan = plan_of(users, users // 10, 15 * users, config=TrainingConfig())
        if plan.recommended is not None:
            again = plan_of(users, users // 10, 15 * users, config=TrainingConfig(), machine=plan.recommended)
            assert again.night_seconds <= limit
            assert plan.recommended.holds(again.night_bytes)


def test_the_work_of_all_users_and_all_items_grows_with_their_product():
    ten = plan_of(260_000, 22_440, 3_700_000, config=TrainingConfig())
    hundred = plan_of(2_600_000, 224_400, 37_000_000, config=TrainingConfig())
    by_name = [{one.name: one.seconds for one in plan.stages} for plan in (ten, hundred)]
    growth = {name: by_name[1][name] / by_name[0][name] for name in by_name[0]}
    assert growth["evaluation"] == pytest.approx(100)
    assert 50 < growth["recommend-all"] < 100  # writing the lists grows with the users alone
    for name in ("prepare", "load", "publish"):
        assert growth[name] == pytest.approx(10, rel=0.01)
    for name in ("als", "bpr"):  # looks at validation are bounded
        assert growth[name] <= 20


def test_steps_of_a_fit_are_proportional_to_what_they_read():
    sizes = Sizes(10**6, 10**5, 2 * 10**7, 16 * 10**6, 2 * 10**6)
    double = Sizes(2 * 10**6, 2 * 10**5, 4 * 10**7, 32 * 10**6, 4 * 10**6)
    for config in (CONFIG.als, NATIVE.als):
        ratio = times.als_iteration_seconds(double, config, 2) / times.als_iteration_seconds(sizes, config, 2)
        assert ratio == pytest.approx(2)
    epochs = [times.bpr_epoch_seconds(one, CONFIG.bpr, 2) for one in (sizes, double)]
    assert epochs[1] == pytest.approx(2 * epochs[0])


def test_durations_are_said_as_people_say_them():
    told = [duration(seconds) for seconds in (0, 1.25, 119, 120, 7200, 200_000)]
    assert told == ["< 0.1 s", "1.2 s", "119.0 s", "2.0 min", "2.0 h", "2.3 d"]


def test_indices_are_32_bits_wide_so_more_users_or_items_are_refused():
    assert sizes_of(MOST_INDICES, 10, 100).users == sizes_of(10, MOST_INDICES, 100).items == MOST_INDICES
    for size, named in (((MOST_INDICES + 1, 10, 100), "--users"), ((10, MOST_INDICES + 1, 100), "--items")):
        with pytest.raises(ConfigError, match=rf"{named} 2,147,483,648: indices are int32"):
            sizes_of(*size)


@pytest.mark.parametrize("size", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (10, 10, 101), (-5, 1, 1)])
def test_impossible_shops_are_refused(size):
    with pytest.raises(ConfigError, match="--"):
        sizes_of(*size)


def command(capsys, *options):
    with pytest.raises(SystemExit) as done:
        run(["plan", *map(str, options)])
    return done.value.code, capsys.readouterr()


SHOP = ("--users", 1000, "--items", 100, "--interactions", 5000)


def test_the_command_prints_a_document(capsys):
    code, printed = command(capsys, *SHOP, "--factors", 32, "--cores", 8, "--memory-gb", 16, "--json")
    document = json.loads(printed.out)
    assert code == 0
    assert document["machine"] == {"cores": 8, "memory_bytes": 16e9}
    assert document["factors"] == 32
    assert {one["name"] for one in document["stages"]} >= {"prepare", "als", "bpr", "recommend-all"}
    assert document["rates"]["command"] == "make bench-scale"


def test_the_command_follows_the_configuration(capsys):
    _, printed = command(capsys, *SHOP, "--set", "runtime.models=[bpr]", "--set", "bpr.factors=8", "--json")
    document = json.loads(printed.out)
    names = {one["name"] for one in document["stages"]}
    assert "bpr" in names
    assert "als" not in names
    assert document["factors"] == 8


def test_the_command_says_what_is_configured_and_where_no_engine_is_left(capsys):
    _, printed = command(capsys, *SHOP, "--set", "runtime.engine=spark")
    assert "configured: spark" in printed.out
    huge = ("--users", 2 * 10**9, "--items", 5 * 10**7, "--interactions", 4 * 10**10)
    code, printed = command(capsys, *huge)
    assert code == 0
    assert "none" in printed.out
    assert "0 x" not in printed.out


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--users", 5_000_000_000, "--items", 5, "--interactions", 5), "--users 5,000,000,000"),
        (("--users", 0, "--items", 5, "--interactions", 5), "--users 0"),
        (("--users", 5, "--items", 5, "--interactions", 26), "25 pairs"),
        ((*SHOP, "--factors", 5000), "--factors 5000"),
        ((*SHOP, "--cores", 0), "--cores 0"),
        ((*SHOP, "--memory-gb", -1), "--memory-gb -1"),
        ((*SHOP, "--memory-gb", "nan"), "--memory-gb nan"),
        ((*SHOP, "--hours", 0), "--hours 0"),
        ((*SHOP, "--set", "als.factor=3"), "als.factors"),
    ],
)
def test_bad_input_is_one_clear_line(capsys, options, named):
    code, printed = command(capsys, *options)
    assert code == 2
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert named in printed.err


def test_a_missing_size_is_a_usage_error(capsys):
    assert command(capsys, "--users", 10)[0] == 2


def test_planning_imports_nothing_heavy_and_is_instant():
    code = (
        "import sys, recsys.planning.plan\n"
        "heavy = {'numba', 'polars', 'scipy', 'implicit', 'torch', 'boto3'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    took_seconds = []
    for _ in range(5):  # its own time, not that of what else runs here
        began = time.perf_counter()
        plan_of(10**8, 10**7, 10**9)
        took_seconds.append(time.perf_counter() - began)
    assert min(took_seconds) < 0.3
