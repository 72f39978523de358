"""The section bert: which models it starts, and clashes that are refused before anything is read."""

import pytest

from recsys.config.load import fingerprint, load_config
from recsys.errors import ConfigError


@pytest.mark.parametrize(
    ("settings", "starting"),
    [
        ([], ()),
        (["bert.init=als"], ("als",)),
        (["bert.init=bpr"], ("bpr",)),
        (["bert.init=both"], ("als", "bpr")),
        (["bert.anchored=true", "als.solver=native"], ("als",)),
    ],
)
def test_which_models_start_from_embeddings(settings, starting):
    bert = load_config(None, settings).bert
    assert tuple(model for model in ("als", "bpr", "hybrid") if bert.starts(model)) == starting


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["bert.anchored=true"], "bert.anchored needs als.solver native"),
        (
            ["bert.init=als", "bert.freeze_first_iter=true", "als.use_gpu=true"],
            "set als.use_gpu to auto or false",
        ),
        (["bert.freeze_first_iter=true"], "needs init als or both"),
        (["bert.freeze_first_iter=true", "bert.init=bpr"], "needs init als or both"),
        (["bert.projection=umap"], "bert.projection: 'umap' is not allowed"),
        (["bert.min_coverage=2"], "bert.min_coverage: 2 is too large"),
    ],
)
def test_clashes_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, settings)


def test_what_embeddings_do_is_part_of_the_fingerprint():
    prints = {
        fingerprint(load_config(None, settings))
        for settings in ([], ["bert.init=als"], ["bert.init=als", "bert.scale=2"])
    }
    assert len(prints) == 3
