"""The gate against a champion that was trained on test pairs: who is compared, and what happens when nobody can be."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_promotion import BETTER, CHAMPION, CONFIG, GOOD, failed_gates

from recsys.registry.decision import VersusChampion
from recsys.registry.promotion import decide

GATE = "not_worse_than_champion"
NOBODY = VersusChampion(None, None, None, 0, n_users_left_out=1562)
# 150 users are left who cannot tell: the interval spans the tolerance and 0
BLURRED = VersusChampion(-0.03, -0.4, 0.31, 150, smallest_relative=0.5, n_users_left_out=850)
OLDER, SAME = replace(CHAMPION, data_are_older=True), replace(CHAMPION, data_are_older=False)


def gate(versus, champion=OLDER):
    decision = decide([replace(GOOD, versus_champion=versus)], champion, CONFIG)
    (found,) = (one for one in decision.gates["bpr_new"] if one.name == GATE)
    return decision, found


@pytest.mark.parametrize("versus", [NOBODY, BLURRED, replace(BLURRED, n_users=99, smallest_relative=0.0)])
def test_where_too_few_users_are_left_newer_data_win_and_the_reasons_say_so(versus):
    decision, found = gate(versus)
    assert decision.champion == "bpr_new"
    assert (found.passed, found.value) == (True, None)
    share = versus.n_users_left_out / (versus.n_users_left_out + versus.n_users)
    for told in (*decision.reasons[1:], found.reason):
        assert told.startswith("not comparable: champion als_old was trained on")
        assert f"{share:.1%} of tonight's test users" in told
        assert "newer" in told
    assert len(decision.reasons) == 2


@pytest.mark.parametrize("versus", [NOBODY, BLURRED])
def test_without_newer_data_the_champion_stays_and_the_reason_says_what_to_do(versus):
    decision, found = gate(versus, SAME)
    assert (decision.promote, decision.champion) == (False, "als_old")
    assert failed_gates(decision) == [GATE]
    assert "not comparable" in found.reason
    assert "recsys registry promote" in found.reason


def test_the_sanity_gates_are_asked_all_the_same():
    decision = decide([replace(GOOD, versus_champion=NOBODY, improvement=0.1)], OLDER, CONFIG)
    assert failed_gates(decision) == ["improvement"]
    assert decision.champion == "als_old"


@pytest.mark.parametrize(
    ("change", "passed"),
    [
        ({"relative_low": -0.04}, True),  # shown to be good enough by those who are left
        ({"relative": -0.3, "relative_high": -0.01}, False),  # shown to be worse
        ({"smallest_relative": 0.05}, False),  # enough users, and they do not show it
        ({"n_users": 500, "n_users_left_out": 500}, False),  # at most half are left out: the rule as ever
        ({"n_users_left_out": 0}, False),
    ],
)
def test_where_those_left_can_tell_the_rule_is_the_usual_one(change, passed):
    _, found = gate(replace(BLURRED, **change))
    assert found.passed == passed
    assert "not comparable" not in found.reason
    assert found.value == change.get("relative_low", -0.4)


SHARES = st.floats(-2, 2)


@given(SHARES, SHARES, SHARES, st.integers(1, 5000), st.floats(0, 2), st.data())
def test_at_most_half_left_out_never_changes_the_verdict(relative, low, high, n_users, smallest, data):
    versus = VersusChampion(relative, low, high, n_users, smallest)
    n_users_left_out = data.draw(st.integers(0, n_users))
    _, usual = gate(versus)
    for champion in (OLDER, SAME):
        _, found = gate(replace(versus, n_users_left_out=n_users_left_out), champion)
        assert (found.passed, found.value, found.threshold) == (usual.passed, usual.value, usual.threshold)


def test_users_left_out_are_told_in_the_gate_and_in_the_decision():
    decision, found = gate(replace(BETTER, n_users_left_out=69))
    assert found.passed
    assert "4131 users" in found.reason
    assert "69 more, 1.6% of tonight's test users, are left out" in found.reason
    assert found.reason in decision.reasons
    assert decision.to_json()["candidates"][0]["versus_champion"]["n_users_left_out"] == 69


def test_a_night_without_leaks_says_nothing_of_them():
    decision, found = gate(BETTER)
    assert found.reason == (
        "recall@10 is +10.0% against champion als_old on the same 4131 users, interval [+2.0%, +20.0%], its lower "
        "bound must be at least -5.0%"
    )
    assert len(decision.reasons) == 1
