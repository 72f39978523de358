"""Search spaces: the original's grids, stages that refine, and files that describe a space."""

import pytest

from recsys.cf.tuning.space import Space, TrialPoint, best_trial, open_stage
from recsys.cf.tuning.spaces import load_space, space_names
from recsys.errors import ConfigError


def point(number, settings, value, stage="coarse", complete=True):
    return TrialPoint(number, stage, settings, value, complete)


def test_the_originals_grids_have_54_settings_each():
    for name, fixed in (("als-original", {}), ("bpr-original", {"bpr.negative_sampling": "hard_mixed"})):
        grid = list(open_stage(load_space(name), 0, []).grid())
        assert len(grid) == 3 * 3 * 2 * 3
        assert len({tuple(settings.items()) for settings in grid}) == 54
        assert all(settings.items() >= fixed.items() for settings in grid)


def test_every_space_of_the_product_loads_and_survives_json():
    for name in space_names():
        space = load_space(name)
        assert Space.model_validate_json(space.model_dump_json()) == space
        assert all(path.startswith(f"{space.model}.") for path in space.paths())


def test_a_fine_stage_keeps_the_best_trial_and_refines_around_it():
    space = load_space("als-staged")
    tried = [
        point(
            0, {"als.iterations": 15, "als.alpha": 10.0, "als.factors": 64, "als.regularization": 0.05}, 0.1
        ),
        point(
            1, {"als.iterations": 15, "als.alpha": 10.0, "als.factors": 64, "als.regularization": 0.1}, 0.3
        ),
        point(
            2, {"als.iterations": 15, "als.alpha": 10.0, "als.factors": 64, "als.regularization": 0.15}, 0.2
        ),
    ]
    stage = open_stage(space, 1, tried)
    assert stage.fixed == {"als.iterations": 15, "als.factors": 64}
    # best +- 20 as the original says, without what is not positive
    assert stage.domains["als.alpha"] == (10.0, 20.0, 30.0)
    # half-way to the neighbours, in ratios: sqrt(0.1 * 0.05) and sqrt(0.1 * 0.15)
    assert stage.domains["als.regularization"] == pytest.approx((0.0707107, 0.1, 0.122474), rel=1e-5)


def test_beyond_the_end_of_the_ladder_a_midpoint_lies_as_far_as_on_the_other_side():
    space = Space.model_validate(
        {
            "name": "s",
            "model": "als",
            "stages": [
                {"name": "a", "search": {"als.regularization": [1.0, 4.0], "als.factors": [16, 64]}},
                {"name": "b", "refine": {"als.regularization": "midpoints", "als.factors": "midpoints"}},
            ],
        }
    )
    tried = [
        point(0, {"als.regularization": 1.0, "als.factors": 16}, 0.1, "a"),
        point(1, {"als.regularization": 4.0, "als.factors": 64}, 0.2, "a"),
    ]
    stage = open_stage(space, 1, tried)
    assert stage.domains["als.regularization"] == (2.0, 4.0, 8.0)
    assert stage.domains["als.factors"] == (32, 64, 128)
    assert all(isinstance(one, int) for one in stage.domains["als.factors"])


def test_only_complete_trials_win_and_the_earlier_of_equals():
    trials = [point(0, {}, 0.9, complete=False), point(1, {}, 0.5), point(2, {}, 0.5)]
    assert best_trial(trials).number == 1
    assert best_trial(trials[:1]) is None
    with pytest.raises(ValueError, match="none of 1 is complete"):
        open_stage(load_space("als"), 1, trials[:1])


def test_a_space_file_is_read(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "model: bpr\n"
        "stages:\n"
        "  - name: wide\n"
        "    sampler: random\n"
        "    trials: 7\n"
        "    search:\n"
        "      bpr.regularization: {low: 0.001, high: 0.1, log: true}\n"
        "      bpr.factors: [16, 32]\n"
    )
    space = load_space(str(file))
    assert (space.name, space.model, space.stages[0].trials) == ("mine", "bpr", 7)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "model: als\nstages: [{name: a, search: {als.factors: {low: 8, high: 16}}}]\n",
            "grid needs choices",
        ),
        ("model: als\nstages: [{name: a, sampler: tpe, search: {als.factors: [8, 16]}}]\n", "needs trials"),
        ("model: als\nstages: [{name: a, refine: {als.factors: midpoints}}]\n", "nothing to refine"),
        ("model: als\nstages: [{name: a, serch: {als.factors: [8]}}]\n", "did you mean"),
        ("model: als\nstages: [{name: a, search: {als.factors: []}}]\n", "no choice"),
        ("[1, 2]\n", "needs the keys"),
        ("model: [\n", "not valid YAML"),
    ],
)
def test_a_bad_space_file_says_what_is_wrong(tmp_path, text, told):
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_space(str(file))
    assert told in str(refused.value)
    assert "bad.yaml" in str(refused.value)


def test_an_unknown_space_names_the_known_ones():
    with pytest.raises(ConfigError, match="als-original"):
        load_space("als-orignal")
