"""What makes a command of the documents right when it is not executed: its parts exist where it looks for them."""

import ast
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
import yaml
from snippets import ROOT

from recsys.cli.main import app
from recsys.config.reference import ENVIRONMENT

FOREIGN_VARIABLES = ("PREFECT_", "AWS_", "MLFLOW_", "OMP_", "OPENBLAS_", "MKL_", "DO_NOT_TRACK")
_PYTHON = ("python", "python3", ".venv/bin/python")


def check_variable(name: str) -> None:
    """Fail unless the product or one of its services knows an environment variable."""
    known = {one for names in ENVIRONMENT for one in names.split(", ")}
    assert name in known or name.startswith(FOREIGN_VARIABLES), f"nothing reads the variable {name}"


def find_command(words: Sequence[str]) -> tuple[Any, list[str]]:
    """Return the command of the tree that ``words`` (after recsys) name, and the words left."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while rest and rest[0] in (getattr(command, "commands", None) or {}):
        command = command.commands[rest.pop(0)]
    return command, rest


def check_recsys(words: Sequence[str]) -> None:
    """Fail unless the command exists and takes these arguments and options."""
    if words in (["--version"], ["--help"]):
        return
    command, rest = find_command(words)
    assert not getattr(command, "commands", None) or command.invoke_without_command, f"no command {words}"
    command.make_context("recsys", [one for one in rest if one != "--debug"])


def check_make(words: Sequence[str]) -> None:
    """Fail unless every target exists."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = [one for one in words if "=" not in one and not one.startswith("-")]
    assert set(named) <= targets, f"no target {set(named) - targets}"


def check_prefect(words: Sequence[str]) -> None:
    """Fail unless the deployment, its parameters, or the work pool exist."""
    given = list(words)
    if given[:2] == ["deployment", "run"]:
        functions = deployments()
        assert given[2] in functions, f"no deployment {given[2]}"
        named = {given[place + 1].partition("=")[0] for place, one in enumerate(given) if one == "-p"}
        assert named <= set(functions[given[2]]), f"{given[2]} takes no {named - set(functions[given[2]])}"
    elif given[:2] == ["worker", "start"]:
        assert given[given.index("--pool") + 1] in pools()
    elif "deploy" in given:
        files = [given[place + 1] for place, one in enumerate(given) if one == "--prefect-file"]
        assert files
        assert all((ROOT / one).is_file() for one in files)
    else:
        known = (
            ["server", "start"],
            ["work-pool", "ls"],
            ["deployment", "ls"],
            ["flow-run", "ls"],
            ["version"],
        )
        known += (
            ["deployment", "pause"],
            ["work-pool", "pause"],
            ["work-pool", "resume"],
            ["server", "database"],
        )
        assert given[:2] in known or given[:1] in known, f"teach this test `prefect {' '.join(given)}`"


def check_python(words: Sequence[str]) -> None:
    """Fail unless the module or file exists and knows the options."""
    if words[0] == "-m" and words[1] in ("venv", "pip", "pytest", "build"):
        return check_pytest(words[2:]) if words[1] == "pytest" else check_pip(words[2:])
    source = ROOT / (f"{words[1].replace('.', '/')}.py" if words[0] == "-m" else words[0])
    assert source.is_file(), f"no file {source}"
    for option in (one.partition("=")[0] for one in words if one.startswith("--")):
        nearby = [source, *source.parent.glob("*.py"), *ROOT.glob("recsys/cli/*.py")]  # flows share options
        assert any(option in one.read_text() for one in nearby), f"{source.name} knows no {option}"
    return None


def check_pytest(words: Sequence[str]) -> None:
    """Fail unless every path exists."""
    missing = [
        one for one in words if not one.startswith("-") and not (ROOT / one.partition("::")[0]).exists()
    ]
    assert not missing, f"no such test: {missing}"


def check_pip(words: Sequence[str]) -> None:
    """Fail unless the extras of train-cf exist."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"(?:train-cf|\.)\[([\w,]+)\]", " ".join(words))
    extras = {one for names in named for one in names.split(",")}
    assert extras <= set(project["optional-dependencies"]), f"no extra {extras}"


def check_files(words: Sequence[str]) -> None:
    """Fail unless the files that follow -f, --file or --env-file exist, if only as an .example."""
    for place, one in enumerate(words):
        if one in ("-f", "--file", "--env-file"):
            path = ROOT / words[place + 1]
            assert path.exists() or path.with_name(f"{path.name}.example").exists(), f"no file {path}"


def check_dask(words: Sequence[str]) -> None:
    """Fail unless the extra that brings the program exists."""
    check_pip(["train-cf[dask]"])


def check_spark_class(words: Sequence[str]) -> None:
    """Fail unless the class is one of Spark's daemons, and the extra that brings the program exists."""
    assert words[0] in [f"org.apache.spark.deploy.{one}" for one in ("master.Master", "worker.Worker")], (
        words[0]
    )
    check_pip(["train-cf[spark]"])


def nothing(words: Sequence[str]) -> None:
    """Check nothing: the shell's own."""


CHECKS: Mapping[str, Callable[[Sequence[str]], None]] = {
    "recsys": check_recsys,
    ".venv/bin/recsys": check_recsys,
    "make": check_make,
    "prefect": check_prefect,
    "pytest": check_pytest,
    "pip": check_pip,
    "docker": check_files,
    "dask": check_dask,
    "spark-class": check_spark_class,
    **dict.fromkeys(_PYTHON, check_python),
    **dict.fromkeys(
        ("cd", "git", "cp", "source", "mkdir", "kill", "curl", "aws", "hadolint", "crontab"), nothing
    ),
}


def deployments() -> dict[str, list[str]]:
    """Return the parameters of every deployment, by flow/deployment, read from prefect.yaml and the flows."""
    document = yaml.safe_load((ROOT / "deployments/prefect.yaml").read_text())
    found = {}
    for one in document["deployments"]:
        path, _, function = one["entrypoint"].partition(":")
        tree = ast.parse((ROOT / path).read_text())
        node = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == function)
        decorator = next(d for d in node.decorator_list if isinstance(d, ast.Call))
        name = next(k.value for k in decorator.keywords if k.arg == "name")
        assert isinstance(name, ast.Constant)
        found[f"{name.value}/{one['name']}"] = [a.arg for a in [*node.args.args, *node.args.kwonlyargs]]
    return found


def pools() -> set[str]:
    """Return the names of the work pools of prefect.yaml."""
    document = yaml.safe_load((ROOT / "deployments/prefect.yaml").read_text())
    return {one["work_pool"]["name"] for one in document["deployments"]}


def read_variables() -> set[str]:
    """Return the RECSYS_ variables that product code, deployments and containers read, without those of tests."""
    found: set[str] = set()
    for folder in ("recsys", "flows", "deployments", "docker"):
        for path in Path(ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.name != "reference.py":
                found |= set(re.findall(r"RECSYS_[A-Z_]*[A-Z]", path.read_text(errors="ignore")))
    return {name for name in found if not name.startswith("RECSYS_TEST_")}
