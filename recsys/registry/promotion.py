"""Whether a candidate becomes champion: a pure function of numbers that records every gate it asked."""

from collections.abc import Sequence
from functools import partial

from recsys.config.schema import PromotionConfig
from recsys.errors import RegistryError
from recsys.registry.decision import (
    CandidateNumbers,
    ChampionNumbers,
    Decision,
    Gate,
    finite,
)


def decide(
    candidates: Sequence[CandidateNumbers], champion: ChampionNumbers | None, config: PromotionConfig
) -> Decision:
    """Return which candidate becomes champion, or why none does.

    Every candidate is asked every gate. Of those that pass all, the one with the highest
    ``config.choose_by`` is chosen, the earlier one on a tie. A "no" is a result, never an error.

    Args:
        candidates: The models of the night; may be empty when every training failed.
        champion: The model that serves now, or None.
        config: Metric, thresholds and tolerance.

    Raises:
        RegistryError: A candidate that passes lacks the metric ``config.choose_by``.
    """
    gates = {candidate.model_id: _ask_gates(candidate, champion, config) for candidate in candidates}
    decided = partial(Decision, gates=gates, candidates=tuple(candidates), config=config)
    passed = [one for one in candidates if all(gate.passed for gate in gates[one.model_id])]
    reasons = [
        f"{candidate.model_id} does not pass: {gate.reason}"
        for candidate in candidates
        for gate in gates[candidate.model_id]
        if not gate.passed
    ]
    serving = champion.model_id if champion else None
    if not passed:
        stays = f"champion {serving} stays" if serving else "there is no champion yet"
        why = "no candidate passed every gate" if candidates else "there is no candidate"
        return decided(False, serving, None, reasons=(f"{why}; {stays}", *reasons))
    best = max(passed, key=lambda candidate: _choice(candidate, config))
    chosen = (
        f"{best.model_id} passed every gate; of {len(passed)} such model{'s' if len(passed) > 1 else ''} it "
        f"has the highest {config.choose_by}, {_choice(best, config):.4f}"
    )
    if not config.promote:
        switched_off = f"{chosen}, but promotion.promote is false; the champion is left as it is"
        return decided(False, serving, best.model_id, reasons=(switched_off, *reasons))
    replaced = f"it replaces {serving}" if serving else "it is the first champion"
    return decided(True, best.model_id, best.model_id, reasons=(f"{chosen}; {replaced}", *reasons))


def _ask_gates(
    candidate: CandidateNumbers, champion: ChampionNumbers | None, config: PromotionConfig
) -> tuple[Gate, ...]:
    gates = [
        _flag("finite_factors", candidate.finite, "all factors are finite", "factors hold NaN or infinities"),
        _improvement(candidate, config),
        _improvement_interval(candidate, config),
        _coverage(candidate, config),
        _flag(
            "score_range",
            candidate.score_range_ok,
            "the score range is valid",
            "the score range is missing or degenerate",
        ),
        _flag(
            "artifacts",
            candidate.artifacts_ok,
            "artifacts read back from the store match their hashes",
            "artifacts read back from the store do not match their hashes",
        ),
    ]
    if champion is not None:
        gates += [_not_worse(candidate, champion, config), _differs(candidate, champion)]
    return tuple(gates)


def _flag(name: str, passed: bool, yes: str, no: str) -> Gate:
    return Gate(name, passed, None, None, yes if passed else no)


def _improvement(candidate: CandidateNumbers, config: PromotionConfig) -> Gate:
    value, baseline = (finite(n.get(config.metric)) for n in (candidate.metrics, candidate.baseline))
    gain, needed = finite(candidate.improvement), config.min_improvement
    if value is None or baseline is None or (gain is None and baseline != 0):
        return _not_measured("improvement", needed)
    if gain is None:
        passed = value > 0
        reason = f"{config.metric} {value:.4f} where popularity has 0, the relative gain is not defined"
    else:
        passed = gain >= needed
        reason = (
            f"{config.metric} {value:.4f} is {gain:+.1%} against popularity ({baseline:.4f}), "
            f"at least {needed:+.1%} is needed"
        )
    return Gate("improvement", passed, gain, needed, reason)


def _improvement_interval(candidate: CandidateNumbers, config: PromotionConfig) -> Gate:
    low, high = map(finite, candidate.improvement_ci or (None, None))
    if low is None or high is None:
        return _not_measured("improvement_interval", 0.0)
    reason = (
        f"the interval of the {config.metric} difference to popularity is [{low:+.4f}, {high:+.4f}], "
        "its lower bound must be above 0"
    )
    return Gate("improvement_interval", low > 0, low, 0.0, reason)


def _coverage(candidate: CandidateNumbers, config: PromotionConfig) -> Gate:
    value, floor = finite(candidate.coverage), config.min_coverage
    if value is None:
        return _not_measured("coverage", floor)
    reason = f"{value:.1%} of the items are in somebody's top list, at least {floor:.1%} is needed"
    return Gate("coverage", value >= floor, value, floor, reason)


def _not_worse(candidate: CandidateNumbers, champion: ChampionNumbers, config: PromotionConfig) -> Gate:
    versus, floor = candidate.versus_champion, -config.tolerance
    name = "not_worse_than_champion"
    if versus is None:
        return Gate(name, False, None, floor, f"no comparison with champion {champion.model_id} was possible")
    if versus.relative is None:
        reason = f"champion {champion.model_id} scores 0 on tonight's {versus.n_users} users"
        return Gate(name, True, None, floor, reason)
    low, high = finite(versus.relative_low), finite(versus.relative_high)
    if low is None:
        return _not_measured(name, floor)
    reason = (
        f"{config.metric} is {versus.relative:+.1%} against champion {champion.model_id} on the same "
        f"{versus.n_users} users, interval [{low:+.1%}, {'unbounded' if high is None else f'{high:+.1%}'}], "
        f"its lower bound must be at least {floor:+.1%}"
    )
    smallest = finite(versus.smallest_relative)
    if low < floor and smallest is not None and smallest > config.tolerance:
        reason += (
            f"; so few users show differences of {smallest:.1%} and more only: with more of them, or a larger "
            "promotion.tolerance, an equal model would pass"
        )
    return Gate(name, low >= floor, low, floor, reason)


def _differs(candidate: CandidateNumbers, champion: ChampionNumbers) -> Gate:
    same_id = candidate.model_id == champion.model_id
    same_bits = candidate.factors_sha256 is not None and candidate.factors_sha256 == champion.factors_sha256
    return _flag(
        "differs_from_champion",
        not (same_id or same_bits),
        f"the model is another one than champion {champion.model_id}",
        f"the model is bit for bit the champion {champion.model_id}",
    )


def _choice(candidate: CandidateNumbers, config: PromotionConfig) -> float:
    value = finite(candidate.metrics.get(config.choose_by))
    if value is None:
        raise RegistryError(
            f"promotion: {candidate.model_id} has no value of {config.choose_by}; add its cutoff to "
            "evaluation.k_values"
        )
    return value


def _not_measured(name: str, threshold: float) -> Gate:
    return Gate(name, False, None, threshold, f"{name.replace('_', ' ')} was not measured")
