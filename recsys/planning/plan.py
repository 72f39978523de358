"""A night of a given size on a given machine: memory and time of each stage, and the engine of each part."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from recsys.config.schema import TrainingConfig
from recsys.errors import ConfigError
from recsys.planning import rates
from recsys.planning.engines import (
    HEADROOM,
    LARGEST,
    NO_ENGINE,
    Advice,
    Machine,
    Need,
    advise,
    advise_grid_width,
    advise_index_width,
    advise_lists,
    duration,
    smallest_machine,
)
from recsys.planning.night import Night
from recsys.planning.sizes import Sizes
from recsys.types import MAX_INT32_ENTRIES, Json

NIGHT_HOURS = 8.0
GRID_TRIALS = 50  # of a weekly study
SAMPLED_USERS = 100_000  # test users that tell small differences well enough


@dataclass(frozen=True)
class Stage:
    """One stage in a process of its own: peak bytes, seconds, and whether the machine holds it with headroom."""

    name: str
    memory_bytes: int
    seconds: float
    fits: bool


@dataclass(frozen=True)
class Plan:
    """What a night of these sizes needs."""

    sizes: Sizes
    factors: int
    machine: Machine
    stages: tuple[Stage, ...]
    night_bytes: int  # all trainings at once
    night_seconds: float  # a first night, whose searches are the longest; lists not counted
    disk_bytes: int
    recommended: Machine | None  # the smallest that does that night in time
    advice: tuple[Advice, ...]  # by part, what outgrows one machine first at the head

    @property
    def index_width(self) -> str:
        """The integers that count entries of the train matrix."""
        return f"int{8 * self.sizes.index_bytes}"

    def to_json(self) -> Json:
        """Return the plan as one JSON document, memory in bytes, times in seconds."""
        return {
            **asdict(self),
            "index_width": self.index_width,
            "headroom": HEADROOM,
            "rates": {"machine": rates.MACHINE, "command": rates.COMMAND},
        }


def sizes_of(users: int, items: int, interactions: int) -> Sizes:
    """Return the sizes of a shop. Raises ConfigError when there is no such shop."""
    for name, value in (("--users", users), ("--items", items), ("--interactions", interactions)):
        if value < 1:
            raise ConfigError(f"{name} {value}: must be at least 1")
    for name, value in (("--users", users), ("--items", items)):
        if value > MAX_INT32_ENTRIES:
            raise ConfigError(
                f"{name} {value:,}: indices are int32 in every engine, {MAX_INT32_ENTRIES:,} are the most"
            )
    if interactions > users * items:
        raise ConfigError(
            f"--interactions {interactions:,}: {users:,} users x {items:,} items have {users * items:,} pairs, "
            "and each counts once"
        )
    return Sizes.of_shop(users, items, interactions)


def with_factors(config: TrainingConfig, factors: int) -> TrainingConfig:
    """Return the configuration with that many factors in every model. Raises ConfigError out of range."""
    sections = {}
    for name in ("als", "bpr", "hybrid"):
        section = getattr(config, name)
        if not 1 <= factors <= 4096:
            raise ConfigError(f"--factors {factors}: must be 1 to 4096")
        sections[name] = section.model_copy(update={"factors": factors})
    return config.model_copy(update=sections)


def make_plan(sizes: Sizes, config: TrainingConfig, machine: Machine, *, hours: float = NIGHT_HOURS) -> Plan:
    """Return the plan of a night with the configured models, which may take so many hours.

    Arithmetic only: memory by the formulas of ``memory``, time by the rates of one measured machine.
    """
    night, limit = Night(sizes, config), hours * 3600
    whole = night.whole()
    stages = []
    for name, need in night.stages().items():
        n_bytes = need.memory_bytes(machine.cores)
        stages.append(Stage(name, round(n_bytes), need.seconds(machine.cores), machine.holds(n_bytes)))
    return Plan(
        sizes=sizes,
        factors=night.factors,
        machine=machine,
        stages=tuple(stages),
        night_bytes=round(whole.memory_bytes(machine.cores)),
        night_seconds=whole.seconds(machine.cores),
        disk_bytes=night.disk_bytes(),
        recommended=smallest_machine(whole, limit),
        advice=tuple(_beside_configured(night, machine, one) for one in _advice(night, machine, limit)),
    )


def _advice(night: Night, here: Machine, limit_seconds: float) -> Iterator[Advice]:
    """Yield the engine of each part, in the order in which parts outgrow one machine."""
    exact, hnsw = night.lists("exact"), night.lists("hnsw")
    yield advise_lists(exact, hnsw, here, limit_seconds, night.beyond("recommend-all"))
    needs = night.stages()
    yield _evaluation_advice(night, needs["evaluation"], here, limit_seconds)
    if "als" in night.models:
        part, grid = f"grid of {GRID_TRIALS} ALS fits", night.fit("als", GRID_TRIALS)
        wide = advise_grid_width(part, night.sizes.train, night.config.als.solver)
        yield wide or advise(part, grid, here, limit_seconds, night.beyond("grid"))
    for model in night.models:
        need, beyond, wide = needs[model], night.beyond(model), None
        if model == "als":
            solver = night.config.als.solver
            wide = advise_index_width(night.sizes.train, solver, need, limit_seconds, beyond)
        yield wide or advise(model, need, here, limit_seconds, beyond)
    yield advise("prepare", needs["prepare"], here, limit_seconds, night.beyond("prepare"))


def _beside_configured(night: Night, here: Machine, advice: Advice) -> Advice:
    """Return the advice with what is configured for its part; where that was chosen otherwise, the reason says so."""
    part = advice.part
    engine = getattr(night.config.runtime.engine, "recommend" if part == "recommend-all" else part, None)
    if engine is None:  # no choice of the configuration: evaluation, a grid
        return advice
    configured = (
        _configured_lists(engine, night.config.recommend.method) if part == "recommend-all" else engine
    )
    if configured in (advice.engine, "local", "local, exact"):  # the defaults go without saying
        return replace(advice, configured=configured)
    said = f"configured: {configured}"
    if engine != "local":
        beyond = night.beyond(part)
        n_bytes = beyond.host_bytes(here.cores, night.config.torchrec.hosts)
        said += f", {beyond.says(n_bytes)}{'' if here.holds(n_bytes) else ', more than there is here'}"
    return replace(advice, configured=configured, reason=f"{advice.reason}; {said}")


def _configured_lists(engine: str, method: str) -> str:
    return engine if (engine, method) == ("spark", "exact") else f"{engine}, {method}"


def _evaluation_advice(night: Night, need: Need, here: Machine, limit_seconds: float) -> Advice:
    """Return local, on a sample of the test users where all of them take too long for this machine."""
    if need.fits(here, limit_seconds):
        return Advice("evaluation", "local", 1, here, need.on(here))
    section = night.config.evaluation.model_copy(update={"max_users": SAMPLED_USERS})
    fewer = Night(night.sizes, night.config.model_copy(update={"evaluation": section})).stages()["evaluation"]
    machine = here if fewer.fits(here, limit_seconds) else smallest_machine(fewer, limit_seconds)
    if machine is None:
        reason = (
            f"{SAMPLED_USERS:,} users alone take {fewer.on(LARGEST)}, too much, and no engine divides them"
        )
        return Advice("evaluation", NO_ENGINE, 0, LARGEST, reason)
    took = f"all users take {duration(need.seconds(machine.cores))}"
    reason = f"{took}, {SAMPLED_USERS:,} of them {fewer.on(machine)}: set evaluation.max_users"
    return Advice("evaluation", "local, sampled", 1, machine, reason)
