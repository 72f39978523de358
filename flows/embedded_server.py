"""The process of the embedded server: `python -m flows.embedded_server FD`, FD a listening socket."""

import os
import socket
import sys
import threading

import uvicorn
from prefect.server.api.server import create_app


def main() -> None:
    """Serve the API, without the UI, until standard input ends."""
    server = uvicorn.Server(uvicorn.Config(create_app(ephemeral=True), log_level="error"))

    def end_with_parent() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True

    threading.Thread(target=end_with_parent, daemon=True).start()
    server.run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
    # everything received is written; taking the interpreter down in order would cost the caller a second
    os._exit(0)


if __name__ == "__main__":
    main()
