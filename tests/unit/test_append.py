"""The incremental night: what is appended is as if it had always been there."""

import json

import pytest

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.load import load_processed_data
from recsys.cf.data.prepare import prepare
from recsys.config.schema import DataConfig
from recsys.errors import ConfigError, DataVersionNotFound
from recsys.storage.memory import MemoryStore

CONFIG = DataConfig()


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """Return (products, three review files) of one shop; duplicates of pairs span the files."""
    folder = tmp_path_factory.mktemp("shop")
    shop = write_demo_shop(folder, size="small", seed=5, users=400, interactions=3_000)
    header, *lines = shop.reviews.read_text("utf-8").splitlines(keepends=True)
    lines[2_900:2_900] = [line.replace(",5,", ",4,") for line in lines[:40]]
    lines.append("nobody,nothing,not a rating,not a time,\n")
    files = []
    for number, part in enumerate((lines[:1_800], lines[1_800:2_400], lines[2_400:])):
        path = folder / f"night-{number}.csv"
        path.write_text(header + "".join(part), "utf-8")
        files.append(path)
    return shop.products, files


def files_of(store, version):
    prefix = f"data/versions/{version}/"
    found = {info.key.removeprefix(prefix): store.get(info.key).data for info in store.list(prefix)}
    del found["manifest.json"]
    return found


def without_samples(files):
    stats = json.loads(files.pop("data_stats.json"))
    for step in stats["funnel"]:
        del step["samples"]
    return files, stats


def test_night_by_night_equals_all_files_at_once(nights):
    products, files = nights
    one_by_one, at_once = MemoryStore(), MemoryStore()
    prepare(one_by_one, files[0], products, CONFIG, seed=0)
    for file in files[1:]:
        last = prepare(one_by_one, file, products, CONFIG, seed=0, append_to="latest")
        assert last.created
    whole = prepare(at_once, files, products, CONFIG, seed=0)
    assert last.version[-12:] == whole.version[-12:]
    found, expected = (
        without_samples(files_of(store, made.version))
        for store, made in ((one_by_one, last), (at_once, whole))
    )
    assert found[0] == expected[0]
    assert found[1] == expected[1]
    assert last.rows_in == last.rows_out + sum(step.rows for step in last.funnel)


def test_appending_what_is_there_changes_nothing(nights):
    products, files = nights
    store = MemoryStore()
    first = prepare(store, files[:2], products, CONFIG, seed=0)
    again = prepare(store, files[1], products, CONFIG, seed=0, append_to=first.version)
    assert (again.version, again.created) == (first.version, False)


def test_known_users_may_move_and_ids_say_where_to(nights):
    products, files = nights
    store = MemoryStore()
    first = prepare(store, files[0], products, CONFIG, seed=0)
    second = prepare(store, files[1], products, CONFIG, seed=0, append_to="latest")
    before, after = (load_processed_data(store, made.version).mappings for made in (first, second))
    common = before.user_to_idx.keys() & after.user_to_idx.keys()
    assert len(common) > 100
    assert any(before.user_to_idx[user_id] != after.user_to_idx[user_id] for user_id in common)
    assert all(after.user_ids[after.user_to_idx[user_id]] == user_id for user_id in common)


def test_cleaning_settings_cannot_change_on_the_way(nights):
    products, files = nights
    store = MemoryStore()
    prepare(store, files[0], products, CONFIG, seed=0)
    for config in (DataConfig(rating_min=2), DataConfig(quality_languages=("en",))):
        with pytest.raises(ConfigError, match="was prepared with another"):
            prepare(store, files[1], products, config, seed=0, append_to="latest")
    looser = prepare(store, files[1], products, DataConfig(min_item_positives=3), seed=0, append_to="latest")
    assert looser.created


def test_there_must_be_something_to_append_to(nights):
    with pytest.raises(DataVersionNotFound):
        prepare(MemoryStore(), nights[1][0], None, CONFIG, seed=0, append_to="latest")
