import numpy as np
import pytest

from recsys.pipeline.evaluate import is_usable
from recsys.types import Factors


def factors(user_value, item_value):
    U, V = np.ones((3, 2), dtype=np.float32), np.ones((4, 2), dtype=np.float32)
    U[1, 0], V[2, 1] = user_value, item_value
    return Factors(U, V)


@pytest.mark.parametrize(
    ("user_value", "item_value", "usable"),
    [
        (1.0, 1.0, True),
        (1e18, 1e18, True),
        (1e20, 1e20, False),  # finite, but a score could be infinite
        (np.nan, 1.0, False),
        (1.0, -np.inf, False),
        (0.0, 1e38, True),
    ],
)
def test_factors_are_usable_when_every_score_must_be_a_finite_float32(user_value, item_value, usable):
    given = factors(user_value, item_value)
    assert is_usable(given) is usable
    if usable:
        assert np.isfinite(given.user_factors @ given.item_factors.T).all()
