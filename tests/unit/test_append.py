"""The incremental night: what is appended is as if it had always been there."""

import json
from dataclasses import replace

import pytest

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.engine import LocalEngine
from recsys.cf.data.latest import latest_version, move_latest
from recsys.cf.data.load import load_processed_data
from recsys.cf.data.prepare import prepare
from recsys.cf.data.version import store_stats
from recsys.config.schema import DataConfig
from recsys.errors import ConfigError, DataVersionNotFound, LatestMoved, OutcomeUnknown
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


class Interrupted(LocalEngine):
    """Something else happens to the store while a version is built."""

    def __init__(self, happens, times=1):
        self.happens, self.left, self.built = happens, times, 0

    def interactions(self, inputs, making, funnel):
        self.built += 1
        if self.left:
            self.left -= 1
            self.happens()
        return super().interactions(inputs, making, funnel)


def append(store, nights, night, to="latest", **more):
    products, files = nights
    return prepare(store, files[night], products, CONFIG, seed=0, append_to=to, **more)


@pytest.fixture
def begun(nights):
    """Return a store with the first night."""
    store = MemoryStore()
    prepare(store, nights[1][0], nights[0], CONFIG, seed=0)
    return store


def test_an_append_that_another_one_overtook_is_made_again_on_the_new_latest(nights, begun):
    engine = Interrupted(lambda: append(begun, nights, 2))
    last = append(begun, nights, 1, engine=engine)
    whole = prepare(MemoryStore(), nights[1], nights[0], CONFIG, seed=0)
    assert engine.built == 2
    assert latest_version(begun) == last.version
    assert last.version[-12:] == whole.version[-12:]
    assert last.rows_in == whole.rows_in == store_stats(begun, last.version)["rows_in"]


def test_an_append_continues_a_set_that_was_prepared_meanwhile(nights, begun):
    products, files = nights
    engine = Interrupted(lambda: prepare(begun, files[2], products, CONFIG, seed=0))
    last = append(begun, nights, 1, engine=engine)
    both = prepare(MemoryStore(), files[1:], products, CONFIG, seed=0)
    assert (latest_version(begun), last.version[-12:]) == (last.version, both.version[-12:])


def test_an_append_that_loses_every_time_says_run_it_again_and_leaves_latest(nights, begun, tmp_path):
    products, files = nights
    header, *lines = files[2].read_text("utf-8").splitlines(keepends=True)
    others = []
    for number in range(9):
        path = tmp_path / f"{number}.csv"
        path.write_text(header + "".join(lines[number:]), "utf-8")
        others.append(prepare(begun, path, products, CONFIG, seed=0).version)
    move_latest(begun, others.pop())
    engine = Interrupted(lambda: move_latest(begun, others.pop()), times=8)
    with pytest.raises(LatestMoved, match=r"nothing is lost.*run it again") as refused:
        append(begun, nights, 1, engine=engine)
    assert refused.value.retryable
    assert engine.built == 5
    assert latest_version(begun) not in others
    assert append(begun, nights, 1).version == latest_version(begun)


def test_an_append_found_ready_becomes_the_latest(nights, begun):
    """Its version can be older than the latest: somebody prepared these files together before."""
    products, files = nights
    both = prepare(begun, files[:2], products, CONFIG, seed=0)
    stricter = prepare(begun, files[0], products, DataConfig(min_item_positives=6), seed=0)
    assert latest_version(begun) == stricter.version
    assert append(begun, nights, 1) == replace(both, created=False)
    assert latest_version(begun) == both.version


def test_a_lost_reply_of_the_move_is_no_lost_race(nights, begun):
    begun.fail_next("put_if_match", OutcomeUnknown("cut"), after_commit=True, key_contains="latest.json")
    engine = Interrupted(lambda: None)
    made = append(begun, nights, 1, engine=engine)
    assert (latest_version(begun), engine.built) == (made.version, 1)


def test_who_names_the_base_gets_it_whatever_is_the_latest(nights, begun):
    first = latest_version(begun)
    append(begun, nights, 2)
    made = append(begun, nights, 1, to=first)
    assert (latest_version(begun), made.rows_in) == (made.version, 2_400)


def test_appending_the_same_file_again_changes_nothing(nights, begun):
    made = append(begun, nights, 1)
    again = append(begun, nights, 1)
    assert (again.version, again.created, again.warnings) == (made.version, False, made.warnings)
    assert latest_version(begun) == made.version
