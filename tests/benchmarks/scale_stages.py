"""The stages of `bench_scale.py`, each in a process of its own: the code of a night at one size.

Evaluation asks a sample of the test users (evaluation.max_users), but for the stage that evaluates all.
"""

import json
import shutil
import time
from pathlib import Path

import numpy as np
from scale_data import SIZES, write_reviews
from scale_place import Place, begin, counts, loaded, measured, memory_now, peak_memory

STAGES: dict = {}


def stage(function):
    STAGES[function.__name__.replace("_", "-")] = function
    return function


def raw(place: Place):
    """Make the raw reviews, unmeasured."""
    write_reviews(place.reviews, place.size)
    return {}


@stage
def prepare(place: Place):
    """Raw rows to a data version in the store."""
    from recsys.cf.data.prepare import prepare as prepare_version
    from recsys.config.schema import DataConfig
    from recsys.storage.open import open_store

    shutil.rmtree(place.store_uri, ignore_errors=True)
    before, began = begin(), time.perf_counter()
    steps = []
    found = prepare_version(
        open_store(place.store_uri), place.reviews, None, DataConfig(), seed=0,
        on_step=lambda step, _rows: steps.append((step, round(time.perf_counter() - began, 1), peak_memory())),
    )  # fmt: skip
    seconds, peak = time.perf_counter() - began, peak_memory() - before
    last = {step: [at, reached - before] for step, at, reached in steps}
    sizes = {
        "n_users": found.users,
        "n_items": found.items,
        "n_interactions": found.train,
        "n_held_out": found.rows_out - found.train,
    }
    return {"seconds": seconds, "peak_bytes": peak, "before_bytes": before, "steps": last, **sizes}


@stage
def load(place: Place):
    """The data version verified and opened, as the first task of every process does."""
    from recsys.cf.data.load import load_processed_data
    from recsys.storage.open import open_store

    before, began = begin(), time.perf_counter()
    data = load_processed_data(open_store(place.store_uri))
    seconds = time.perf_counter() - began
    return measured(before, seconds, held=memory_now() - before, **counts(data))


@stage
def als_implicit(place: Place):
    """ALS by `implicit`."""
    return _fit(place.run(), "als")


@stage
def als_native(place: Place):
    """ALS by our exact kernel."""
    return _fit(place.run(solver="native"), "als")


@stage
def bpr(place: Place):
    """BPR by our kernel."""
    return _fit(place.run(), "bpr")


def _fit(run, model):
    from recsys.pipeline.fit import fit_model
    from recsys.pipeline.run import load_dataset
    from recsys.storage.documents import read_document

    _forget_fit(Path(run.store_uri) / run.prefix / model)
    before, data = loaded(run)
    load_dataset(run)
    began = time.perf_counter()
    fit = fit_model(run, model)
    whole = time.perf_counter() - began
    history = read_document(run.open_store(), f"{fit.prefix}/fit.json")["history"]
    steps = [row["seconds"] for row in history]
    return measured(
        before, float(np.median(steps[1:] or steps)), whole_seconds=whole, steps=len(steps), **data
    )


def _forget_fit(directory):
    """Delete a fit, so that it is made anew, but not what its evaluation left for publishing."""
    shutil.rmtree(directory / "checkpoints", ignore_errors=True)
    for name in ("fit.json", "settings.json"):
        (directory / name).unlink(missing_ok=True)


@stage
def evaluate_sample(place: Place):
    """The evaluation stage of the night on a sample of the test users: model, baselines, intervals, report."""
    from recsys.pipeline.evaluate import evaluate_models
    from recsys.pipeline.fit import finished_fit

    run = place.run()
    before, data = loaded(run)
    began = time.perf_counter()
    document = evaluate_models(run, [finished_fit(run, "als")])
    seconds = time.perf_counter() - began
    place.evaluation.write_text(json.dumps(document))
    return measured(before, seconds, users=document["n_users"], **data)


@stage
def evaluate_all(place: Place):
    """Exact ranks and top lists of one model for all test users."""
    from recsys.cf.evaluation.evaluate import evaluate
    from recsys.cf.scoring.blocks import FactorScorer

    run, (before, data), dataset, factors = _with_factors(place)
    began = time.perf_counter()
    config = run.config.evaluation
    found = evaluate(
        {"als": FactorScorer(factors)}, dataset.held_out("test"), dataset.user_seen_train,
        k_values=config.k_values, block_users=config.block_users,
    )["als"]  # fmt: skip
    seconds = time.perf_counter() - began
    return measured(before, seconds, users=found.n_users, recall=found.metrics["recall@10"], **data)


@stage
def score_range(place: Place):
    """Range and percentiles of one model's scores, as the evaluation stage measures them."""
    from recsys.cf.scoring.blocks import FactorScorer
    from recsys.pipeline.evaluate import _scores
    from recsys.pipeline.testbed import open_testbed

    run, (before, data), dataset, factors = _with_factors(place)
    testbed = open_testbed(run.open_store(), dataset, run.config)
    began = time.perf_counter()
    found = _scores(testbed, FactorScorer(factors))["score_range"]
    return measured(before, time.perf_counter() - began, scores=found["num_samples"], **data)


@stage
def publish(place: Place):
    """One model's files into the registry, each read back and hashed."""
    from recsys.pipeline.fit import finished_fit
    from recsys.pipeline.publish import publish_model

    run = place.run()
    shutil.rmtree(Path(place.store_uri) / "registry", ignore_errors=True)
    before, data = loaded(run)
    began = time.perf_counter()
    publish_model(run, finished_fit(run, "als"), json.loads(place.evaluation.read_text()))
    return measured(before, time.perf_counter() - began, **data)


@stage
def recommend_exact(place: Place):
    """Exact lists of ten for all users, as Parquet in the store."""
    return _recommend(place, "exact")


@stage
def recommend_hnsw(place: Place):
    """The same by an approximate index, built and its recall measured first."""
    return _recommend(place, "hnsw")


def _recommend(place, method):
    from recsys.cf.data.version import store_stats
    from recsys.pipeline.recommend_all import recommend_all

    run = place.run()
    config = run.config.model_copy(
        update={"recommend": run.config.recommend.model_copy(update={"method": method, "min_recall": 0.0})}
    )
    shutil.rmtree(Path(place.store_uri) / "recommendations", ignore_errors=True)
    newest = max(one.model_id for one in run.registry().list("als"))
    before, began = begin(), time.perf_counter()
    found = recommend_all(place.store_uri, config, model=newest)
    seconds = time.perf_counter() - began
    recall = None if found["recall"] is None else found["recall"]["value"]
    n_train = store_stats(run.open_store(), run.data_version)["sizes"]["train"]
    facts = {"n_interactions": n_train, "users_per_second": found["n_users"] / seconds, "recall": recall}
    return measured(before, seconds, n_users=found["n_users"], n_items=found["n_items"], **facts)


def _with_factors(place):
    from recsys.cf.models.threads import use_compiled_threads
    from recsys.config.settings import available_threads
    from recsys.pipeline.fit import finished_fit, load_factors
    from recsys.pipeline.run import load_dataset

    run = place.run()
    use_compiled_threads(available_threads())
    facts = loaded(run)
    return run, facts, load_dataset(run), load_factors(run, finished_fit(run, "als"))


def sizes_in_order(names):
    return [name for name in SIZES if name in names]
