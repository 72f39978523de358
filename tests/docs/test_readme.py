"""Every command of README and docs is executed, or its parts are looked up; nothing else may stand in a block.

What can run offline runs in the order of the documents on one small shop, as a reader would type it.
"""

import gzip
import json
import os
import re
import shlex
import subprocess
import sys
import webbrowser
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from checks import CHECKS, check_recsys, check_variable, find_command
from snippets import DOCUMENTS, GENERATED, ROOT, Command, blocks, commands, inline_code

from recsys.cf.data.demo import write_demo_shop
from recsys.cli.main import run
from recsys.config.load import config_from_document
from recsys.config.reference import ENVIRONMENT, setting_paths

WRITTEN = [file for file in DOCUMENTS if file not in GENERATED]
EXECUTED_DOCUMENTS = ("README.md", "deployments/README.md", "docs/data.md")
EXECUTED = (
    *("prepare", "run", "recommend", "report", "history", "evaluate", "compare", "doctor", "tune list"),
    *("registry list", "registry verify", "registry history", "registry gc", "registry show"),
    *("data list", "data verify", "data gc", "config show", "config schema", "config reference"),
)
NO_PROGRAM = ("yaml", "json", "text", "mermaid", "ini", "toml", "dockerfile", "python")
FLOW = ("python", "-m", "flows.train_cf")


@dataclass(frozen=True)
class Shop:
    """The reader's folder, and a user of the shop in it."""

    folder: Path
    user_id: str

    def words(self, command: Command) -> list[str] | None:
        """Return the command's words with the reader's own values, None where it needs more than this machine."""
        own = {
            "USER_ID": self.user_id,
            "USER": self.user_id,
            "MODEL": "champion",
            "A": "champion",
            "B": "previous",
        }
        words = [own.get(word, word) for word in command.words]
        away = any(
            "s3://" in word or word.startswith("/") or re.search(r"[a-z]+_\d{4}", word) for word in words
        )
        return None if away else words


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Return a folder with the files that the documents name, as the working directory."""
    folder = tmp_path_factory.mktemp("reader")
    write_demo_shop(folder / "raw", size="small", seed=3, users=900, items=120, interactions=4500)
    lines = (folder / "raw/reviews.csv").read_text(encoding="utf-8").splitlines()
    (folder / "raw/products.csv").rename(folder / "products.csv")
    with gzip.open(folder / "raw/reviews.csv.gz", "wt", encoding="utf-8") as stream:
        stream.write("\n".join(lines[:-200]) + "\n")
    (folder / "raw/reviews.csv").unlink()
    (folder / "reviews.csv").write_text(
        "\n".join([lines[0].replace("user_id", "customer"), *lines[1:]]) + "\n"
    )
    (folder / "tonight.csv").write_text("\n".join([lines[0], *lines[-100:]]) + "\n")
    names = lines[0].split(",")
    extra = [dict(zip(names, line.split(","), strict=False)) for line in lines[-200:-100] if '"' not in line]
    (folder / "extra.jsonl").write_text("\n".join(json.dumps(row) for row in extra) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        for name in [one for one in os.environ if one.startswith(("RECSYS_", "PREFECT_", "AWS_"))]:
            patch.delenv(name)
        patch.setenv("RECSYS_LOG_DIR", str(folder / "logs"))
        patch.chdir(folder)
        patch.setattr(webbrowser, "open", lambda address: True)
        yield Shop(folder, lines[1].split(",")[0])


def is_executed(command: Command) -> bool:
    """Return whether a command is one of those that the reader's machine can do in seconds."""
    if command.words[:3] == FLOW:
        return command.file == "README.md"
    if command.file not in EXECUTED_DOCUMENTS or command.words[:1] != ("recsys",):
        return False
    return " ".join(command.words[1:]).startswith(EXECUTED)


