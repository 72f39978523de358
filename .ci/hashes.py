"""Write constraints-hashes.txt: the wheels of the core for this platform, each with its SHA-256, by pip's resolver.

python .ci/hashes.py [EXTRA ...]        (make hashes)

pip resolves the project with constraints.txt and reports the files it would install; nothing is installed. Then
    pip install --require-hashes --requirement constraints-hashes.txt && pip install --no-deps .
takes those bytes and no others. The list holds for this Python version and platform, so it is made where it is used
(docker/Dockerfile.cpu takes it when it is there) and not committed.
"""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "constraints-hashes.txt"


def main(extras: list[str]) -> int:
    """Write the file; return the exit code of the process."""
    project = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
    with TemporaryDirectory() as place:
        report = Path(place) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--constraint", str(ROOT / "constraints.txt"), "--report", str(report), project]
        done = subprocess.run(command, check=False)
        if done.returncode:
            return done.returncode
        lines = requirements(json.loads(report.read_text()))
    TARGET.write_text("# made by .ci/hashes.py for this Python and platform\n" + "".join(lines))
    sys.stdout.write(f"{TARGET.name}: {len(lines)} packages\n")
    return 0


def requirements(report: dict[str, object]) -> list[str]:
    """Return one line for each file of pip's report but the project itself. Raises SystemExit without a hash."""
    lines = []
    for one in report["install"]:  # type: ignore[attr-defined]
        metadata, archive = one["metadata"], one["download_info"].get("archive_info")
        if archive is None:  # a directory: the project itself
            continue
        sha256 = (archive.get("hashes") or {}).get("sha256")
        if not sha256:
            raise SystemExit(f"the registry names no SHA-256 of {metadata['name']}")
        lines.append(f"{metadata['name'].lower()}=={metadata['version']} --hash=sha256:{sha256}\n")
    return sorted(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
