"""A night whose Prefect server goes away at chosen moments: the program that test_server_away.py runs.

Between the run and a real server stands a gate of TCP. While it is shut, connections are refused and those
that stand are cut, as when the server is restarted.
"""

import contextlib
import functools
import importlib
import json
import os
import socket
import sys
import threading
from urllib.parse import urlsplit


class Gate:
    """Forwards a loopback port to the server until it is shut, and again once it is opened."""

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream)
        self._standing: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        """Be away from now on."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._standing:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._standing.clear()

    def open(self) -> None:
        """Be there again."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # shut
            while True:
                near, _ = listener.accept()
                far = socket.create_connection((self._upstream.hostname, self._upstream.port))
                self._standing += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=_forward, args=pair, daemon=True).start()


def _forward(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def main() -> None:
    """Run the night; arguments: the server, {"module.function" of flows: seconds}, the flow's parameters."""
    upstream, away, parameters = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
    gate = Gate(upstream)
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{gate.port}/api"
    from flows.train_cf import train_cf

    for moment, seconds in away.items():
        shut_before(gate, moment, seconds)
    state = train_cf(**parameters, return_state=True)
    result = state.result(raise_on_failure=False)
    sys.stdout.write(json.dumps({"state": state.type.value, "result": result}, default=repr) + "\n")


def shut_before(gate: Gate, moment: str, seconds: float | None) -> None:
    """Shut the gate when the function is called for the first time, for seconds or (None) as long as the call lasts."""
    module, name = moment.split(".")
    place = importlib.import_module(f"flows.{module}")
    function = getattr(place, name)
    left = [seconds]

    @functools.wraps(function)
    def without_server(*arguments: object, **named: object) -> object:
        if not left:
            return function(*arguments, **named)
        gate.shut()
        if (seconds := left.pop()) is not None:
            threading.Timer(seconds, gate.open).start()
            return function(*arguments, **named)
        try:
            return function(*arguments, **named)
        finally:
            gate.open()

    setattr(place, name, without_server)


if __name__ == "__main__":
    main()
