import json
from dataclasses import replace

import pytest

from recsys.config.schema import PromotionConfig
from recsys.errors import RegistryError
from recsys.registry.decision import CandidateNumbers, ChampionNumbers, VersusChampion
from recsys.registry.promotion import decide

CONFIG = PromotionConfig(tolerance=0.05)
CHAMPION = ChampionNumbers("als_old", {"U": "aa", "V": "bb"})
BETTER = VersusChampion(0.1, 0.02, 0.2, 4131)

GOOD = CandidateNumbers(
    model_id="bpr_new",
    model_type="bpr",
    finite=True,
    metrics={"recall@10": 0.20, "ndcg@10": 0.10},
    baseline={"recall@10": 0.05},
    improvement=3.0,
    improvement_ci=(0.14, 0.16),
    coverage=0.4,
    score_range_ok=True,
    artifacts_ok=True,
    versus_champion=BETTER,
    factors_sha256={"U": "cc", "V": "dd"},
)


def failed_gates(decision, model_id="bpr_new"):
    return [gate.name for gate in decision.gates[model_id] if not gate.passed]


def test_a_good_candidate_becomes_the_first_champion_without_a_champion_gate():
    decision = decide([replace(GOOD, versus_champion=None)], None, CONFIG)
    assert (decision.promote, decision.champion, decision.model_id) == (True, "bpr_new", "bpr_new")
    assert [gate.name for gate in decision.gates["bpr_new"]] == [
        "finite_factors",
        "improvement",
        "improvement_interval",
        "coverage",
        "score_range",
        "artifacts",
    ]
    assert "first champion" in decision.reasons[0]


@pytest.mark.parametrize(
    ("change", "gate"),
    [
        ({"finite": False}, "finite_factors"),
        ({"improvement": 0.199}, "improvement"),
        ({"improvement": float("nan")}, "improvement"),
        ({"improvement": None}, "improvement"),
        ({"metrics": {}}, "improvement"),
        ({"metrics": {"recall@10": float("nan")}}, "improvement"),
        ({"improvement": None, "metrics": {"recall@10": 0.0}, "baseline": {"recall@10": 0.0}}, "improvement"),
        ({"improvement_ci": (0.0, 0.2)}, "improvement_interval"),
        ({"improvement_ci": (-0.01, 0.2)}, "improvement_interval"),
        ({"improvement_ci": (float("nan"), 0.2)}, "improvement_interval"),
        ({"improvement_ci": None}, "improvement_interval"),
        ({"coverage": 0.049}, "coverage"),
        ({"coverage": None}, "coverage"),
        ({"score_range_ok": False}, "score_range"),
        ({"artifacts_ok": False}, "artifacts"),
        ({"versus_champion": None}, "not_worse_than_champion"),
        ({"versus_champion": VersusChampion(0.0, -0.051, 0.05, 10)}, "not_worse_than_champion"),
        ({"versus_champion": VersusChampion(0.0, float("nan"), 0.05, 10)}, "not_worse_than_champion"),
        ({"versus_champion": VersusChampion(0.0, None, 0.05, 10)}, "not_worse_than_champion"),
        ({"versus_champion": VersusChampion(0.0, -0.5, None, 10)}, "not_worse_than_champion"),
        ({"factors_sha256": {"U": "aa", "V": "bb"}}, "differs_from_champion"),
    ],
)
def test_each_gate_alone_keeps_the_champion(change, gate):
    decision = decide([replace(GOOD, **change)], CHAMPION, CONFIG)
    assert failed_gates(decision) == [gate]
    assert (decision.promote, decision.champion, decision.model_id) == (False, "als_old", None)
    assert "als_old stays" in decision.reasons[0]
    json.dumps(decision.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    "change",
    [
        {"improvement": 0.2},
        {"improvement": None, "baseline": {"recall@10": 0.0}},
        {"coverage": 0.05},
        {"versus_champion": VersusChampion(0.0, -0.05, 0.05, 10)},
        {"versus_champion": VersusChampion(None, None, None, 10)},
        {"factors_sha256": {"U": "aa", "V": "dd"}},
        {"factors_sha256": None},
    ],
)
def test_the_border_and_what_cannot_be_worse_pass(change):
    decision = decide([replace(GOOD, **change)], CHAMPION, CONFIG)
    assert failed_gates(decision) == []
    assert (decision.promote, decision.champion) == (True, "bpr_new")
    assert "replaces als_old" in decision.reasons[0]


