"""Checkpoints in the store: whole or absent, the newest readable one wins."""

import numpy as np

from recsys.cf.models.base import Checkpoint
from recsys.cf.models.checkpoint import StoreCheckpoints
from recsys.storage.memory import MemoryStore

PREFIX = "runs/r/als/checkpoints"


def checkpoint(iteration):
    return Checkpoint(iteration, {"user_factors": np.full((2, 3), iteration, np.float32)}, {"note": "ự"})


def test_the_newest_is_kept_and_loaded():
    store = MemoryStore()
    checkpoints = StoreCheckpoints(store, PREFIX)
    assert checkpoints.load() is None
    for iteration in (5, 10):
        checkpoints.save(checkpoint(iteration))
    assert [info.key for info in store.list(PREFIX)] == [f"{PREFIX}/000010.npz"]
    loaded = checkpoints.load()
    assert loaded.iteration == 10
    assert loaded.state == {"note": "ự"}
    assert (loaded.arrays["user_factors"] == 10).all()


def test_saving_again_what_a_killed_attempt_saved_is_no_error():
    store = MemoryStore()
    for _ in range(2):
        StoreCheckpoints(store, PREFIX).save(checkpoint(5))
    assert StoreCheckpoints(store, PREFIX).load().iteration == 5


def test_a_damaged_one_is_passed_over():
    store = MemoryStore()
    StoreCheckpoints(store, PREFIX).save(checkpoint(5))
    whole = store.get(f"{PREFIX}/000005.npz").data
    store.put_new(f"{PREFIX}/000010.npz", whole[: len(whole) // 2])
    store.put_new(f"{PREFIX}/000015.npz", b"")
    assert StoreCheckpoints(store, PREFIX).load().iteration == 5


def test_one_changed_bit_of_the_factors_is_damage():
    store = MemoryStore()
    StoreCheckpoints(store, PREFIX).save(checkpoint(5))
    whole = bytearray(store.get(f"{PREFIX}/000005.npz").data)
    whole[whole.index(np.float32(5).tobytes())] ^= 1
    store.put_new(f"{PREFIX}/000010.npz", bytes(whole))
    assert StoreCheckpoints(store, PREFIX).load().iteration == 5


def test_a_checkpoint_that_numpy_wrote_is_read(tmp_path):
    """As those of earlier versions of this code are, whose arrays are not aligned in the file."""
    store, state = MemoryStore(), np.frombuffer(b'{"fit_identity": "", "note": 1}', np.uint8)
    np.savez(tmp_path / "old.npz", user_factors=np.arange(6, dtype=np.float32), state=state)
    store.put_file(f"{PREFIX}/000007.npz", tmp_path / "old.npz")
    loaded = StoreCheckpoints(store, PREFIX).load()
    assert loaded.state == {"note": 1}
    assert loaded.arrays["user_factors"].flags.aligned
    assert np.array_equal(loaded.arrays["user_factors"], np.arange(6))


class Watched(MemoryStore):
    """A store in which another attempt acts just before a file is read, or just after one was found in the way."""

    def __init__(self):
        super().__init__()
        self.meanwhile = []

    def get_file(self, key, path):
        if self.meanwhile:
            self.meanwhile.pop()()
        return super().get_file(key, path)

    def sha256(self, key):
        if self.meanwhile:
            self.meanwhile.pop()()
        return super().sha256(key)


def test_one_that_another_attempt_replaces_while_it_is_read_is_looked_for_again():
    store = Watched()
    StoreCheckpoints(store, PREFIX).save(checkpoint(5))
    store.meanwhile = [lambda: StoreCheckpoints(store, PREFIX).save(checkpoint(10))]
    assert StoreCheckpoints(store, PREFIX).load().iteration == 10


def test_none_that_is_left_is_none():
    store = Watched()
    StoreCheckpoints(store, PREFIX).save(checkpoint(5))
    store.meanwhile = [lambda: store.delete(f"{PREFIX}/000005.npz")]
    assert StoreCheckpoints(store, PREFIX).load() is None


def test_one_that_another_attempt_deletes_while_it_is_saved_again_is_saved():
    store = Watched()
    StoreCheckpoints(store, PREFIX).save(checkpoint(5))
    store.meanwhile = [lambda: StoreCheckpoints(store, PREFIX).save(checkpoint(10))]
    StoreCheckpoints(store, PREFIX).save(checkpoint(5))
    assert [info.key for info in store.list(PREFIX)] == [f"{PREFIX}/{n:06d}.npz" for n in (5, 10)]
    assert StoreCheckpoints(store, PREFIX).load().iteration == 10
