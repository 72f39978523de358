"""Preparation by Spark: whole versions, byte for byte those of one machine, from every kind of dirty file."""

import gzip
import json
import random

import polars as pl
import pytest
from spark_cluster import needs_spark, running_spark

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.engine import LocalEngine, prepare_engine
from recsys.cf.data.prepare import prepare
from recsys.cf.data.spark_engine import SparkEngine
from recsys.config.schema import DataConfig, SparkConfig
from recsys.engines.spark_session import spark_session
from recsys.errors import ConfigError, EmptyDataError, RawDataError
from recsys.storage.local import LocalStore
from recsys.storage.memory import MemoryStore

pytestmark = [needs_spark, pytest.mark.slow]

SPARK = SparkConfig(master="local[2]", partitions=2, driver_memory="1g")
SMALL_PIECES = SparkEngine(SPARK, piece_bytes=4_000, piece_rows=150)
QUICK_JAVA = "-XX:TieredStopAtLevel=1"
# Ids whose order depends on who sorts: by bytes of UTF-8, by units of UTF-16, by locale, ignoring case or accents.
IDS = [
    "0", "00", "007", "10", "2", " 7", "7 ", "a", "B", "b", "z", "Z", "é", "e\u0301", "đ", "ß", "ss", "\uffff",
    "\U00010000", "\U0001f469", "\ue000", "ÿ", "x" * 300, 'say "hi"', "a,b", "line\nbreak", "a\x00b",
]  # fmt: skip


