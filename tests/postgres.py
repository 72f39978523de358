"""A PostgreSQL server of the test's own: Debian's programs, a private port on loopback, never as root."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from servers import free_ports

_DEBIAN = Path("/usr/lib/postgresql")
_SECONDS = 60


def postgres_programs() -> Path:
    """Return the folder that holds initdb, pg_ctl and psql; skip the test where there is none."""
    folders = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    folders += sorted(_DEBIAN.glob("*/bin"), reverse=True)
    for folder in folders:
        if all((folder / name).exists() for name in ("initdb", "pg_ctl", "psql")):
            return folder
    pytest.skip("PostgreSQL is not installed: apt-get install postgresql")


@contextmanager
def running_postgres() -> Iterator[str]:
    """Run a server for as long as the block lasts and yield the address of its database, without a driver."""
    programs, port = postgres_programs(), free_ports()
    # pytest's own folders are closed to the user that the server runs as
    with tempfile.TemporaryDirectory(prefix="train-cf-postgres-") as name:
        folder = Path(name)
        user = _unprivileged_user(folder)

        def call(program: str, *arguments: str) -> None:
            subprocess.run(
                [str(programs / program), *arguments],
                check=True,
                stdout=subprocess.DEVNULL,
                user=user,
                cwd=folder,
                timeout=_SECONDS,
            )

        data = ("-D", str(folder / "data"))
        call("initdb", *data, "--username=prefect", "--auth=trust", "--no-sync")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        call("pg_ctl", *data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"prefect@127.0.0.1:{port}/postgres"
        finally:
            call("pg_ctl", *data, "-m", "immediate", "stop")


def ask(address: str, sql: str) -> str:
    """Return what psql prints for a query."""
    program = str(postgres_programs() / "psql")
    done = subprocess.run(
        [program, f"postgresql://{address}", "-tAc", sql],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return done.stdout.strip()


def _unprivileged_user(folder: Path) -> str | None:
    """Return whom the server shall run as and give him the folder; None: ourselves, who are not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        os.chown(folder, found.pw_uid, found.pw_gid)
        return name
    pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres or nobody")
