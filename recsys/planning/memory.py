"""Bytes that each stage needs above an idle process, by formula; the only home of such formulas.

U users, I items, n train entries, p of them positive, F factors; U F and I F are counted in float32. Checked against
the measured peaks of `make bench-scale` (docs/scale.md).
"""

from recsys.config.schema import AlsConfig, BprConfig, HybridConfig, RecommendConfig, TorchRecConfig
from recsys.planning.sizes import Sizes

INTERPRETER_BYTES = 155_000_000  # Python with what a night imports
_RUNTIME_BYTES = 50_000_000  # what compiled code and Polars set up once they work
SCORING_SET_UP_BYTES = 65_000_000  # libraries and compiled code of the stages that train or score
_FLOAT32_BYTES, _INDEX_BYTES = 4, 4
_POINTER_BYTES = 8  # of a user in a set of items
_HELD_OUT_ROW_BYTES = 80  # a row of the validation or test table
_USER_ROW_BYTES = 33  # a row of user_metadata
_ID_BYTES = 20  # an id in its column
_BATCH_ROWS, _BATCH_ROW_BYTES = 1_000_000, 400  # of interactions.parquet while they are checked
_PART_ROWS, _PART_ROW_BYTES = (
    2_000_000,
    200,
)  # what preparation still holds of a part while it checks its result
_TILE_USERS = 128
_RANGE_TILES = 4  # of scores that a score range holds a thread: one, those unseen, deviations in float64
_MOST_TILE_BYTES = 16_000_000_000
_CLEANED_ROW_BYTES = 65  # of interactions.parquet: what cold users are told by, and what is filtered of it
_PADDING_FACTORS = 32  # rows of BPR are padded to a multiple
# negative, kind, slot, and the triplet in its place; slots take four bytes instead of two past 16 blocks
_TRIPLET_BYTES, _WIDE_TRIPLET_BYTES, _WIDE_TRIPLETS = 19, 21, 387_000_000
_VALIDATION_THREADS = 8  # a validation's block holds so many tiles
_LISTS_SET_UP_BYTES, _FAISS_BYTES = 100_000_000, 20_000_000
_ID_COLUMN_BYTES = 48  # an id while its column is read and sorted
_LIST_ENTRY_BYTES = 102  # an item of a list while its file is written
_LIST_TILE_BYTES = 2_000_000
_TORCH_BYTES = 350_000_000  # its libraries when imported, and what they and compiled code set up for a fit
_BATCH_ROWS_OF_TRIPLET = 24  # rows of factors that torch holds for each triplet, with their gradients
_METRICS, _FLOAT64_BYTES = 12, 8  # of each user


def factors_bytes(n_users: int, n_items: int, factors: int) -> int:
    """Return the bytes of U and V."""
    return (n_users + n_items) * factors * _FLOAT32_BYTES


def dataset_bytes(sizes: Sizes, pool: int) -> int:
    """Return the resident bytes of an opened data version: mapped matrices and sets, tables, ids.

    12 n + 8 p, 4 pool + 93 a user, 20 an item, 80 a held-out row.
    """
    users, index = sizes.users, sizes.index_bytes
    matrices = (sizes.train + sizes.positives) * (_FLOAT32_BYTES + index) + 2 * index * users
    sets = sizes.train * _INDEX_BYTES + users * (min(pool, sizes.items) * _INDEX_BYTES + 4 * _POINTER_BYTES)
    tables = sizes.held_out * _HELD_OUT_ROW_BYTES + users * _USER_ROW_BYTES
    return matrices + sets + tables + (users + sizes.items) * _ID_BYTES + _RUNTIME_BYTES


def load_bytes(sizes: Sizes, pool: int) -> int:
    """Return the peak of opening a data version: what stays, and the rows that are checked at a time."""
    return dataset_bytes(sizes, pool) + min(sizes.rows, _BATCH_ROWS) * _BATCH_ROW_BYTES


def stage_bytes(sizes: Sizes, pool: int, beside_data: float, set_up: int) -> float:
    """Return the peak of a process that opens the data version and then needs so many bytes beside it."""
    work = dataset_bytes(sizes, pool) + beside_data
    return INTERPRETER_BYTES + set_up + max(load_bytes(sizes, pool), work)


def prepare_bytes(sizes: Sizes, pool: int) -> int:
    """Return the peak of preparation: the check of the finished version, and what is left of a part of the rows."""
    return load_bytes(sizes, pool) + min(sizes.rows, _PART_ROWS) * _PART_ROW_BYTES


def als_bytes(n_users: int, n_items: int, n_interactions: int, config: AlsConfig, threads: int) -> int:
    """Return the bytes an ALS fit needs beside its data.

    implicit: 2 R (factors, best copy), 12 n (weights, the matrix by items), the walk of a validation. native: 24 n
    (weights and targets by both sides), 2 R, and the larger side once more in another basis.
    """
    factors = factors_bytes(n_users, n_items, config.factors)
    walk = _validation_bytes(n_items, config.factors, threads)
    if config.solver == "native":
        table = max(n_users, n_items) * config.factors * _FLOAT32_BYTES
        return 2 * factors + max(table, walk) + 24 * n_interactions + 32 * (n_users + n_items)
    return 2 * factors + walk + 12 * n_interactions + 8 * n_users


