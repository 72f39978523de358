"""The reference of the commands in Markdown, written from the commands themselves: docs/commands.md."""

import sys
from collections.abc import Iterator
from typing import Any

import typer

from recsys.cli.main import app

_INTRODUCTION = """\
# Commands

Written by `python -m recsys.cli.reference`; a test fails when this page is not what the commands say.

Exit codes: 0 done, 2 usage or configuration, 3 data, 4 store or registry, 5 training. `--debug` shows the traceback of
an error. Every command that takes `--store` reads RECSYS_STORE, or `./store`, without it.
"""


def render_commands() -> str:
    """Return every command with its arguments and options as GitHub-flavoured Markdown."""
    return (
        "\n".join([_INTRODUCTION, *(_entry(path, command) for path, command in commands())]).rstrip() + "\n"
    )


def commands() -> Iterator[tuple[str, Any]]:
    """Yield (path, click command) of every command that does something: ("registry list", ...)."""
    yield from _below("", typer.main.get_command(app))


def _below(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)  # newer Typer carries its own click: no isinstance
    if inner is None:
        yield path, command
        return
    if command.invoke_without_command and path:
        yield path, command
    for name, one in inner.items():
        if not one.hidden:
            yield from _below(f"{path} {name}".strip(), one)


def _entry(path: str, command: Any) -> str:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option"]
    names = (one.name.upper() if one.required else f"[{one.name.upper()}]" for one in arguments)
    lines = [f"## recsys {path}", "", f"`{' '.join(['recsys', path, *names])}`", ""]
    lines += [_joined(command.help), ""]
    lines += [f"- `{one.name.upper()}`: {_told(one)}" for one in arguments]
    lines += [f"- {', '.join(f'`{name}`' for name in one.opts)}: {_told(one)}" for one in options]
    return "\n".join(lines) + "\n"


def _told(parameter: Any) -> str:
    words = _joined(parameter.help) or "-"
    needed = " Required." if parameter.required and parameter.param_type_name == "option" else ""
    return f"{words}{needed}"


def _joined(words: str | None) -> str:
    return " ".join((words or "").split())


if __name__ == "__main__":
    sys.stdout.write(render_commands())
