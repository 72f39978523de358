"""SIGKILL at random moments of a BPR fit, twenty times: the same bytes as without."""

import json
import subprocess
import sys
from pathlib import Path

DRIVER = Path(__file__).with_name("bpr_kill_driver.py")
KILLS = 20


def drive(directory, kills, seed):
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(directory), str(kills), str(seed)],
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_twenty_kills_do_not_change_a_byte(tmp_path):
    undisturbed = drive(tmp_path / "whole", 0, 0)
    assert undisturbed["resumed"] is None
    killed = drive(tmp_path / "killed", KILLS, 7)
    assert killed["kills"] == KILLS
    assert killed["resumed"] is not None
    assert killed["epochs"] == undisturbed["epochs"]
    assert killed["sha256"] == undisturbed["sha256"]
