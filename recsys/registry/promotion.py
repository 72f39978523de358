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
    VersusChampion,
    finite,
)

_NOT_WORSE = "not_worse_than_champion"
# Where the champion saw most test pairs, fewer users than this judge nobody: one of them moves a recall of 0.2
# by 5 %, half the tolerance, and models that agree on all of them get an interval without width.
_FEWEST_USERS = 100


def decide(
    candidates: Sequence[CandidateNumbers], champion: ChampionNumbers | None, config: PromotionConfig
) -> Decision:
    """Return which candidate becomes champion, or why none does.

    Every candidate is asked every gate. Of those that pass all, the one with the highest
    ``config.choose_by`` is chosen, the earlier one on a tie. A "no" is a result, never an error.

    Where the champion was trained on the test pairs of more than half of the users and those left cannot tell,
    the two are not comparable: a candidate that passes the other gates may replace it if tonight's data are newer.

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
    if best.versus_champion is not None and best.versus_champion.n_users_left_out:
        reasons[:0] = [gate.reason for gate in gates[best.model_id] if gate.name == _NOT_WORSE]
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
    if versus is None:
        reason = f"no comparison with champion {champion.model_id} was possible"
        return Gate(_NOT_WORSE, False, None, floor, reason)
    if _cannot_tell(versus, config.tolerance):
        return _not_comparable(versus, champion, config)
    if versus.relative is None:
        reason = f"champion {champion.model_id} scores 0 on tonight's {versus.n_users} users"
        return Gate(_NOT_WORSE, True, None, floor, reason)
    low, smallest = finite(versus.relative_low), finite(versus.smallest_relative)
    if low is None:
        return _not_measured(_NOT_WORSE, floor)
    reason = (
        f"{config.metric} is {versus.relative:+.1%} against champion {champion.model_id} on the same "
        f"{versus.n_users} users, interval {_interval(versus)}, its lower bound must be at least {floor:+.1%}"
    )
    if versus.n_users_left_out:
        reason += f"; {versus.n_users_left_out} more, {_share(versus)}, are left out: it trained on their test pairs"
    if low < floor and smallest is not None and smallest > config.tolerance:
        reason += (
            f"; so few users show differences of {smallest:.1%} and more only: with more of them, or a larger "
            "promotion.tolerance, an equal model would pass"
        )
    return Gate(_NOT_WORSE, low >= floor, low, floor, reason)


def _cannot_tell(versus: VersusChampion, tolerance: float) -> bool:
    """Return whether too few users are left to tell the candidate from the champion, because it saw the others.

    With at most half of them left out, intervals are wider by a factor of 1.4 at most: the usual rule stands.
    """
    if versus.n_users_left_out <= versus.n_users:
        return False
    low, high, smallest = map(finite, (versus.relative_low, versus.relative_high, versus.smallest_relative))
    if versus.n_users < _FEWEST_USERS or low is None:
        return True
    good_enough, worse = low >= -tolerance, high is not None and high < 0
    return not (good_enough or worse) and (smallest is None or smallest > tolerance)


def _not_comparable(versus: VersusChampion, champion: ChampionNumbers, config: PromotionConfig) -> Gate:
    """Return the gate where newer data decide: a champion may neither serve for ever, nor yield to older data."""
    found = (
        "" if versus.relative is None else f" ({config.metric} {versus.relative:+.1%}, {_interval(versus)})"
    )
    verdict = (
        "tonight's data are newer than the champion's, so the other gates decide"
        if champion.data_are_older
        else "tonight's data are not newer than the champion's, so it stays: run on newer data, or promote by "
        "hand with `recsys registry promote`"
    )
    reason = (
        f"not comparable: champion {champion.model_id} was trained on test pairs of {versus.n_users_left_out} users, "
        f"{_share(versus)}, and the {versus.n_users} left cannot tell{found}; {verdict}"
    )
    return Gate(_NOT_WORSE, champion.data_are_older, None, -config.tolerance, reason)


def _share(versus: VersusChampion) -> str:
    share = versus.n_users_left_out / (versus.n_users_left_out + versus.n_users)
    return f"{share:.1%} of tonight's test users"


def _interval(versus: VersusChampion) -> str:
    low, high = finite(versus.relative_low), finite(versus.relative_high)
    bounds = ("unbounded" if bound is None else f"{bound:+.1%}" for bound in (low, high))
    return f"[{', '.join(bounds)}]"


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
