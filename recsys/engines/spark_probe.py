"""What an executor tells about itself; runs there, so it imports nothing but the least of recsys."""

import socket
from pathlib import Path

import recsys


def executor_facts(shared_file: str) -> tuple[str, str, str]:
    """Return (host, version of recsys, content of ``shared_file``: empty where it cannot be read)."""
    try:
        seen = Path(shared_file).read_text()
    except OSError:
        seen = ""
    return socket.gethostname(), recsys.__version__, seen
