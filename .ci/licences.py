"""Write docs/licences.md: the licence of every package that an installation of the core or of an extra brings.

python .ci/licences.py        (make licences; in an environment with '.[dev,torch,spark,ann]')

Read from the metadata of what is installed here; what is not installed here (embed, torchrec, ray) is not listed.
"""

import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "licences.md"
_EXTRAS = ("torch", "mlflow", "tune", "dask", "spark", "ann")
_HEAD = """# Licences of dependencies

Made by `make licences` from the metadata of the pinned versions; a test holds it against constraints.txt.
train-cf itself is under Apache-2.0. Nothing below is bundled with it: pip installs each package from its own source.
"""


def main() -> int:
    """Write the file; return the exit code of the process."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = closure(project["dependencies"])
    parts = [_HEAD, section("Core", core.values())]
    for extra in _EXTRAS:
        more = closure(project["optional-dependencies"][extra])
        added = {name: found for name, found in more.items() if name not in core}
        if added:
            parts.append(section(f"Extra {extra}", added.values()))
    TARGET.write_text("\n".join(parts))
    sys.stdout.write(f"docs/licences.md: {len(core)} packages in the core\n")
    return 0


def closure(requirements: Iterable[str]) -> dict[str, Distribution]:
    """Return the installed packages that ``requirements`` bring, by canonical name."""
    found: dict[str, Distribution] = {}
    waiting = [(Requirement(one), "") for one in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue
        asked = {"", *requirement.extras}
        if name not in found or requirement.extras:
            found[name] = package
            waiting += [(Requirement(one), extra) for one in package.requires or () for extra in asked]
    return dict(sorted(found.items()))


def licence(package: Distribution) -> str:
    """Return the licence by its SPDX expression, else by the classifiers, else by the first line of the text."""
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = list(_classified(metadata.get_all("Classifier") or ()))
    text = str(metadata.get("License") or "").strip().splitlines()
    return " / ".join(classifiers) or (text[0] if text else "not stated")


def _classified(classifiers: Iterable[str]) -> Iterator[str]:
    for one in classifiers:
        if one.startswith("License :: ") and not one.endswith("OSI Approved"):
            yield one.rsplit(" :: ", 1)[1]


def section(title: str, packages: Iterable[Distribution]) -> str:
    """Return a table in Markdown."""
    rows = [
        f"| {canonicalize_name(one.metadata['Name'])} | {one.version.split('+')[0]} | {licence(one)} |"
        for one in packages
    ]
    return "\n".join([f"## {title}", "", "| package | version | licence |", "|---|---|---|", *rows, ""])


if __name__ == "__main__":
    sys.exit(main())
