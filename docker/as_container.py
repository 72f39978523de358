"""Processes started as an engine would start them from the image: user, environment, working directory."""

import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

USER = 10001  # of the image
START_SECONDS = 120


class Container:
    """Processes that start as they would from the image: its user, environment and working directory."""

    def __init__(self, folder: Path, directory: Path, environment: dict[str, str]) -> None:
        self.folder, self.directory = folder, directory
        self.environment = environment
        self.started: list[subprocess.Popen[bytes]] = []
        self.user = USER if os.getuid() == 0 and _others_may_run(environment["PATH"]) else os.getuid()
        self.options = {"user": USER, "group": USER, "extra_groups": ()} if self.user != os.getuid() else {}

    def start(self, command: list[str], log: str) -> None:
        """Start ``command`` in the background; its output goes to a file of the folder."""
        with (self.folder / log).open("wb") as output:
            self.started.append(
                subprocess.Popen(
                    self._found(command), env=self.environment, cwd=self.directory, stdout=output, stderr=output,
                    **self.options,
                )
            )  # fmt: skip

    def run(self, command: list[str], seconds: float = START_SECONDS) -> str:
        """Run ``command`` to its end and return its output. Raises CalledProcessError, TimeoutExpired."""
        done = subprocess.run(
            self._found(command), env=self.environment, cwd=self.directory, timeout=seconds, check=True,
            stdout=subprocess.PIPE, text=True, **self.options,
        )  # fmt: skip
        return done.stdout

    def until_healthy(self, command: list[str]) -> None:
        """Repeat a health check until it succeeds. Raises TimeoutError."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                subprocess.run(
                    self._found(command),
                    env=self.environment,
                    check=True,
                    capture_output=True,
                    **self.options,
                )
                return
            except subprocess.CalledProcessError:
                time.sleep(1)
        raise TimeoutError(f"{command} never succeeded")

    def stop(self) -> None:
        """End what was started, newest first, as an engine does."""
        for process in reversed(self.started):
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _found(self, command: list[str]) -> list[str]:
        program = shutil.which(command[0], path=self.environment["PATH"])
        if program is None:
            raise FileNotFoundError(f"{command[0]} is not on the image's PATH")
        return [program, *command[1:]]


def _others_may_run(path: str) -> bool:
    """Return whether another user may run `python` of that PATH: not where it lies in root's home."""
    program = Path(shutil.which("python", path=path) or sys.executable).resolve()
    return all(one.stat().st_mode & stat.S_IXOTH for one in (program, *program.parents))
