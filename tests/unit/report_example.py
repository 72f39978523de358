"""A realistic result document of a night, made up and seeded: what the pipeline hands to the report."""

import itertools
import math
import random
from typing import Any

POPULARITY = {"recall@10": 0.0551, "recall@20": 0.0893, "ndcg@10": 0.0287, "ndcg@20": 0.0374}
POPULARITY |= {"precision@10": 0.0057, "hit_rate@10": 0.0561, "mrr": 0.0243, "map@10": 0.0208}
POPULARITY |= {"coverage@10": 0.0133, "novelty": 5.912}
GAINS = {"als": 2.27, "bpr": 2.61}
IDS = {"als": "als_20261125T010203Z_ab12cd34", "bpr": "bpr_20261125T010203Z_9f3e77c1"}


def example_result(*, promote: bool = True) -> dict[str, Any]:
    """Return the document of a run that trained both models and found bpr better."""
    draw = random.Random(7)
    return {
        "schema_version": 1,
        "run_id": "r_1a2b3c4d5e6f_0011aabb",
        "data_version": "v_20261125T010203Z_1a2b3c4d5e6f",
        "fingerprint": "6bd64609363bd76ce60b7b85206db3d586faed5cd998eb32821c310ad88ccc8d",
        "created_at": "2026-11-25T01:02:03Z",
        "reused": False,
        "code": {
            "version": "0.1.0",
            "git_commit": "b4c0ffee",
            "python": "3.11.7",
            "packages": {"implicit": "0.7.3", "numpy": "2.4.0", "scipy": "1.17.0"},
        },
        "data": {
            "funnel": [
                {"step": "read", "reason": "rating outside [1, 5]", "rows": 12},
                {"step": "read", "reason": "no parseable time", "rows": 341},
                {"step": "duplicates", "reason": "older row of the same user and item", "rows": 30702},
                {"step": "users", "reason": "fewer than 2 interactions or no positive", "rows": 276324},
                {"step": "items", "reason": "fewer than 5 positives of trainable users", "rows": 720},
            ],
            "rows_in": 369099,
            "rows_out": 61000,
            "users": 26012,
            "items": 1204,
            "train": 30118,
            "validation": 912,
            "test_users": 4131,
            "warnings": [
                "23 % of the rows belong to events of several rows (one review under many variants)"
            ],
        },
        "models": {name: _model(name, draw) for name in IDS},
        "failures": {},
        "baselines": {
            "popularity": POPULARITY,
            "random": {name: value * 0.15 for name, value in POPULARITY.items()} | {"coverage@10": 1.0},
        },
        "comparisons": [
            _compared("als", "bpr", -0.0188, 0.0061),
            _compared("bpr", "champion", 0.0102, 0.0049),
        ],
        "champion_before": {
            "model_id": "als_20261124T010155Z_77aa31c0",
            "metrics": {name: value * 3.42 for name, value in POPULARITY.items()} | {"coverage@10": 0.39},
            "common_users": 4012,
            "n_users": 4131,
            "test_pairs_in_its_training": 7,
            "versus": {name: _versus(0.06, 0.04) for name in IDS},
            "common": {"n_users": 4012, "versus": {name: _versus(0.05, 0.04) for name in IDS}},
        },
        "cold_users": {
            "no_history": {"users": 276_324, "popularity": {"recall@10": 0.0491}},
            "one_event": {
                "users": 3977,
                "popularity": {"recall@10": 0.0538},
                "content": {"recall@10": 0.0712},
            },
        },
        "decision": _decision(promote=promote),
        "timings": {"load": 0.4, "als": 4.2, "bpr": 9.1, "evaluate": 1.0, "register": 0.3, "total": 12.0},
        "overlap_seconds": 4.1,
        "threads": 2,
        "peak_memory_bytes": 702_000_000,
        "artifacts": {name: f"s3://shop/cf/models/{model_id}" for name, model_id in IDS.items()},
        "report": "s3://shop/cf/reports/r_1a2b3c4d5e6f_0011aabb.html",
    }