@pytest.fixture(scope="module")
def session():
    """Keep one Java for all tests of this file; its quick compiler alone is the faster one for tiny data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JDK_JAVA_OPTIONS", QUICK_JAVA)
        with spark_session(SPARK, "tests of preparation") as running:
            yield running


def version_of(engine, interactions, config, items=None, store=None, **options):
    """Return (names and hashes of the version's files, content hash, what prepare returned)."""
    store = store or MemoryStore()
    options = {"seed": 3} | options
    result = prepare(store, interactions, items, config, engine=engine, **options)
    manifest = json.loads(store.get(f"data/versions/{result.version}/manifest.json").data)
    hashes = {name: entry["sha256"] for name, entry in manifest["files"].items()}
    assert len(hashes) >= 14
    return hashes, manifest["content_hash"], manifest["summary"], result.funnel, result.warnings


def assert_same(expected, found):
    assert [step.to_json() for step in found[3]] == [step.to_json() for step in expected[3]]
    assert found[0] == expected[0]
    assert found == expected


def dirty_shop(folder, seed, n_rows=1_500):
    """Write a shop as CSV, CSV.gz, JSON Lines and Parquet, all of them dirty; return the paths."""
    draw = random.Random(seed)
    ids = IDS + [f"u{n}" for n in range(60)]
    rows = [
        {
            "user_id": draw.choice([*ids, *ids, *ids, None, " "]),
            "item_id": draw.choice([*IDS, None]),
            "rating": draw.choice(["5", "5", "4", "4.5", "3", "1", "0", "-0.0", "0.0", "9", "nan", None]),
            "timestamp": f"2024-01-{draw.randint(1, 12):02d} 10:00:00" if draw.random() < 0.97 else "soon",
            "comment": draw.choice(
                [None, "", "tốt lắm, da đẹp", "not good", "hàng\nđẹp", "great great great"]
            ),
            "comment_quality": draw.choice([None, None, "0.0", "-0.0", "0.5", "1"]),
        }
        for _ in range(n_rows)
    ]
    rows += draw.choices(rows, k=n_rows // 5)  # whole rows twice
    quarter = len(rows) // 4
    parts = [pl.DataFrame(rows[n * quarter : (n + 1) * quarter], infer_schema_length=None) for n in range(4)]
    plain = parts[0].with_columns(pl.col("user_id").str.replace_all("\x00", ""))
    text = plain.write_csv().encode().splitlines(keepends=True)
    (folder / "a.csv").write_bytes(b"".join(text) + b"u\xff\xfe,a,5,2024-01-01,,\n")
    (folder / "b.csv.gz").write_bytes(gzip.compress(parts[1].write_csv().encode(), mtime=0))
    lines = [json.dumps(row, ensure_ascii=False) for row in parts[2].iter_rows(named=True)]
    lines[3] = "{broken"
    (folder / "c.jsonl").write_text("\n".join(lines))
    parts[3].write_parquet(folder / "d.parquet")
    return sorted(folder.iterdir())


# Clusters first: a process has one Spark session, and all other tests share one.
def test_a_cluster_that_loses_an_executor_makes_the_same_bytes(tmp_path, monkeypatch):
    shop = write_demo_shop(tmp_path / "raw", size="small", seed=2)
    expected = version_of(LocalEngine(), shop.reviews, DataConfig(), shop.products)
    killed = []
    monkeypatch.setenv("JDK_JAVA_OPTIONS", QUICK_JAVA)
    with running_spark(tmp_path / "cluster") as cluster:
        config = SparkConfig(
            master=cluster.master,
            executor_memory="512m",
            driver_memory="1g",
            shared_directory=str(tmp_path / "shared"),
        )

        def kill_one(step, _rows):
            if step == "clean":  # scored and sorted rows are on the disks of both
                killed.append(cluster.kill_an_executor())

        engine = SparkEngine(config, piece_bytes=100_000)
        found = version_of(engine, shop.reviews, DataConfig(), shop.products, on_step=kill_one)
    assert killed
    assert_same(expected, found)
    assert not list((tmp_path / "shared").iterdir())  # nothing is left behind


def test_a_cluster_elsewhere_needs_a_shared_directory(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("user_id,item_id,rating,date\nu,i,5,2024-01-01\n")
    engine = prepare_engine("spark", SparkConfig(master="spark://192.0.2.1:7077"))
    with pytest.raises(ConfigError, match="shared_directory"):
        prepare(MemoryStore(), path, None, DataConfig(), seed=0, engine=engine)


@pytest.mark.parametrize(
    ("seed", "config"),
    [
        (1, DataConfig(rating_min=0, min_item_positives=3)),
        (
            3,
            DataConfig(
                rating_min=0, split_unit="row", min_item_positives=2, max_users=15, positive_threshold=4.5
            ),
        ),
    ],
)
def test_dirty_shops_of_all_formats(session, tmp_path, seed, config):
    paths = dirty_shop(tmp_path, seed)
    expected = version_of(LocalEngine(), paths, config)
    dropped = {step.reason for step in expected[3] if step.rows}
    assert {
        "not_utf8",
        "not_json",
        "no_user_id",
        "older_row_of_same_user_and_item",
        "cold_start_user",
    } <= dropped
    assert ("user_not_in_max_users" in dropped) == (config.max_users is not None)
    assert_same(expected, version_of(SMALL_PIECES, paths, config))


def test_random_small_shops(session, tmp_path):
    for seed in range(3):
        draw = random.Random(seed)
        users, items = draw.randint(3, 12), draw.randint(2, 9)
        rows = [
            (
                f"u{draw.randrange(users)}",
                draw.choice(IDS[:items]),
                draw.randint(1, 5),
                1_700_000_000 + draw.randint(0, 9),
            )
            for _ in range(draw.randint(40, 160))
        ]
        path = tmp_path / f"{seed}.parquet"
        pl.DataFrame(rows, schema=["user_id", "item_id", "rating", "timestamp"], orient="row").write_parquet(
            path
        )
        config = DataConfig(
            min_user_interactions=draw.randint(1, 4),
            min_item_positives=draw.randint(1, 5),
            split_unit=draw.choice(["event", "row"]),
            max_users=draw.choice([None, 2]),
        )
        outcomes = []
        for engine in (LocalEngine(), SMALL_PIECES):
            try:
                outcomes.append(version_of(engine, path, config, seed=seed))
            except EmptyDataError as error:
                outcomes.append(str(error))
        assert outcomes[0] == outcomes[1]


def test_appending_by_spark_to_what_one_machine_made(session, tmp_path):
    paths = dirty_shop(tmp_path, 5)
    config = DataConfig(rating_min=0, min_item_positives=3)
    store = MemoryStore()
    prepare(store, paths[:2], None, config, seed=3)
    appended = version_of(SMALL_PIECES, paths[2:], config, store=store, append_to="latest", part_rows=300)
    whole = version_of(LocalEngine(), paths, config)
    assert {name: sha for name, sha in appended[0].items() if name != "data_stats.json"} == {
        name: sha for name, sha in whole[0].items() if name != "data_stats.json"
    }
    assert appended[1] == whole[1]  # each finds the version of the other


def test_the_demo_shop_cut_anyhow_and_found_by_the_other_engine(session, tmp_path):
    shop = write_demo_shop(tmp_path / "raw", size="small", seed=1)
    config, store = DataConfig(), LocalStore(tmp_path / "store")
    expected = version_of(LocalEngine(), shop.reviews, config, shop.products)
    assert_same(
        expected,
        version_of(SparkEngine(SPARK, piece_bytes=100_000), shop.reviews, config, shop.products, store),
    )
    in_many = version_of(SparkEngine(SPARK), shop.reviews, config, shop.products, part_rows=2_000)
    assert_same(expected, in_many)
    again = prepare(store, shop.reviews, shop.products, config, seed=3)
    assert not again.created


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["hasaki", "amazon_magazine"])
def test_real_shops(session, real_data, name):
    folder = real_data / name
    options = {"items": folder / "items.parquet", "embeddings": folder / "product_embeddings.npz"}
    engine = SparkEngine(SPARK, piece_rows=10_000)
    expected, found = (
        version_of(one, folder / "interactions.parquet", DataConfig(), **options)
        for one in (LocalEngine(), engine)
    )
    assert_same(expected, found)


@pytest.mark.parametrize(
    ("lines", "error", "settings"),
    [
        (["u,i,9,2024-01-01"] * 3, EmptyDataError, {}),
        (["u,i,5,2024-01-01", "v,j,4,2024-01-01"], EmptyDataError, {}),
        (
            [f"{u},{i},5,2024-01-0{i}" for u in "pqr" for i in (1, 2, 3)],
            EmptyDataError,
            {"min_item_positives": 4},
        ),
        (
            [f"{u},{i},5,2024-01-01" for u in "pqr" for i in (1, 2, 3)],
            EmptyDataError,
            {"min_item_positives": 2},
        ),
        (["u,i,5,2024-01-01,too,many"] * 2, RawDataError, {}),
    ],
    ids=["ratings", "users", "items", "times", "ragged"],
)
def test_what_cannot_be_prepared_is_refused_in_the_same_words(session, tmp_path, lines, error, settings):
    path = tmp_path / "r.csv"
    path.write_text("\n".join(["user_id,item_id,rating,date", *lines]))
    messages = []
    for engine in (LocalEngine(), SparkEngine(SPARK)):
        with pytest.raises(error) as raised:
            prepare(MemoryStore(), path, None, DataConfig(**settings), seed=0, engine=engine)
        messages.append(str(raised.value))
    assert messages[0] == messages[1]