def execute(words: list[str], folder: Path) -> int:
    """Return the exit code: of a recsys command run in this process, of a flow in one of its own."""
    if words[0] == "recsys":
        with pytest.raises(SystemExit) as ended:
            run(words[1:])
        return int(ended.value.code or 0)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_HOME": str(folder / "prefect")}
    flow = [sys.executable, *words[1:]]
    done = subprocess.run(flow, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert "Nothing was trained anew" in done.stdout, done.stderr[
        -2000:
    ]  # it found the night of `recsys run`
    return done.returncode


@pytest.fixture(scope="module")
def walked(shop: Shop) -> list[list[str]]:
    """Execute what the documents say, in their order, each command once; return the commands."""
    done: list[list[str]] = []
    for file in EXECUTED_DOCUMENTS:
        for command in commands(file):
            if is_executed(command) and (words := shop.words(command)) and words not in done:
                code = execute(words, shop.folder)
                assert code == 0, f"{command} ended with {code}"
                done.append(words)
    return done


def test_the_readers_path_works(shop: Shop, walked: list[list[str]]) -> None:
    kinds = {word for words in walked for word in words[1:2]}
    assert {"prepare", "run", "registry", "recommend", "report", "-m"} <= kinds
    assert (shop.folder / "report.html").stat().st_size > 10_000


def test_reports_are_built_again_from_the_store_alone(shop: Shop, walked: list[list[str]]) -> None:
    store = shop.folder / "store"
    assert list((store / "nights").glob("*.json"))
    for folder in store.glob("registry/models/*/*"):
        assert {"report.json", "report.html", "model_card.md"} <= {one.name for one in folder.iterdir()}
    execute(["recsys", "report", "--output", "again.html"], shop.folder)
    of_the_night = [one.read_bytes() for one in store.glob("runs/*/reports/*.html")]
    assert (shop.folder / "again.html").read_bytes() in of_the_night
    execute(["recsys", "report", "champion", "--output", "model.html"], shop.folder)
    assert "This model serves" in (shop.folder / "model.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", WRITTEN)
def test_every_command_is_known_and_right(file: str) -> None:
    for command in commands(file):
        for name in command.assigned:
            check_variable(name)
        if command.words:
            program, *rest = command.words
            assert program in CHECKS, f"{command}: neither executed nor checked; teach tests/docs/checks.py"
            try:
                CHECKS[program](rest)
            except Exception as error:
                raise AssertionError(f"{command}: {error}") from error


@pytest.mark.parametrize("file", WRITTEN)
def test_programs_and_configurations_in_the_text(file: str, shop: Shop, walked: list[list[str]]) -> None:
    for block in blocks(file):
        assert block.language in ("shell", *NO_PROGRAM), f"{file}: teach this test {block.language!r}"
        if block.language == "yaml" and not block.text.lstrip().startswith(("#!", "services", "- ")):
            config_from_document(yaml.safe_load(block.text), file)
        if block.language == "python":
            local = re.sub(r"s3://[\w/-]+", str(shop.folder / "store"), block.text).replace("...", "pass")
            program = compile(local, file, "exec")
            if "load_champion" in local:
                exec(program, {})


@pytest.mark.parametrize("file", WRITTEN)
def test_commands_and_settings_in_sentences_exist(file: str) -> None:
    settings, sections = set(setting_paths()), {path.split(".")[0] for path in setting_paths()}
    for code in inline_code(file):
        if code.startswith("recsys "):
            check_mentioned(code)
        if match := re.fullmatch(r"([a-z]+)\.([a-z_.]+)(?:[:=] ?\S+)?", code):
            path = f"{match[1]}.{match[2]}"
            known = path in settings or any(one.startswith(f"{path}.") for one in settings)
            assert match[1] not in sections or known or match[2] in ("py", "yaml", "csv"), (
                f"{file}: no setting {code}"
            )


def check_mentioned(code: str) -> None:
    """Fail unless the command, and the options named with it, exist; "a | b" are commands of one group."""
    group: list[str] = []
    for part in code.removeprefix("recsys ").split("|"):
        words = [*group, *re.sub(r"[\[\]]", "", part).split()]
        command, rest = find_command(words)
        of_the_program = bool(rest) and not group and rest[0].startswith("--")  # an option of recsys itself
        runs = of_the_program or not getattr(command, "commands", None) or command.invoke_without_command
        assert runs, f"no command: {code}"
        options = {name for one in command.params for name in [*one.opts, *one.secondary_opts]}
        named = {word.partition("=")[0] for word in rest if word.startswith("--")} - {"--debug", "--help"}
        assert named <= options, f"{code}: no option {named - options}"
        group = words[: len(words) - len(rest) - 1]


def test_variables_in_the_text_exist() -> None:
    known = {one for names in ENVIRONMENT for one in names.split(", ")}
    for file in WRITTEN:
        for name in re.findall(r"RECSYS_[A-Z_]*[A-Z]", (ROOT / file).read_text()):
            assert name in known, f"{file} names {name}, which nothing reads"


@pytest.mark.parametrize(
    "line", ["recsys frobnicate", "recsys run --fast", "recsys recommend", "recsys compare A"]
)
def test_the_check_refuses_what_does_not_exist(line: str) -> None:
    with pytest.raises(Exception, match=r"(?i)no command|no such|missing|unexpected"):
        check_recsys(line.split()[1:])


@pytest.mark.parametrize(
    "line",
    [
        "make everything",
        "prefect deployment run train-cf/hourly",
        "prefect deployment run train-cf/nightly -p colour=red",
        "prefect worker start --pool tpu",
        "python tests/benchmarks/bench_nothing.py",
        "python tests/benchmarks/bench_bpr.py --nonsense",
        "pip install 'train-cf[nothing]'",
        "pytest tests/nothing",
        "docker compose -f docker/nothing.yaml up",
    ],
)
def test_the_checks_refuse_what_does_not_exist(line: str) -> None:
    program, *rest = shlex.split(line)
    with pytest.raises(AssertionError):
        CHECKS[program](rest)


@pytest.mark.parametrize("file", WRITTEN)
def test_no_command_lost_its_block(file: str) -> None:
    """A command line that Markdown would show as running text, because its block is not set off."""
    text = re.sub(
        r"^```.*?^```", "", (ROOT / file).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    inside = "\n".join(block.text for block in blocks(file))
    lines = re.findall(r"^ *((?:recsys|make|prefect|pip install|python -m) .*)$", text, re.MULTILINE)
    assert [line for line in lines if line not in inside and "`" not in line] == []