def _compared(a: str, b: str, difference: float, half: float) -> dict[str, Any]:
    return {
        "a": a,
        "b": b,
        "metric": "recall@10",
        "difference": difference,
        "low": difference - half,
        "high": difference + half,
        "p_value": 0.0005,
        "p_adjusted": 0.0015,
    }


def _versus(relative: float, half: float) -> dict[str, Any]:
    return {"relative": relative, "relative_low": relative - half, "relative_high": relative + half}


def _model(name: str, draw: random.Random) -> dict[str, Any]:
    gain = GAINS[name]
    metrics = {key: value * (1 + gain) for key, value in POPULARITY.items()}
    metrics |= {"coverage@10": 0.412 if name == "als" else 0.533, "novelty": 8.51}
    history = _als_history() if name == "als" else _bpr_history(draw)
    return {
        "model_id": IDS[name],
        "seconds": 4.2 if name == "als" else 9.1,
        "intervals": ["2026-11-25T01:02:03.1Z", f"2026-11-25T01:02:{'07.3' if name == 'als' else '12.2'}Z"],
        "factors_sha256": {"U": "5b1e" * 16, "V": "c77d" * 16},
        "metrics": metrics,
        "baseline": POPULARITY,
        "improvement": {"recall@10": gain},
        "improvement_ci": {"recall@10": [gain - 0.24, gain + 0.26]},
        "difference": {
            key: {
                "difference": metrics[key] - value,
                "low": (metrics[key] - value) * 0.91,
                "high": (metrics[key] - value) * 1.09,
                "p_value": 0.0005,
                "p_adjusted": 0.001,
            }
            for key, value in POPULARITY.items()
            if key not in ("coverage@10", "novelty")
        },
        "score_range": {
            "method": "validation_set",
            "min": -0.31,
            "max": 1.62,
            "mean": 0.11,
            "std": 0.21,
            "p01": -0.08,
            "p50": 0.05,
            "p99": 0.94,
            "num_samples": 1_097_136,
        },
        "score_histogram": _histogram(),
        "best_iteration": 9 if name == "als" else 25,
        "iterations": len(history),
        "stopped_early": True,
        "history": history,
        "settings": {"factors": 64, "regularization": 0.05, "seed": 42, "normalize": False, "preset": "auto"},
        "trials": [
            {
                "settings": {"factors": factors, "regularization": reg, "normalize": False},
                "recall@10": 0.15 + 0.01 * math.log(factors) - abs(math.log10(reg) + 1) * 0.012,
                "ndcg@10": 0.09 + 0.005 * math.log(factors),
                "seconds": 0.8,
                "chosen": (factors, reg) == (64, 0.1),
            }
            for factors in (16, 64)
            for reg in (0.01, 0.1, 1.0)
        ],
        "strata": {
            "user_activity": [
                _stratum(label, users, gain)
                for label, users in [("2", 2110), ("3-5", 1502), ("6-10", 411), ("11+", 108)]
            ],
            "item_popularity": [
                _stratum(label, users, gain)
                for label, users in [("1-4", 203), ("5-19", 911), ("20-99", 1620), ("100+", 1397)]
            ],
        },
        "power": {
            "metric": "recall@10",
            "power": 0.8,
            "smallest_difference": 0.0093,
            "smallest_relative": 0.05,
        },
        "cold_start_performance": {
            "cold_threshold": 5,
            "items": 88,
            "pairs": 203,
            "users": 201,
            "recall@10": 0.0345,
            "baseline_recall@10": 0.0049,
            "improvement_vs_random": 0.234 if name == "als" else None,
        },
        "device": "cpu",
        "peak_memory_bytes": 300_000_000 if name == "als" else 121_000_000,
        "resumed_from": None,
    }


