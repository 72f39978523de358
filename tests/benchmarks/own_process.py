"""A measurement in a process of its own, so that its peak memory is its own: `SCRIPT --work ...` prints JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def measure_in_own_process(script, *work, **environment):
    """Return the JSON that ``script --work ...`` prints last; end with its errors when it fails."""
    paths = f"{ROOT}:{ROOT / 'tests' / 'benchmarks'}"
    done = subprocess.run(
        [sys.executable, script, "--work", *map(str, work)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths, **environment},
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])