def bpr_bytes(n_users: int, n_items: int, n_positives: int, config: BprConfig, threads: int) -> int:
    """Return the bytes a BPR fit needs beside its data: 2 R (factors padded, best copy), 4 p, and 19 T (21 T from
    387 million on) of an epoch drawn and sorted or the walk of a validation, whichever is more.
    """
    padded = -(-config.factors // _PADDING_FACTORS) * _PADDING_FACTORS
    factors = factors_bytes(n_users, n_items, config.factors) + factors_bytes(n_users, n_items, padded)
    triplets = n_positives * config.samples_per_epoch
    epoch = triplets * (_WIDE_TRIPLET_BYTES if triplets >= _WIDE_TRIPLETS else _TRIPLET_BYTES)
    walk = _validation_bytes(n_items, config.factors, threads)
    return factors + max(epoch, walk) + n_positives * _INDEX_BYTES + 32 * (n_users + n_items)


def hybrid_bytes(n_users: int, n_items: int, n_positives: int, dimensions: int, config: HybridConfig) -> int:
    """Return the bytes a hybrid fit needs on the CPU: torch, tables with Adam's moments, best copy and checkpoint,
    the embeddings of ``dimensions``, one epoch drawn, and the matrices of a minibatch.
    """
    factors = factors_bytes(n_users, n_items, config.factors)
    projection = dimensions * config.factors * _FLOAT32_BYTES
    content = n_items * (2 * dimensions + config.factors) * _FLOAT32_BYTES
    epoch = n_positives * (config.samples_per_epoch * (_INDEX_BYTES + 1 + 8) + 2 * _INDEX_BYTES)
    batch = config.batch_size * _BATCH_ROWS_OF_TRIPLET * config.factors * _FLOAT32_BYTES
    # values and two moments, the best, those folded now, a checkpoint as arrays and as bytes
    return 12 * factors + 3 * projection + content + epoch + batch + _TORCH_BYTES


def als_spark_bytes(n_users: int, n_items: int, n_interactions: int, factors: int, threads: int) -> int:
    """Return what the driver of Spark's ALS needs beside its data and Java: R as it comes, weights, a validation."""
    walk = _validation_bytes(n_items, factors, threads)
    return 2 * factors_bytes(n_users, n_items, factors) + walk + _FLOAT32_BYTES * n_interactions


def torchrec_bytes(n_users: int, n_items: int, factors: int, tables: int, config: TorchRecConfig) -> int:
    """Return the bytes one host needs for sharded tables: 3 R of the driver, its share of the ranks' ``tables``
    (1 for SGD, 3 with Adam's moments), and torch in each rank.
    """
    r = factors_bytes(n_users, n_items, factors)
    return 3 * r + tables * r // config.hosts + config.ranks * _TORCH_BYTES


def walk_bytes(n_items: int, threads: int, tiles: int = 1) -> int:
    """Return the bytes of a walk over scores: so many tiles of 128 users x all items for each thread.

    Where that is much, fewer threads walk; the plan counts 16 GB then, or one thread.
    """
    of_thread = tiles * _TILE_USERS * n_items * _FLOAT32_BYTES
    return min(threads * of_thread, max(of_thread, _MOST_TILE_BYTES))


def metrics_bytes(sizes: Sizes, factors: int, n_scorers: int, threads: int, test_users: int) -> int:
    """Return the bytes of metrics in one walk beside the data: factors, item columns, 12 metrics of each user."""
    per_user = n_scorers * test_users * _METRICS * _FLOAT64_BYTES
    columns = factors_bytes(sizes.users, 2 * sizes.items, factors)
    return columns + per_user + walk_bytes(sizes.items, threads)


def _validation_bytes(n_items: int, factors: int, threads: int) -> int:
    tile = _TILE_USERS * n_items * _FLOAT32_BYTES
    return n_items * factors * _FLOAT32_BYTES + tile * min(threads, _VALIDATION_THREADS)


def evaluation_bytes(sizes: Sizes, factors: int, n_scorers: int, threads: int, test_users: int) -> int:
    """Return the bytes of the evaluation stage beside its data: the metrics, and the cleaned rows of cold users."""
    rows = sizes.rows * _CLEANED_ROW_BYTES
    return metrics_bytes(sizes, factors, n_scorers, threads, test_users) + rows


def score_range_bytes(sizes: Sizes, factors: int, threads: int, max_exact_samples: int) -> int:
    """Return the bytes of a score range beside its data: factors, exact samples, tiles in float64."""
    samples = min(max_exact_samples, sizes.users * sizes.items) * _FLOAT32_BYTES
    return (
        factors_bytes(sizes.users, 2 * sizes.items, factors)
        + samples
        + walk_bytes(sizes.items, threads, _RANGE_TILES)
    )


def publish_bytes(sizes: Sizes, factors: int) -> int:
    """Return the bytes of publishing one model beside its data: its factors, and the seen items."""
    return factors_bytes(sizes.users, sizes.items, factors) + sizes.train * _INDEX_BYTES


def recommend_bytes(sizes: Sizes, factors: int, config: RecommendConfig, threads: int) -> int:
    """Return the bytes of top lists for all users; the process opens a model, not the data version.

    R, the items once more in tiles, 4 n + 8 U seen items, ids, 102 bytes an entry of one file of lists; hnsw: the
    items a third time, and 2 m links of each.
    """
    columns = factors_bytes(sizes.users, 2 * sizes.items, factors)
    seen = sizes.train * _INDEX_BYTES + sizes.users * _POINTER_BYTES
    ids = (sizes.users + sizes.items) * _ID_COLUMN_BYTES
    lists = min(sizes.users, config.rows_per_file) * config.k * _LIST_ENTRY_BYTES
    kept = _LISTS_SET_UP_BYTES + columns + seen + ids + lists + threads * _LIST_TILE_BYTES
    if config.method == "exact":
        return kept
    return kept + _FAISS_BYTES + sizes.items * (factors * _FLOAT32_BYTES + 2 * config.hnsw_m * _INDEX_BYTES)