def _stratum(label: str, users: int, gain: float) -> dict[str, Any]:
    base = 0.02 + 0.00003 * users
    value = base * (1 + gain * 0.8)
    return {"label": label, "users": users, "recall@10": value, "baseline_recall@10": base}


def _als_history() -> list[dict[str, Any]]:
    return [
        {
            "iteration": i,
            "seconds": 0.21,
            "loss": 41000 * math.exp(-i / 2) + 18200,
            "recall@10": 0.18 - 0.11 * math.exp(-i / 2) - 0.0006 * max(0, i - 9),
            "ndcg@10": 0.1 - 0.06 * math.exp(-i / 2) - 0.0004 * max(0, i - 9),
            "peak_memory_bytes": 300_000_000,
        }
        for i in range(1, 14)
    ]


def _bpr_history(draw: random.Random) -> list[dict[str, Any]]:
    history = []
    for i in range(1, 41):
        row: dict[str, Any] = {"epoch": i, "seconds": 0.23, "loss": 0.69 * math.exp(-i / 12) + 0.12}
        row |= {"learning_rate": 0.05 * 0.9 ** (i // 10), "hardness": 0.5 * math.exp(-i / 14) + 0.08}
        row |= {"ordered_share": 0.96 - 0.45 * math.exp(-i / 9) + draw.uniform(-0.004, 0.004)}
        row |= {
            "share_explicit": 0.11,
            "share_implicit": 0.19,
            "share_popularity": 0.04,
            "share_uniform": 0.66,
        }
        row |= {"recall@10": None, "ndcg@10": None}
        if i % 5 == 0:
            row["recall@10"] = 0.2 - 0.12 * math.exp(-i / 8) - 0.0007 * max(0, i - 25)
            row["ndcg@10"] = 0.115 - 0.07 * math.exp(-i / 8) - 0.0004 * max(0, i - 25)
        history.append(row)
    return history


def _histogram() -> dict[str, list[float]]:
    edges = [-0.31 + 1.93 * i / 50 for i in range(51)]
    middles = [(low + high) / 2 for low, high in itertools.pairwise(edges)]
    counts = [round(200_000 * math.exp(-((x - 0.03) ** 2) / (0.006 if x < 0.03 else 0.09))) for x in middles]
    return {"edges": edges, "counts": counts}


def _decision(*, promote: bool) -> dict[str, Any]:
    return {
        "promote": promote,
        "champion": IDS["bpr"] if promote else "als_20261124T010155Z_77aa31c0",
        "model_id": IDS["bpr"] if promote else None,
        "reasons": [
            "bpr passed 6 of 6 gates and has the higher ndcg@10 of two candidates (0.1036 against 0.0938)",
            "recall@10 is 261 % above popularity, lower bound 237 %",
            "not worse than the champion: +0.0102 [+0.0053, +0.0151] on 4,012 common users",
        ]
        if promote
        else ["no candidate passed every gate: coverage@10 0.031 is below 0.05 for als and bpr"],
        "gates": {model_id: _gates(name, promote=promote) for name, model_id in IDS.items()},
    }


def _gates(name: str, *, promote: bool) -> list[dict[str, Any]]:
    named: list[tuple[str, Any, Any, str]] = [
        ("finite", None, None, "every factor is a finite number"),
        ("improvement", GAINS[name], 0.2, "recall@10 over popularity, relative"),
        ("improvement_lower_bound", GAINS[name] - 0.24, 0, "lower bound of the 95 % interval"),
        ("not_worse", 0.0053, -0.0094, "lower bound of the difference to the champion"),
        ("coverage", 0.412 if promote else 0.031, 0.05, "share of items in somebody's top 10"),
        ("read_back", "ok", None, "12 files read back from the store and hashed"),
    ]
    return [
        {"name": gate, "passed": promote or gate != "coverage", "value": v, "threshold": t, "reason": reason}
        for gate, v, t, reason in named
    ]
