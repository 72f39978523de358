"""The code blocks of a Markdown file: shell lines, Python programs, YAML, and what needs no check."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (
    *("README.md", "deployments/README.md", "docker/README.md", "SECURITY.md"),
    *sorted(str(one.relative_to(ROOT)) for one in ROOT.glob("docs/*.md")),
)
GENERATED = ("docs/configuration.md", "docs/commands.md")
_SHELLS = ("", "bash", "sh", "console", "shell")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^\n|\A)((?:^ {4}.*\n)(?:^ {4}.*\n|^\n(?= {4}))*)", re.MULTILINE)
_ASSIGNMENT = re.compile(r"[A-Z_][A-Z0-9_]*=.*")


@dataclass(frozen=True)
class Block:
    """One code block: its language ("" for shell), its text, and the file it stands in."""

    file: str
    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """One command of a shell block: words without assignments, the names assigned, and where it stands."""

    file: str
    words: tuple[str, ...]
    assigned: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}: {shlex.join(self.words)}"


def blocks(file: str) -> list[Block]:
    """Return the code blocks of a document in their order, fenced and indented."""
    text = (ROOT / file).read_text(encoding="utf-8")
    found = [(match.start(), _language(match[1], match[2]), match[2]) for match in _FENCE.finditer(text)]
    rest = _FENCE.sub(lambda match: "\n" * len(match[0]), text)
    for match in _INDENTED.finditer(rest):
        lines = "".join(line[4:] or "\n" for line in match[1].splitlines(keepends=True))
        found.append((match.start(), _language("", lines), lines))
    return [Block(file, language, lines) for _, language, lines in sorted(found)]


def commands(file: str) -> list[Command]:
    """Return the commands of all shell blocks of a document in their order."""
    return [one for block in blocks(file) if block.language == "shell" for one in _commands(block)]


def inline_code(file: str) -> list[str]:
    """Return what stands between backticks outside of code blocks."""
    text = _FENCE.sub("", (ROOT / file).read_text(encoding="utf-8"))
    return [" ".join(match.split()) for match in re.findall(r"`([^`]+)`", text)]


def _language(named: str, text: str) -> str:
    if named.lower() not in _SHELLS:
        return named.lower()
    return "python" if re.match(r"(from|import) \w", text.lstrip()) else "shell"


def _commands(block: Block) -> Iterator[Command]:
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        part: list[str] = []
        for word in [*words, "&&"]:
            if word not in ("&&", ";", "|"):
                part.append(word)
            elif part:
                yield _command(block.file, part)
                part = []


def _command(file: str, words: list[str]) -> Command:
    start = 1 if words[0] in ("export", "env") else 0
    rest = words[start:]
    assigned = []
    while rest and _ASSIGNMENT.fullmatch(rest[0]):
        assigned.append(rest.pop(0).partition("=")[0])
    if ">" in rest:
        rest = rest[: rest.index(">")]
    return Command(file, tuple(rest), tuple(assigned))
