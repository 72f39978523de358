"""Local copies of a data version's files, brought by several threads at once."""

import threading
from concurrent.futures import ThreadPoolExecutor

from stored_versions import filled, key_of, read

from recsys.cf.data.load import fetch_files
from recsys.cf.data.manifest import read_manifest
from recsys.cf.data.version import resolve_version
from recsys.storage.memory import MemoryStore


def test_threads_that_fill_one_folder_do_not_take_each_others_files(contents, tmp_path):
    """Both have brought their copy before either gives it its name."""
    both = threading.Barrier(2, timeout=20)

    class MeetingStore(MemoryStore):
        def get_file(self, key, path):
            found = super().get_file(key, path)
            both.wait()
            return found

    store, name = filled(contents), "items.parquet"
    slow, manifest = MeetingStore(), read_manifest(store, resolve_version(store, "latest"))
    slow.put_new(key_of(store, name), read(store, name))
    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(fetch_files, slow, manifest, (name,), tmp_path) for _ in range(2)]
    assert [future.result() for future in done] == [None, None]
    assert [path.name for path in tmp_path.iterdir()] == [name]
