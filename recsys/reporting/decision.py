"""What the run decided, in words: the one line everybody reads, its colour, and the reasons below it."""

from typing import Literal

from recsys.reporting.document import label, model_of, rows, section, text
from recsys.types import Json

Status = Literal["good", "warn", "bad", "plain"]


def headline(result: Json) -> str:
    """Return the decision in one line, or what stands in its place."""
    decision = section(result, "decision")
    if decision.get("promote"):
        return f"{label(model_of(result, text(decision, 'model_id')))} becomes champion"
    if decision:
        return "The champion stays" if decision.get("champion") else "No model becomes champion"
    return "The run failed" if result.get("failures") else "Trained, not yet decided"


def status(result: Json) -> Status:
    """Return bad when a model failed, else good or warn by the decision, plain when there is none."""
    if result.get("failures"):
        return "bad"
    decision = section(result, "decision")
    if not decision:
        return "plain"
    return "good" if decision.get("promote") else "warn"


def reasons(result: Json) -> list[str]:
    """Return why: failures first, then the decision's reasons, then that an earlier run was reused."""
    said = [f"{label(name)} failed: {cause}" for name, cause in section(result, "failures").items()]
    said += [str(reason) for reason in rows(section(result, "decision"), "reasons")]
    if result.get("reused"):
        said.append("Nothing was trained anew: this data version and these settings had been run before.")
    return said
