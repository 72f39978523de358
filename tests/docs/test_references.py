"""The generated references are what the schema and the commands say, and leave nothing out."""

import re

import pytest
from checks import read_variables
from snippets import DOCUMENTS, ROOT

from recsys.cli.reference import commands, render_commands
from recsys.config.load import load_config
from recsys.config.reference import ENVIRONMENT, render_reference, setting_paths

HINT = "write it anew: make docs"


@pytest.mark.parametrize(
    ("file", "render"), [("docs/configuration.md", render_reference), ("docs/commands.md", render_commands)]
)
def test_the_reference_is_not_stale(file, render) -> None:
    assert (ROOT / file).read_text(encoding="utf-8") == render(), HINT


def test_every_setting_is_listed_once() -> None:
    listed = re.findall(r"^\| `([a-z_.]+)` \|", (ROOT / "docs/configuration.md").read_text(), re.MULTILINE)
    wanted = list(setting_paths())
    assert len(wanted) > 60
    assert [one for one in listed if "." in one] == wanted


def test_paths_and_defaults_are_those_that_load() -> None:
    """Setting every listed default by --set gives the default configuration."""
    text = (ROOT / "docs/configuration.md").read_text()
    rows = re.findall(r"^\| `([a-z_.]+\.[a-z_]+)` \| .*? \| `([^`]*)` \|", text, re.MULTILINE)
    overrides = [f"{path}={default}" for path, default in rows]
    assert len(overrides) == len(list(setting_paths()))
    assert load_config(None, overrides).model_dump() == load_config(None).model_dump()


def test_every_setting_says_what_it_means() -> None:
    empty = re.findall(r"^\| `([a-z_.]+)` \|.*\|  ?\|$", render_reference(), re.MULTILINE)
    assert empty == []


def test_every_variable_that_is_read_is_listed_and_the_other_way_round() -> None:
    listed = {one for names in ENVIRONMENT for one in names.split(", ") if one.startswith("RECSYS_")}
    assert listed == read_variables()


def test_every_command_is_in_the_documents() -> None:
    text = " ".join((ROOT / file).read_text(encoding="utf-8") for file in DOCUMENTS)
    missing = [path for path, _ in commands() if f"recsys {path}" not in text]
    assert missing == []


def test_every_command_says_what_it_does() -> None:
    silent = [path for path, command in commands() if not command.help]
    nameless = [
        f"{path} {one.name}"
        for path, command in commands()
        for one in command.params
        if not getattr(one, "help", None)
    ]
    assert silent == []
    assert nameless == []


@pytest.mark.parametrize("file", DOCUMENTS)
def test_links_and_pictures_lead_somewhere(file) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = [target for target in targets if target and "://" not in target]
    assert [target for target in local if not ((ROOT / file).parent / target).exists()] == []


@pytest.mark.parametrize("name", ["report-light", "report-dark", "history"])
def test_pictures_of_the_pages_are_small(name) -> None:
    assert 10_000 < (ROOT / f"docs/{name}.png").stat().st_size < 300_000
