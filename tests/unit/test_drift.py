"""How far two data versions lie apart: nothing for the same, known numbers for known changes."""

import numpy as np
import pytest

from recsys.cf.data.drift import compare_versions
from recsys.cf.data.prepare import prepare
from recsys.config.schema import DataConfig
from recsys.errors import DataVersionNotFound
from recsys.storage.memory import MemoryStore

CONFIG = DataConfig(min_item_positives=1)


def prepared(store, tmp_path, rows):
    path = tmp_path / "r.csv"
    lines = [f"{user},{item},{stars},2024-01-{day + 1:02d}" for user, item, stars, day in rows]
    path.write_text("\n".join(["user_id,item_id,rating,date", *lines]))
    return prepare(store, path, None, CONFIG, seed=0).version


def shop(n_users, items="abcdefgh", stars=5):
    """Every user likes the first items, the more users the earlier the item, one a day."""
    return [
        (f"u{user:03d}", item, stars, place)
        for user in range(n_users)
        for place, item in enumerate(items[: 3 + user % (len(items) - 2)])
    ]


def test_a_version_does_not_differ_from_itself(tmp_path):
    store = MemoryStore()
    version = prepared(store, tmp_path, shop(40))
    drift = compare_versions(store, version, "latest")
    assert set(drift["changes"].values()) == {0.0}
    assert drift["largest"]["change"] == 0.0
    assert drift["users_kept"] == drift["items_kept"] == drift["popularity"]["top_20_overlap"] == 1.0
    assert drift["popularity"]["spearman"] == pytest.approx(1)


def test_sizes_stars_and_activity_are_effect_sizes(tmp_path):
    store = MemoryStore()
    before = prepared(store, tmp_path, shop(40))
    more = [*shop(60), *((f"v{user}", "a", 1, 0) for user in range(20))]
    after = prepared(store, tmp_path, more)
    drift = compare_versions(store, before, after)
    n_before, n_after = len(shop(40)), len(more)
    assert drift["rows"] == {"before": n_before, "after": n_after, "change": (n_after - n_before) / n_before}
    assert drift["changes"]["rows"] == pytest.approx(1 - n_before / n_after)
    assert drift["users"]["after"] == 80
    assert drift["users_kept"] == 1.0
    assert drift["changes"]["stars"] == pytest.approx(20 / n_after)
    assert drift["star_shares"]["after"]["1"] == pytest.approx(20 / n_after)
    assert drift["star_shares"]["before"]["1"] == 0
    assert drift["changes"]["users"] == pytest.approx(1 - 40 / 80)
    bins = {1: 0, 2: 1, 3: 2, 4: 2, 5: 2, 6: 3, 7: 3, 8: 3}
    per_user = [3 + user % 6 for user in range(40)], [*(3 + user % 6 for user in range(60)), *[1] * 20]
    counts = [np.bincount([bins[n] for n in one], minlength=5) / len(one) for one in per_user]
    assert list(drift["activity"]["after"].values()) == pytest.approx(counts[1].tolist())
    assert drift["changes"]["activity"] == pytest.approx(np.abs(counts[1] - counts[0]).sum() / 2)


def test_a_new_assortment_is_the_largest_change(tmp_path):
    store = MemoryStore()
    before = prepared(store, tmp_path, shop(40))
    after = prepared(store, tmp_path, shop(40, items="stuvwxyz"))
    drift = compare_versions(store, before, after)
    assert drift["changes"]["items"] == drift["changes"]["top_items"] == 1.0
    assert drift["items_kept"] == 0.0
    assert drift["popularity"]["spearman"] is None
    assert drift["largest"]["change"] == 1.0
    assert drift["changes"]["rows"] == drift["changes"]["stars"] == 0.0


def test_turned_popularity_is_seen_by_ranks(tmp_path):
    store = MemoryStore()
    before = prepared(store, tmp_path, shop(40))
    after = prepared(store, tmp_path, shop(40, items="hgfedcba"))
    drift = compare_versions(store, before, after)
    assert drift["popularity"]["spearman"] < -0.5
    assert drift["changes"]["popularity"] == 1.0
    assert drift["changes"]["items"] == 0.0


def test_changes_do_not_depend_on_the_direction(tmp_path):
    store = MemoryStore()
    one, other = (
        prepared(store, tmp_path, shop(40)),
        prepared(store, tmp_path, shop(70, items="abcdxyzq", stars=4)),
    )
    forth, back = compare_versions(store, one, other), compare_versions(store, other, one)
    assert forth["changes"] == pytest.approx(back["changes"])
    assert all(0 <= change <= 1 for change in forth["changes"].values())


def test_versions_must_exist(tmp_path):
    with pytest.raises(DataVersionNotFound):
        compare_versions(MemoryStore(), "latest", "latest")
