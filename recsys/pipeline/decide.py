"""The last stages: gates, promotion, report, result."""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from recsys.errors import TrainingError
from recsys.pipeline.fit import FitReference
from recsys.pipeline.local_copies import copy_results
from recsys.pipeline.metrics_file import export_metrics
from recsys.pipeline.nights import record_night
from recsys.pipeline.publish import artifact_uri
from recsys.pipeline.result import assemble_result
from recsys.pipeline.run import RunReference
from recsys.registry.artifact import read_manifest, verify_model
from recsys.registry.decision import CandidateNumbers, ChampionNumbers, VersusChampion
from recsys.registry.promotion import decide
from recsys.reporting.card import render_html
from recsys.storage.base import Store
from recsys.storage.documents import write_once
from recsys.types import Json

logger = logging.getLogger(__name__)


def decide_and_promote(run: RunReference, model_ids: Mapping[str, str], evaluation: Json) -> Json:
    """Return the decision on tonight's models; the champion alias moves when a gate-passing one was chosen.

    Models that a gate refused are archived with its reasons, so that the registry's history tells both sides.
    A damaged champion asks no gate: a sound candidate may take its place.
    Raises ChampionChanged when another run promoted since the evaluation: the candidates stay registered.
    """
    store = run.open_store()
    registry = run.registry()
    before, damaged = evaluation["champion_before"], evaluation["champion_damaged"]
    serving = before or damaged
    champion = None
    if before is not None:
        facts = read_manifest(store, before["model_id"])["facts"]
        champion = ChampionNumbers(before["model_id"], facts.get("factors_sha256"))
    candidates = [
        _numbers(run, store, model_id, model, evaluation)
        for model, model_id in model_ids.items()
        # a rerun may find that its own candidate serves already
        if before is None or model_id != before["model_id"]
    ]
    decision = decide(candidates, champion, run.config.promotion)
    if decision.promote and decision.model_id is not None:
        registry.promote(
            decision.model_id,
            reasons=decision.reasons,
            expected_champion=serving["model_id"] if serving else None,
        )
    if run.config.promotion.promote:
        for model_id, reasons in decision.refusals().items():
            registry.archive(model_id, reasons)
    logger.info("decision: %s", decision.reasons[0])
    document = decision.to_json()
    if damaged is not None:
        told = f"champion {damaged['model_id']} is damaged and was not compared: {damaged['reason']}"
        document["reasons"].append(told)
    return document


def finish_run(
    run: RunReference,
    fits: Sequence[FitReference],
    evaluation: Json | None,
    model_ids: Mapping[str, str],
    decision: Json | None,
    failures: Mapping[str, str],
) -> Json:
    """Write report and result of the run and return the result.

    With failures the result is kept apart, so that a rerun trains what failed. Raises TrainingError then,
    naming every cause; what was trained stays registered.
    """
    store = run.open_store()
    result = assemble_result(run, fits, evaluation, model_ids=model_ids, decision=decision, failures=failures)
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
    report_key = f"{run.prefix}/reports/{stamp}.html"
    result["report"] = f"{run.store_uri.rstrip('/')}/{report_key}"
    result["artifacts"] = {model: artifact_uri(run.store_uri, one) for model, one in model_ids.items()}
    page = render_html(result).encode()
    store.put_new(report_key, page)
    result = copy_results(run, result)
    export_metrics(run, result)
    record_night(store, result)
    if failures:
        write_once(store, f"{run.prefix}/failed/{stamp}.json", result)
        causes = "; ".join(f"{model}: {cause}" for model, cause in failures.items())
        raise TrainingError(
            f"run {run.run_id} failed: {causes}. Trained and registered all the same: "
            f"{', '.join(model_ids.values()) or 'nothing'}. Report: {result['report']}"
        )
    return write_once(store, f"{run.prefix}/result.json", result)


def skip_run(run: RunReference, reason: str) -> Json:
    """Return the result of a night on which nothing was trained, for ``reason``: the champion stays.

    It is written beside the results, never as one: the next attempt asks again.
    """
    champion = run.registry().state().champion
    decision: Json = {"promote": False, "champion": champion, "model_id": None, "reasons": [reason]}
    result = assemble_result(run, [], None, decision=decision) | {"artifacts": {}}
    key = f"{run.prefix}/skipped/{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
    result["report"] = f"{run.store_uri.rstrip('/')}/{key}.html"
    store = run.open_store()
    store.put_new(f"{key}.html", render_html(result).encode())
    export_metrics(run, result)
    record_night(store, result)
    return write_once(store, f"{key}.json", result)


def _numbers(
    run: RunReference, store: Store, model_id: str, model: str, evaluation: Json
) -> CandidateNumbers:
    numbers, before = evaluation["models"][model], evaluation["champion_before"]
    metric = run.config.promotion.metric
    difference = numbers["difference"].get(metric)
    return CandidateNumbers(
        model_id=model_id,
        model_type=model,
        finite=numbers["finite"],
        metrics=numbers["metrics"],
        baseline=numbers["baseline"],
        improvement=numbers["improvement"][metric],
        improvement_ci=(difference["low"], difference["high"]) if difference else None,
        coverage=numbers["metrics"].get(f"coverage@{metric.split('@')[1]}"),
        score_range_ok=numbers["score_range"] is not None,
        artifacts_ok=not verify_model(
            store, model_id, expected_sha256=run.registry().show(model_id).manifest_sha256
        ),
        versus_champion=_versus(before["versus"].get(model)) if before else None,
        versus_champion_common=_versus((before["common"] or {"versus": {}})["versus"].get(model))
        if before
        else None,
        factors_sha256=read_manifest(store, model_id)["facts"]["factors_sha256"],
    )


def _versus(found: Json | None) -> VersusChampion | None:
    if found is None:
        return None
    return VersusChampion(
        relative=found["relative"],
        relative_low=found["relative_low"],
        relative_high=found["relative_high"],
        n_users=found["n_users"],
        smallest_relative=found.get("power", {}).get("smallest_relative"),
    )