def test_the_serving_model_is_not_promoted_again():
    decision = decide([replace(GOOD, model_id="als_old")], CHAMPION, CONFIG)
    assert failed_gates(decision, "als_old") == ["differs_from_champion"]
    assert decision.champion == "als_old"


def test_of_several_that_pass_the_metric_of_choice_decides():
    als = replace(GOOD, model_id="als_new", metrics={"recall@10": 0.19, "ndcg@10": 0.11})
    assert decide([GOOD, als], CHAMPION, CONFIG).model_id == "als_new"
    assert decide([GOOD, als], CHAMPION, PromotionConfig(choose_by="recall@10")).model_id == "bpr_new"
    tie = replace(als, metrics=GOOD.metrics)
    assert decide([GOOD, tie], CHAMPION, CONFIG).model_id == "bpr_new"


def test_the_best_is_passed_over_when_a_gate_says_no():
    best = replace(GOOD, model_id="als_new", metrics={"recall@10": 0.3, "ndcg@10": 0.2}, coverage=0.01)
    decision = decide([best, GOOD], CHAMPION, CONFIG)
    assert decision.champion == "bpr_new"
    assert any("als_new does not pass" in reason and "1.0%" in reason for reason in decision.reasons)


def test_promotion_switched_off_decides_and_moves_nothing():
    decision = decide([GOOD], CHAMPION, PromotionConfig(promote=False))
    assert (decision.promote, decision.champion, decision.model_id) == (False, "als_old", "bpr_new")
    assert "promotion.promote is false" in decision.reasons[0]


def test_refusals_hold_the_reasons_of_every_gate_that_said_no():
    bad = replace(GOOD, model_id="als_new", coverage=0.01, improvement=0.1)
    decision = decide([bad, GOOD], CHAMPION, CONFIG)
    assert list(decision.refusals()) == ["als_new"]
    improvement, coverage = decision.refusals()["als_new"]
    assert "+10.0% against popularity" in improvement
    assert "1.0% of the items" in coverage


def test_the_document_holds_every_number_and_threshold():
    nan = replace(GOOD, metrics={"recall@10": float("nan")}, versus_champion_common=BETTER)
    document = json.loads(json.dumps(decide([nan], CHAMPION, CONFIG).to_json(), allow_nan=False))
    (candidate,) = document["candidates"]
    assert candidate["metrics"] == {"recall@10": None}
    assert candidate["improvement_ci"] == [0.14, 0.16]
    assert candidate["versus_champion"]["n_users"] == candidate["versus_champion_common"]["n_users"] == 4131
    assert document["config"] == CONFIG.model_dump(mode="json")


def test_a_test_set_too_small_to_see_the_tolerance_is_told():
    blurred = VersusChampion(0.0, -0.09, 0.09, 400, smallest_relative=0.13)
    (reason,) = decide([replace(GOOD, versus_champion=blurred)], CHAMPION, CONFIG).refusals()["bpr_new"]
    assert "differences of 13.0% and more only" in reason
    sharp = replace(blurred, smallest_relative=0.02)
    (reason,) = decide([replace(GOOD, versus_champion=sharp)], CHAMPION, CONFIG).refusals()["bpr_new"]
    assert "more only" not in reason


def test_no_candidate_at_all_is_a_decision():
    assert decide([], None, CONFIG).champion is None
    assert decide([], CHAMPION, CONFIG).reasons == ("there is no candidate; champion als_old stays",)


def test_a_passing_candidate_without_the_metric_of_choice_is_an_error():
    with pytest.raises(RegistryError, match=r"ndcg@10.*k_values"):
        decide([replace(GOOD, metrics={"recall@10": 0.2})], CHAMPION, CONFIG)


def test_a_reason_holds_the_numbers():
    gates = {gate.name: gate for gate in decide([GOOD], CHAMPION, CONFIG).gates["bpr_new"]}
    assert "+300.0%" in gates["improvement"].reason
    assert "[+0.1400, +0.1600]" in gates["improvement_interval"].reason
    assert "4131 users, interval [+2.0%, +20.0%]" in gates["not_worse_than_champion"].reason
    assert (gates["coverage"].value, gates["coverage"].threshold) == (0.4, 0.05)
