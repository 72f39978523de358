"""The table of `bench_scale.py`: seconds, growth, measured and predicted memory of each stage by size."""

import math
from itertools import pairwise

from recsys.config.schema import TrainingConfig
from recsys.planning import memory
from recsys.planning.sizes import Sizes

UNITS = {"als-implicit": "s/iteration", "als-native": "s/iteration", "bpr": "s/epoch"}
# stages whose work is users x items: both grow tenfold, so the work a hundredfold
QUADRATIC = ("evaluate-all", "recommend-exact")
_POSITIVE_SHARE = 0.8
_N_SCORERS = 3  # the model and two baselines


def markdown(cells) -> str:
    """Return the Markdown table of ``cells``, {size: {stage: facts}}; memory in MB, predicted / measured."""
    sizes = list(cells)
    stages = list(dict.fromkeys(name for found in cells.values() for name in found))
    heads = [f"{size}: time | peak MB | predicted" for size in sizes]
    lines = ["| stage | " + " | ".join(heads) + " | exponent |", "|---|" + "---|" * (3 * len(sizes) + 1)]
    for name in stages:
        row = [f"| {name} ({UNITS.get(name, 's')})"]
        row += [_cell(name, cells[size].get(name)) for size in sizes]
        lines.append(" | ".join([*row, _exponents(cells, sizes, name)]) + " |")
    return "\n".join(lines)


def _cell(name, found) -> str:
    if found is None:
        return "– | – | –"
    measured = peak_bytes(found)
    predicted = predicted_bytes(name, found)
    share = "–" if predicted is None else f"{predicted / 1e6:,.0f} ({predicted / measured:.2f})"
    return f"{found['seconds']:.3g} | {measured / 1e6:,.0f} | {share}"


def peak_bytes(found) -> int:
    """Return the peak of the whole process, interpreter and loading of the data included."""
    return found["before_bytes"] + max(found["peak_bytes"], found.get("load_peak", 0))


def predicted_bytes(name, found) -> float | None:
    """Return what `recsys plan` would say of a stage of these exact sizes."""
    config = TrainingConfig()
    train = found["n_interactions"]
    positives = found.get("n_positives", int(_POSITIVE_SHARE * train))
    sizes = Sizes(found["n_users"], found["n_items"], train, positives, found.get("n_held_out", 0))
    shape, factors, threads = (sizes.users, sizes.items), config.als.factors, found.get("threads", 2)
    pool, exact = config.data.top_popular_items, config.evaluation.score_range_exact_samples
    if name in ("prepare", "load"):
        of_stage = {"prepare": memory.prepare_bytes, "load": memory.load_bytes}[name]
        return memory.INTERPRETER_BYTES + of_stage(sizes, pool)
    if name.startswith("recommend-"):
        lists = config.recommend.model_copy(update={"method": name.removeprefix("recommend-")})
        return memory.INTERPRETER_BYTES + memory.recommend_bytes(sizes, factors, lists, threads)
    native = config.als.model_copy(update={"solver": "native"})
    users = found.get("users", 0)
    beside_data = {
        "als-implicit": lambda: memory.als_bytes(*shape, train, config.als, threads),
        "als-native": lambda: memory.als_bytes(*shape, train, native, threads),
        "bpr": lambda: memory.bpr_bytes(*shape, positives, config.bpr, threads),
        "evaluate-sample": lambda: memory.evaluation_bytes(sizes, factors, _N_SCORERS, threads, users),
        "evaluate-all": lambda: memory.metrics_bytes(sizes, factors, 1, threads, users),
        "score-range": lambda: memory.score_range_bytes(sizes, factors, threads, exact),
        "publish": lambda: memory.publish_bytes(sizes, factors),
    }
    if name not in beside_data:
        return None
    set_up = 0 if name == "publish" else memory.SCORING_SET_UP_BYTES
    return memory.stage_bytes(sizes, pool, beside_data[name](), set_up)


def _exponents(cells, sizes, name) -> str:
    """Return log(ratio of seconds) / log(ratio of interactions) between neighbouring sizes."""
    found = []
    for small, large in pairwise(sizes):
        if name in cells[small] and name in cells[large]:
            seconds = cells[large][name]["seconds"] / cells[small][name]["seconds"]
            rows = cells[large][name]["n_interactions"] / cells[small][name]["n_interactions"]
            found.append(f"{math.log(seconds) / math.log(rows):.2f}")
    return ", ".join(found) + (" (users × items)" if name in QUADRATIC else "")
