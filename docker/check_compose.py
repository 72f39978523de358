"""Check compose.yaml without an engine: variables, then the grammar of the Compose specification.

python docker/check_compose.py        (needs PyYAML and compose-spec; `make docker-check` installs them)

Where `docker compose` is installed, it is asked as well: `docker compose config --quiet`.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?:(?P<kind>:?[-?])(?P<rest>[^}]*))?\}")


def example_environment() -> dict[str, str]:
    """Return the variables of .env.example, each empty one filled with "example"."""
    lines = (HERE / ".env.example").read_text().splitlines()
    pairs = [line.split("=", 1) for line in lines if line and not line.startswith("#")]
    return {name: value or "example" for name, value in pairs}


def interpolated(text: str, environment: dict[str, str]) -> str:
    """Return ``text`` with ${NAME}, ${NAME:-default}, ${NAME-default} and ${NAME:?message} filled in.

    Raises SystemExit for a variable that must be set and is not.
    """

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match["name"], match["kind"] or "", match["rest"] or ""
        found = environment.get(name)
        if found is None or (found == "" and kind.startswith(":")):
            if not kind.endswith("-"):
                raise SystemExit(f"compose.yaml needs {name}: {rest or 'not set'}")
            return rest
        return found

    return _VARIABLE.sub(value, text)


def main() -> int:
    """Check the file; return the exit code of the process."""
    from compose_spec import PyCompose

    text = (HERE / "compose.yaml").read_text()
    document = yaml.safe_load(interpolated(text, example_environment()))  # resolves anchors and merge keys
    PyCompose.from_yaml(yaml.safe_dump(document)).validate()
    sys.stdout.write("compose.yaml: valid by the Compose specification (compose-spec)\n")
    asked = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if asked.returncode:
        sys.stdout.write("docker compose: not installed, not asked\n")
        return 0
    command = ["docker", "compose", "--file", str(HERE / "compose.yaml"), "config", "--quiet"]
    return subprocess.run(command, env={**os.environ, **example_environment()}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
