"""Numbers in print, and the scales of plots."""

import math
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recsys.reporting import formats
from recsys.reporting.plots import ticks


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (formats.count(369099), "369,099"),
        (formats.count(None), "–"),
        (formats.metric(0.18341), "0.1834"),
        (formats.metric(8.5123), "8.512"),
        (formats.signed(-0.01), "−0.0100"),
        (formats.interval(0.1, 0.05, 0.15), "+0.1000 [+0.0500, +0.1500]"),
        (formats.interval(0.1, None, 0.15), "+0.1000"),
        (formats.percent(2.27, sign=True), "+227 %"),
        (formats.percent(-0.0512), "−5.1 %"),
        (formats.percent(0), "0 %"),
        (formats.seconds(0.416), "0.42 s"),
        (formats.seconds(59.97), "1 min 00 s"),
        (formats.seconds(185), "3 min 05 s"),
        (formats.seconds(7440), "2 h 04 min"),
        (formats.n_bytes(512), "512 B"),
        (formats.n_bytes(999_700), "1 MB"),
        (formats.n_bytes(1_234_000_000), "1.2 GB"),
        (formats.compact(1_500_000), "1.5M"),
        (formats.compact(-25_000), "−25k"),
        (formats.compact(0.0001), "1.0e-04"),
        (formats.compact(1.2e10), "1.2e+10"),
        (formats.anything([0.5, None, True, "x"]), "[0.5, –, yes, x]"),
        (formats.moment("2026-11-25T08:02:03+07:00"), "25 November 2026, 01:02 UTC"),
        (formats.moment("2026-11-05T01:02:03"), "5 November 2026, 01:02 UTC"),
        (formats.moment("yesterday"), "yesterday"),
    ],
)
def test_numbers_in_print(shown: str, expected: str) -> None:
    assert shown == expected


sizes = st.floats(-1e9, 1e9).filter(lambda x: x == 0 or abs(x) > 1e-6)


@example(1.0, 1.0, False)
@example(1.0, 1.0 + 1e-15, False)
@example(1.0, 1.0 + 1e-8, True)
@example(-3.0, 7.0, True)
@given(sizes, sizes, st.booleans())
def test_ticks_enclose_the_data_in_equal_round_steps(a: float, b: float, whole: bool) -> None:
    low, high = min(a, b), max(a, b)
    found = ticks(low, high, whole=whole)
    assert 2 <= len(found) <= 8
    step = found[1] - found[0]
    tiny = 1e-6 * max(step, abs(low), abs(high))
    assert found[0] <= low + tiny
    assert found[-1] >= high - tiny
    assert all(math.isclose(y - x, step, rel_tol=1e-6, abs_tol=tiny) for x, y in pairwise(found))
    if whole and high - low >= 1:
        assert all(tick == round(tick) for tick in found)
