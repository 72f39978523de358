"""What Prefect adds to a night: writes build/bench/flow.json and prints it as a table.

python tests/benchmarks/bench_flow.py [--rounds 3]

The same night, in turns: `recsys run` without Prefect, the flow on its embedded server, and a run of the
deployment train-cf/nightly on a server, from the request to the end. Overhead: what takes longer than the first.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from prefect_servers import PrefectServer, deploy, running_prefect, until  # noqa: E402

from recsys.cf.data.demo import write_demo_shop  # noqa: E402
from recsys.cf.data.prepare import prepare  # noqa: E402
from recsys.config.load import load_config  # noqa: E402
from recsys.config.settings import available_threads  # noqa: E402
from recsys.storage.open import open_store  # noqa: E402

SETTINGS = ["als.preset=default", "bpr.preset=original"]
LIMIT_SECONDS = {"embedded": 6.0, "server": 10.0}


def new_store(folder: Path, name: str) -> str:
    """Return the address of a store that holds the data version and nothing else."""
    store = open_store(str(folder / name))
    prepare(store, folder / "raw" / "reviews.csv", None, load_config(None).data, seed=42)
    return store.uri


def plain_seconds(folder: Path, store: str) -> float:
    return command_seconds(folder, "-c", "from recsys.cli.main import run; run()", "run", "--store", store)


def embedded_seconds(folder: Path, store: str) -> float:
    return command_seconds(folder, "-m", "flows.train_cf", "--store", store)


def command_seconds(folder: Path, *command: str) -> float:
    environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environment |= {"HOME": str(folder), "PYTHONPATH": str(ROOT)}
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *command, *settings, "--json"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=folder,
        env=environment,
    )
    return time.perf_counter() - began


def server_seconds(prefect: PrefectServer, store: str) -> float:
    run = prefect.wait(prefect.start_run("train-cf/nightly", store=store, overrides=SETTINGS), 600)
    if run["state_type"] != "COMPLETED":
        raise SystemExit("\n".join(prefect.logs(run["id"])))
    created, end = (datetime.fromisoformat(run[name]) for name in ("created", "end_time"))
    return (end - created).total_seconds()


def measure(folder: Path, rounds: int, size: str) -> dict[str, list[float]]:
    """Return the seconds of each round by the way the night was run; a round before them warms the caches."""
    write_demo_shop(folder / "raw", size=size, seed=3)  # type: ignore[arg-type]
    seconds: dict[str, list[float]] = {"plain": [], "embedded": [], "server": []}
    with running_prefect(folder) as prefect:
        deploy(prefect, {})
        with prefect.worker("cpu"):
            until(lambda: prefect.has_worker("cpu") or None, 60, "worker")
            for number in range(rounds + 1):
                stores = {way: new_store(folder, f"{way}-{number}") for way in seconds}
                found = {
                    "plain": plain_seconds(folder, stores["plain"]),
                    "embedded": embedded_seconds(folder, stores["embedded"]),
                    "server": server_seconds(prefect, stores["server"]),
                }
                if number:
                    for way, one in found.items():
                        seconds[way].append(one)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", default="small", help="of the demo shop: small, spec or real")
    parser.add_argument("--output", type=Path, default=Path("build/bench/flow.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="train-cf-bench-") as name:
        seconds = measure(Path(name), options.rounds, options.size)
    rows = []
    for way, limit in LIMIT_SECONDS.items():
        added = [one - plain for one, plain in zip(seconds[way], seconds["plain"], strict=True)]
        rows.append(
            {
                "work": f"{way}: what Prefect adds to a night, limit {limit:g} s",
                "size": f"demo shop {options.size}, median of {options.rounds}",
                "threads": available_threads(),
                "unit": "s",
                "ours": round(statistics.median(added), 2),
                "peers": {"whole night": round(statistics.median(seconds[way]), 2)},
                "ratio": {},
                "rounds": [round(one, 2) for one in added],
            }
        )
    document = {"machine": platform.platform(), "command": " ".join(sys.argv), "rows": rows}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(document, indent=2) + "\n")
    for row in rows:
        sys.stdout.write(f"{row['work']:<50} {row['size']:<32} {row['ours']:>6} s  {row['rounds']}\n")


if __name__ == "__main__":
    main()
