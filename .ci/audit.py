"""Ask the package registry for known vulnerabilities of every pinned version, by pip-audit.

python .ci/audit.py        (make audit; part of make check)

Ends with 1 when a pinned version has a vulnerability that .ci/audit-ignore.txt does not name. Where pip-audit is not
installed, or the registry cannot be reached or knows no advisories (a mirror), one line says so and the end is 0: an
audit that did not happen must neither stop nor reassure.
"""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
IGNORED = ROOT / ".ci" / "audit-ignore.txt"
_SECONDS = 300


def main() -> int:
    """Run the audit; return the exit code of the process."""
    pinned = ROOT / "constraints.txt"
    with TemporaryDirectory() as place:  # one version first: a registry without advisories is asked no more
        first = Path(place) / "first.txt"
        first.write_text("".join(line for line in pinned.open() if line.startswith("urllib3==")))
        for requirements in (first, pinned):
            try:
                outcome = audit(requirements)
            except LookupError as error:
                return skipped(str(error))
            if not any("vulns" in one for one in outcome):
                return skipped("the registry knows no advisories (a mirror?)")
    return judged(outcome)


def audit(requirements: Path) -> list[dict[str, object]]:
    """Return what pip-audit says of each version of the file. Raises LookupError when it cannot ask."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(requirements)]
    command += ["--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json"]
    for identifier in ignored():
        command += ["--ignore-vuln", identifier]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        dependencies: list[dict[str, object]] = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired as error:
        raise LookupError(f"no answer within {_SECONDS} s") from error
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise LookupError((done.stderr.strip().splitlines() or ["no answer"])[-1]) from error
    return dependencies


def ignored() -> list[str]:
    """Return the identifiers of the ignore file: the first word of each line; the rest says why."""
    lines = IGNORED.read_text().splitlines() if IGNORED.exists() else []
    return [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]


def judged(dependencies: list[dict[str, object]]) -> int:
    """Print what was found; return 1 for a vulnerability, else 0."""
    audited = [one for one in dependencies if "vulns" in one]
    found = [(one, vuln) for one in audited for vuln in one["vulns"]]  # type: ignore[attr-defined]
    for one, vuln in found:
        fixed = ", ".join(vuln["fix_versions"]) or "no version yet"
        sys.stdout.write(f"{one['name']} {one['version']}: {vuln['id']}, fixed in {fixed}\n")
    told = f"pip-audit: {len(audited)} of {len(dependencies)} versions audited, {len(found)} vulnerabilities"
    sys.stdout.write(f"{told}\n")
    return 1 if found else 0


def skipped(why: str) -> int:
    """Say that nothing was audited, and why; return 0."""
    sys.stdout.write(f"pip-audit: skipped, nothing was audited: {why}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
