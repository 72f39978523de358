"""A loopback HTTP proxy in front of an S3 server that breaks chosen requests in chosen ways."""

import http.client
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

NOT_FORWARDED = ("reset before body", "reset after body", "500", "503 SlowDown", "RequestTimeTooSkewed")
FORWARDED = ("reply lost", "reply late", "500 after commit", "truncated body", "stalled read")
_ANSWERS = {
    "500": (500, "InternalError"),
    "500 after commit": (500, "InternalError"),
    "503 SlowDown": (503, "SlowDown"),
    "RequestTimeTooSkewed": (403, "RequestTimeTooSkewed"),
}


@dataclass
class FaultProxy:
    """Where to connect to, what to break, and what came by."""

    endpoint_url: str
    requests: list[str] = field(default_factory=list)  # "PUT /bucket/key", every attempt
    broken: list[str] = field(default_factory=list)  # those that met a fault
    headers: list[dict[str, str]] = field(default_factory=list)  # of each request, names in lower case
    released: threading.Event = field(default_factory=threading.Event)  # ends stalls
    _choose: Callable[[str], str | None] = lambda line: None
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def break_next(self, fault: str, request: str, *, times: int = 1) -> None:
        """Apply ``fault`` to the next ``times`` requests that contain ``request``, such as "PUT /b/registry"."""
        left = [times]

        def choose(line: str) -> str | None:
            if request not in line or left[0] == 0:
                return None
            left[0] -= 1
            return fault

        self._choose = choose

    def break_by(self, choose: Callable[[str], str | None]) -> None:
        """Ask ``choose`` for the fault of each request, None for none."""
        self._choose = choose

    def heal(self) -> None:
        """Let every further request pass."""
        self._choose = lambda line: None

    def fault_for(self, line: str) -> str | None:
        """Record the request and return what is to happen to it."""
        with self._mutex:
            self.requests.append(line)
            fault = self._choose(line)
            if fault is not None:
                self.broken.append(line)
            return fault


@contextmanager
def fault_proxy(upstream_url: str, tls: ssl.SSLContext | None = None) -> Iterator[FaultProxy]:
    """Run a proxy, with ``tls`` over https, in front of ``upstream_url`` for as long as the block lasts."""
    upstream = urlsplit(upstream_url).netloc

    class Handler(_Handler):
        target = upstream

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    scheme = "http" if tls is None else "https"
    Handler.proxy = FaultProxy(f"{scheme}://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield Handler.proxy
    finally:
        Handler.proxy.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every answer waits 40 ms for an acknowledgement
    target: str
    proxy: FaultProxy

    def handle_request(self) -> None:
        self.proxy.headers.append({name.lower(): value for name, value in self.headers.items()})
        fault = self.proxy.fault_for(f"{self.command} {self.path}")
        if fault == "reset before body":
            return self._reset()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fault == "reset after body":
            return self._reset()
        if fault in NOT_FORWARDED:
            return self._answer_error(fault)
        status, headers, answer = self._forward(body)
        if fault == "reply lost":
            return self._reset()
        if fault == "reply late":
            self.proxy.released.wait(20)
            return self._reset()
        if fault == "500 after commit":
            return self._answer_error(fault)
        return self._relay(status, headers, answer, fault)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_request  # noqa: N815

    def log_message(self, *args: object) -> None:
        pass

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.target, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    connection.putheader(name, value)
            connection.putheader("Connection", "close")
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _relay(self, status: int, headers: list[tuple[str, str]], answer: bytes, fault: str | None) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        length = {name.lower(): value for name, value in headers}.get("content-length", str(len(answer)))
        self.send_header("Content-Length", length)
        self.end_headers()
        if fault in ("truncated body", "stalled read"):
            self.wfile.write(answer[: len(answer) // 2])
            self.wfile.flush()
            if fault == "stalled read":
                self.proxy.released.wait(20)
            self.close_connection = True
            return
        self.wfile.write(answer)

    def _answer_error(self, fault: str) -> None:
        status, code = _ANSWERS[fault]
        answer = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{fault}</Message></Error>".encode()
        self._relay(
            status, [("Content-Type", "application/xml")], b"" if self.command == "HEAD" else answer, None
        )

    def _reset(self) -> None:
        """End the connection with a reset instead of a proper close."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()
