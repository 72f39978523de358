"""The last stages: gates, promotion, report, result."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from recsys.errors import ProtectedModel, TrainingError
from recsys.pipeline.earlier_attempt import EarlierPromotion, earlier_promotion
from recsys.pipeline.fit import FitReference
from recsys.pipeline.local_copies import copy_results
from recsys.pipeline.metrics_file import export_metrics
from recsys.pipeline.nights import record_night
from recsys.pipeline.publish import artifact_uri
from recsys.pipeline.result import assemble_result
from recsys.pipeline.run import RunReference
from recsys.registry.artifact import read_manifest, verify_model
from recsys.registry.decision import CandidateNumbers, ChampionNumbers, Decision, VersusChampion
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

    A night that died after its promotion and is run again comes to the same decision on the same numbers, which
    then moves nothing and may be announced again. If anybody else moved the alias since, by hand (rollback, promotion)
    or by another run, that stands: nothing is promoted, tonight's models stay registered, the first reason tells.

    Raises ChampionChanged when another run promoted since the evaluation: the candidates stay registered.
    """
    store = run.open_store()
    registry = run.registry()
    before, damaged = evaluation["champion_before"], evaluation["champion_damaged"]
    serving = before or damaged
    champion = _champion_numbers(run, store, before) if before is not None else None
    candidates = [_numbers(run, store, model_id, model, evaluation) for model, model_id in model_ids.items()]
    earlier = earlier_promotion(run, model_ids.values())
    decision = _as_it_stands(decide(candidates, champion, run.config.promotion), earlier)
    if decision.promote and decision.model_id is not None:
        expected = serving["model_id"] if serving else None
        registry.promote(
            decision.model_id,
            reasons=decision.reasons,
            expected_champion=earlier.champion if earlier else expected,
        )
    if run.config.promotion.promote:
        for model_id, reasons in decision.refusals().items():
            with suppress(ProtectedModel):  # it was made champion by hand since an earlier attempt refused it
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


def _as_it_stands(decision: Decision, earlier: EarlierPromotion | None) -> Decision:
    """Return the decision as it is, or without a promotion where somebody moved the alias since an earlier one.

    What this run promoted itself it may replace: by a sister whose training failed in the earlier attempt.
    """
    if earlier is None or decision.champion == earlier.champion or (decision.promote and earlier.by_run):
        return decision
    newest = earlier.newest
    told = (
        f"{earlier.champion} serves and is left alone: since an earlier attempt of this run, {newest.actor} made it "
        f"champion ({newest.action} at {newest.time}: {'; '.join(newest.reasons)})"
    )
    return replace(decision, promote=False, champion=earlier.champion, reasons=(told, *decision.reasons))


def _champion_numbers(run: RunReference, store: Store, before: Json) -> ChampionNumbers:
    facts = read_manifest(store, before["model_id"])["facts"]
    older = _made_at(before["data_version"]) < _made_at(run.data_version)
    return ChampionNumbers(before["model_id"], facts.get("factors_sha256"), older)


def _numbers(
    run: RunReference, store: Store, model_id: str, model: str, evaluation: Json
) -> CandidateNumbers:
    numbers, before = evaluation["models"][model], evaluation["champion_before"]
    metric, common = run.config.promotion.metric, before and before["common"]
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
        versus_champion=_versus(before["versus"].get(model), before["users_left_out"]) if before else None,
        versus_champion_common=_versus(common["versus"].get(model), common["users_left_out"])
        if common
        else None,
        factors_sha256=read_manifest(store, model_id)["facts"]["factors_sha256"],
    )


def _made_at(data_version: str) -> str:
    """Return the time in the id of a data version, which orders them; "" where it has none."""
    return "".join(data_version.split("_")[1:2])


def _versus(found: Json | None, n_users_left_out: int) -> VersusChampion | None:
    if found is None:
        return None
    return VersusChampion(
        relative=found["relative"],
        relative_low=found["relative_low"],
        relative_high=found["relative_high"],
        n_users=found["n_users"],
        smallest_relative=(found.get("power") or {}).get("smallest_relative"),
        n_users_left_out=n_users_left_out,
    )
