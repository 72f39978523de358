"""Seconds of each stage: its work by formula over the rates of one measured machine. Estimates, not promises."""

from recsys.config.schema import AlsConfig, BprConfig, HybridConfig, RecommendConfig
from recsys.planning import rates
from recsys.planning.sizes import Sizes

_FEWEST_USERS = 2_000  # that a sample of users has, however many items there are


def cores_worth(cores: int, efficiency: float = rates.EFFICIENCY) -> float:
    """Return how many measured cores so many cores are worth: those beyond the measured ones count less."""
    measured = min(cores, rates.MEASURED_CORES)
    return measured + efficiency * (cores - measured)


def prepare_seconds(rows: int) -> float:
    """Return the seconds of preparation; one core sets the pace."""
    return rows / rates.PREPARE_ROWS


def load_seconds(sizes: Sizes) -> float:
    """Return the seconds until a process has verified and opened a data version; one core sets the pace."""
    return sizes.rows / rates.LOAD_ROWS


def als_iteration_seconds(sizes: Sizes, config: AlsConfig, cores: int) -> float:
    """Return the seconds of one iteration of the configured solver, without validation.

    implicit: 32 F n + 8 F^2 (U + I) FLOP (two half-sweeps of three conjugate gradient steps); native: at most
    2 F^2 (n + U + I), since light rows are solved by the dual system.
    """
    factors, rows = config.factors, sizes.users + sizes.items
    if config.solver == "native":
        return 2 * factors**2 * (sizes.train + rows) / (rates.ALS_NATIVE_FLOP * cores_worth(cores))
    flop = 32 * factors * sizes.train + 8 * factors**2 * rows
    return flop / (rates.ALS_CG_FLOP * cores_worth(cores))


def als_seconds(sizes: Sizes, config: AlsConfig, cores: int, max_scores: int) -> float:
    """Return the seconds of a fit that does not stop early."""
    checks = config.iterations / config.validate_every
    steps = config.iterations * als_iteration_seconds(sizes, config, cores)
    return steps + checks * validation_seconds(sizes, config.factors, cores, max_scores)


def bpr_epoch_seconds(sizes: Sizes, config: BprConfig, cores: int) -> float:
    """Return the seconds of one epoch, drawing included; a triplet costs a fixed part and one per factor."""
    triplets = sizes.positives * config.samples_per_epoch
    each = (rates.BPR_FIXED_FACTORS + config.factors) / (rates.BPR_FIXED_FACTORS + rates.MEASURED_FACTORS)
    return triplets * each / (rates.BPR_TRIPLETS * cores_worth(cores, rates.BPR_EFFICIENCY))


def bpr_seconds(sizes: Sizes, config: BprConfig, cores: int, max_scores: int) -> float:
    """Return the seconds of a fit that does not stop early."""
    checks = config.epochs / config.validate_every
    steps = config.epochs * bpr_epoch_seconds(sizes, config, cores)
    return steps + checks * validation_seconds(sizes, config.factors, cores, max_scores)


def hybrid_seconds(sizes: Sizes, config: HybridConfig, cores: int, max_scores: int) -> float:
    """Return the seconds of a fit on the CPU that does not stop early."""
    triplets = sizes.positives * config.samples_per_epoch * config.epochs
    checks = config.epochs / config.validate_every
    steps = (
        triplets * (config.factors / rates.MEASURED_FACTORS) / (rates.HYBRID_TRIPLETS * cores_worth(cores))
    )
    return steps + checks * validation_seconds(sizes, config.factors, cores, max_scores)


def scores_seconds(n_scores: float, factors: int, cores: int, *, each: float = rates.RANK_SECONDS) -> float:
    """Return the seconds of so many scores, users x items, and of what is done with each besides."""
    product = 2 * factors / rates.PRODUCT_FLOP
    return n_scores * (product + each) / cores_worth(cores)


def bounded_scores(sizes: Sizes, max_scores: int) -> int:
    """Return the scores of all users, or of so many that they stay within ``max_scores``; see ``users_within``."""
    return min(sizes.users * sizes.items, max(max_scores, _FEWEST_USERS * sizes.items))


def validation_seconds(sizes: Sizes, factors: int, cores: int, max_scores: int) -> float:
    """Return the seconds of one look at validation during a fit."""
    return scores_seconds(bounded_scores(sizes, max_scores), factors, cores)


def evaluation_seconds(
    sizes: Sizes, factors: int, n_scorers: int, cores: int, max_users: int | None
) -> float:
    """Return the seconds of exact ranks and lists of the test users for so many scorers; users x items."""
    users = min(sizes.users, max_users or sizes.users)
    return n_scorers * scores_seconds(users * sizes.items, factors, cores)


def score_range_seconds(sizes: Sizes, factors: int, cores: int, max_scores: int) -> float:
    """Return the seconds of one model's score range, over so many users that their scores stay bounded."""
    n_scores = bounded_scores(sizes, max_scores)
    return scores_seconds(n_scores, factors, cores, each=rates.SCORE_RANGE_SECONDS)


def publish_seconds(sizes: Sizes, factors: int) -> float:
    """Return the seconds of publishing one model into a store as fast as a local disk."""
    return (4 * factors * (sizes.users + sizes.items) + 4 * sizes.train) / rates.PUBLISH_BYTES


def recommend_seconds(sizes: Sizes, factors: int, config: RecommendConfig, cores: int) -> float:
    """Return the seconds of top lists for all users by the configured method, their files included.

    hnsw: one core builds the graph, candidates of each item; then each user asks it for candidates.
    """
    written = sizes.users * rates.LIST_USER_SECONDS
    if config.method == "exact":
        n_scores = sizes.users * sizes.items
        return written + scores_seconds(n_scores, factors, cores, each=rates.TOP_LIST_SECONDS)
    built = sizes.items * config.hnsw_ef_construction / rates.HNSW_BUILD_CANDIDATES
    asked = sizes.users * config.hnsw_ef_search / (rates.HNSW_SEARCH_CANDIDATES * cores_worth(cores))
    return written + (built + asked) * factors / rates.MEASURED_FACTORS
