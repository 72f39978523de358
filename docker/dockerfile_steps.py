"""The instructions of a Dockerfile, read well enough for ours: no heredocs, no ONBUILD, no escape directive."""

import re
from dataclasses import dataclass
from pathlib import Path

_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


@dataclass(frozen=True)
class Step:
    """One instruction: its line, its word in capitals, and the rest in one line."""

    line: int
    word: str
    rest: str


def read_steps(path: Path) -> list[Step]:
    """Return the instructions in their order, continued lines joined, comments left out."""
    steps: list[Step] = []
    gathered: list[str] = []
    first = 0
    for number, raw in enumerate(path.read_text().splitlines(), start=1):
        text = raw.strip()
        if not text or text.startswith("#"):
            continue
        first = first if gathered else number
        gathered.append(text.removesuffix("\\").strip())
        if not text.endswith("\\"):
            word, _, rest = " ".join(gathered).partition(" ")
            steps.append(Step(first, word.upper(), rest))
            gathered = []
    return steps


def pairs(rest: str) -> dict[str, str]:
    """Return the variables that an ENV instruction sets; values hold no blanks in our files."""
    return dict(one.split("=", 1) for one in rest.split())


def expanded(text: str, values: dict[str, str]) -> str:
    """Return ``text`` with $NAME and ${NAME} replaced; unknown ones become empty, as in a build."""
    return _VARIABLE.sub(lambda found: values.get(found[1] or found[2], ""), text)
