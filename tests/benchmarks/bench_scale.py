"""Every stage of a night at 1, 10 and 100 times the shop of the other benchmarks: `make bench-scale`.

Each stage runs in a process of its own, so that its peak memory is its own. Results are written as they come and
a later run with other --stages or --sizes adds to them; data versions and factors stay in --folder and are used
again. At 100x everything takes about 40 minutes on two cores and 10 GB of disk. Writes build/bench/scale.json.
"""

import argparse
import json
import os
import platform
import sys
from pathlib import Path

from bench_bpr import OUT
from own_process import measure_in_own_process
from scale_data import SIZES
from scale_place import Place
from scale_stages import STAGES, raw, sizes_in_order
from scale_table import markdown

COMMAND = "python tests/benchmarks/bench_scale.py"
RESULTS = OUT / "scale.json"


def main():
    """Measure the stages asked for and print the table of all that is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--sizes", nargs="*", choices=list(SIZES), default=["spec", "10x"])
    parser.add_argument("--stages", nargs="*", choices=list(STAGES), default=list(STAGES))
    parser.add_argument("--folder", type=Path, default=OUT / "data" / "scale")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--markdown", action="store_true", help="Only print the table of what was measured.")
    options = parser.parse_args()
    if options.work:
        folder, size, name = options.work
        print(json.dumps({**STAGES, "raw": raw}[name](Place(Path(folder), size))))
        return
    if not options.markdown:
        for size in sizes_in_order(options.sizes):
            for name in (one for one in STAGES if one in options.stages):
                measure(options, size, name)
    print(markdown(known(options.results)["cells"]))


def measure(options, size, name):
    """Measure one cell and add it to the results."""
    folder = (options.folder / size).resolve()
    temporary = folder / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    places = {"RECSYS_STATE": folder / "state", "XDG_CACHE_HOME": folder / "cache"}
    environment = {"TMPDIR": str(temporary), "OPENBLAS_NUM_THREADS": "1"}
    environment |= {name: str(path) for name, path in places.items()}
    if name == "prepare" and not Place(folder.parent, size).reviews.exists():
        measure_in_own_process(__file__, folder.parent, size, "raw", **environment)
    found = measure_in_own_process(__file__, folder.parent, size, name, **environment)
    print(
        f"{size} {name}: {found['seconds']:.2f} s, {found['peak_bytes'] / 1e6:.0f} MB",
        file=sys.stderr,
        flush=True,
    )
    document = known(options.results)
    document["cells"].setdefault(size, {})[name] = found
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(document, indent=1))


def known(path):
    """Return the document of results so far."""
    if path.exists():
        return json.loads(path.read_text())
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return {"machine": machine, "command": COMMAND, "cells": {}}


if __name__ == "__main__":
    main()
