"""How much memory a piece of Python needs, measured in a process of its own."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

_METER = """
import json, pathlib

def _status(name):
    line = next(one for one in pathlib.Path("/proc/self/status").read_text().splitlines() if one.startswith(name + ":"))
    return int(line.split()[1]) * 1024

class Growth:
    "Bytes by which the resident size rose above what it was on entering, at its peak; pages of mapped files count."
    def __enter__(self):
        pathlib.Path("/proc/self/clear_refs").write_text("5")
        self.before = _status("VmRSS")
        return self
    def __exit__(self, *error):
        self.peak = _status("VmHWM") - self.before

def private():
    "Bytes of memory that no other process shares, and shared bytes, of this process."
    found = dict.fromkeys(("Private_Clean", "Private_Dirty", "Shared_Clean", "Shared_Dirty", "Pss", "Anonymous"), 0)
    for line in pathlib.Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split(":")
        if name in found:
            found[name] = int(value.split()[0]) * 1024
    return found

def tell(**numbers):
    print(json.dumps(numbers), flush=True)
"""


def start_measured(code: str, *arguments: object) -> "subprocess.Popen[str]":
    """Return a started process of ``code``, which has ``Growth``, ``private`` and ``tell``, and sys.argv."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("needs Linux' /proc to measure memory")
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", _METER + textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def run_measured(code: str, *arguments: object) -> dict[str, float]:
    """Return the numbers that ``code`` gives to ``tell``."""
    process = start_measured(code, *arguments)
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    return json.loads(out.splitlines()[-1])
