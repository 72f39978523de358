"""What torchrun starts, once for each rank: ``python -m recsys.cf.models.torchrec_worker DIRECTORY``.

Imports torch and torchrec; nothing else of recsys imports this file.
"""

import argparse
import os
import sys
import threading
import time
import warnings
from datetime import timedelta
from pathlib import Path

warnings.filterwarnings("ignore")  # of FBGEMM about its own modules, as each of the ranks imports it
import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from torchrec.distributed.planner.types import PlannerError  # noqa: E402

from recsys.cf.models.torchrec_bpr import BprRank  # noqa: E402
from recsys.cf.models.torchrec_hybrid import HybridRank  # noqa: E402
from recsys.cf.models.torchrec_job import STOP, Job, JobFiles, is_defect  # noqa: E402
from recsys.errors import NotEnoughMemory, RecsysError  # noqa: E402

_RANKS: dict[str, type[BprRank] | type[HybridRank]] = {"bpr": BprRank, "hybrid": HybridRank}
_WATCH_SECONDS = 1.0  # between looks whether whoever asked for the fit still lives
_WORD_SECONDS = 0.01  # between looks for its word after an export
_LONGEST_WAIT = timedelta(minutes=30)  # of one rank for another inside a step
_NO_MEMORY = ("can't allocate memory", "out of memory", "DefaultCPUAllocator")
_DEFECTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    TypeError,
    ValueError,
)
_ORPHANED = 70


def main(directory: str) -> int:
    """Run one rank to the end of the fit and return the exit code of the process."""
    files, rank = JobFiles(Path(directory)), int(os.environ["RANK"])
    try:
        _train(files, rank)
    except RecsysError as error:
        files.fail(rank, error)
        return 1
    except (MemoryError, PlannerError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in _NO_MEMORY):
            if is_defect(error):
                files.fail(rank, error)
            raise  # torchrun writes it to the log
        files.fail(rank, NotEnoughMemory(_no_memory(rank, error)))
        return 1
    except _DEFECTS as error:
        if is_defect(error):
            files.fail(rank, error)
        raise
    return 0


def _train(files: JobFiles, rank: int) -> None:
    job = files.read_job()
    threading.Thread(target=_end_with_driver, args=(job, os.getppid()), daemon=True).start()
    device = _device()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_LONGEST_WAIT)
    model = _RANKS[job.model](job, files, device)
    if rank == 0:
        files.tell({"device": "gpu" if device.type == "cuda" else "cpu", "ranks": dist.get_world_size()})
    for epoch in range(job.first_epoch, job.exports[-1]):
        row = model.epoch(epoch)
        largest = torch.tensor(model.largest(), device=device)
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        if epoch + 1 in job.exports:
            model.export()
        if rank == 0:
            files.tell({"row": row, "largest_factor": float(largest), **model.notes()})
        if epoch + 1 in job.exports[:-1] and _word(files, epoch + 1) == STOP:
            break
    dist.barrier()
    dist.destroy_process_group()


def _device() -> torch.device:
    """Return this rank's GPU where every rank of the host can have one, else the CPU."""
    if torch.cuda.is_available() and torch.cuda.device_count() >= int(os.environ["LOCAL_WORLD_SIZE"]):
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
        return device
    return torch.device("cpu")


def _word(files: JobFiles, epoch: int) -> str:
    """Return what the driver decided after an epoch. Each rank waits for itself: validation may take hours."""
    while (word := files.word(epoch)) is None:
        time.sleep(_WORD_SECONDS)
    return word


def _end_with_driver(job: Job, parent: int) -> None:
    """End this process at once when torchrun or the driver is gone: nobody would end it otherwise."""
    while os.getppid() == parent and not job.driver.is_gone():
        time.sleep(_WATCH_SECONDS)
    os._exit(_ORPHANED)


def _no_memory(rank: int, error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"rank {rank} of TorchRec has too little memory ({first}); add hosts or GPUs (torchrec.hosts, "
        "torchrec.ranks), or set fewer factors or a smaller torchrec.batch_size"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="One rank of a fit by TorchRec, as torchrun starts it.")
    parser.add_argument("directory", help="where the driver left the job")
    sys.exit(main(parser.parse_args().directory))
