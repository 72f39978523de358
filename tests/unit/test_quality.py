import unicodedata

import numpy as np
import polars as pl
import pytest

from recsys.cf.data.quality import NO_COMMENT, comment_quality
from recsys.config.schema import DataConfig

CONFIG = DataConfig()
DETAILED = "Da mình dầu mụn, dùng hai tuần thấy kiềm dầu tốt, thấm nhanh, không bết dính, sẽ mua lại"


def quality(comments, rating=5.0, ready=None, config=CONFIG):
    rows = pl.DataFrame(
        {
            "comment": pl.Series(comments, dtype=pl.String),
            "rating": [rating] * len(comments),
            "comment_quality": pl.Series(ready or [None] * len(comments), dtype=pl.Float64),
        }
    )
    return comment_quality(rows, config).to_list()


def test_no_comment_is_a_half_and_a_ready_score_takes_precedence():
    assert quality([None, "ok", None, "ok"], ready=[None, 0.25, 0.75, None])[:3] == [NO_COMMENT, 0.25, 0.75]


def test_the_documented_formula_holds_for_one_word():
    # One word, no informative phrase, no repetition, no mismatch.
    assert quality(["xyz"])[0] == pytest.approx(0.30 + 0.35 * np.log(2) / np.log(41))


def test_longer_and_more_informative_is_better():
    short, long, detailed = quality(["tốt", "tôi và bạn đã đi chơi hôm nay rồi về nhà ăn cơm", DETAILED])
    assert short < long < detailed


def test_repetition_costs():
    once, often = quality(["tốt", "tốt tốt tốt tốt tốt tốt"])
    assert often < once


def test_words_against_the_stars_cost_only_where_they_contradict():
    complaint = "Thất vọng, không tốt"
    assert quality([complaint], rating=1.0)[0] == pytest.approx(quality([complaint], rating=3.0)[0])
    assert quality([complaint], rating=5.0)[0] == pytest.approx(quality([complaint], rating=1.0)[0] - 0.3)


def test_a_negated_compliment_is_no_compliment():
    assert quality(["không tốt"], rating=5.0)[0] < quality(["rất tốt"], rating=5.0)[0]


def test_spelling_does_not_matter():
    composed = quality([DETAILED])
    assert quality([unicodedata.normalize("NFD", DETAILED)]) == composed
    assert quality([DETAILED.upper()]) == composed
    assert quality(["khong hieu qua"], rating=5.0)[0] == quality(["không hiệu quả"], rating=5.0)[0]


def test_words_match_whole_only():
    # "gia" and "great" must not be found inside other words.
    assert quality(["greatest"], rating=1.0) == quality(["xyzxyzxy"], rating=1.0)


def test_languages_are_a_setting():
    english = "absorbs fast, great texture on oily skin"
    only_vietnamese = quality([english], config=DataConfig(quality_languages=("vi",)))
    assert only_vietnamese[0] < quality([english])[0]
    assert 0 <= quality([english], config=DataConfig(quality_languages=()))[0] <= 1


def test_odd_texts_stay_in_the_unit_interval():
    odd = ["", "   ", "...", "👍👍", "a" * 100_000, "\ue000" * 50, "tệ " * 500, "\n\t"]
    for rating in (1.0, 5.0):
        scores = quality(odd, rating=rating)
        assert all(0 <= score <= 1 for score in scores)
