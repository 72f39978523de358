"""The parts of an upload: as many as S3 takes, as small as can be, whole files in order."""

import pytest

from recsys.storage.multipart import PART_BYTES, part_bytes, upload_parts

MIB, TB = 1 << 20, 10**12


@pytest.mark.parametrize("n_bytes", [1, PART_BYTES, 10_000 * PART_BYTES])
def test_files_up_to_156_gib_go_in_parts_of_16_mib(n_bytes):
    assert part_bytes(n_bytes) == PART_BYTES


@pytest.mark.parametrize("n_bytes", [10_000 * PART_BYTES + 1, TB, 5 * TB, 5 << 40, 50 * TB])
def test_larger_files_get_larger_parts_that_s3_takes(n_bytes):
    size = part_bytes(n_bytes)
    assert size % MIB == 0
    assert -(-n_bytes // size) <= 10_000 < -(-n_bytes // (size - MIB))  # no larger than need be
    assert PART_BYTES < size <= 5 << 30


class Client:
    """What S3 is sent, kept."""

    def __init__(self):
        self.parts, self.completed = {}, None

    def create_multipart_upload(self, **_):
        return {"UploadId": "u"}

    def upload_part(self, *, PartNumber, Body, **_):
        self.parts[PartNumber] = bytes(Body)
        return {"ETag": str(PartNumber)}

    def complete_multipart_upload(self, *, MultipartUpload, **_):
        self.completed = [part["PartNumber"] for part in MultipartUpload["Parts"]]


def test_the_parts_are_the_file_whatever_their_size(tmp_path, monkeypatch):
    """With other constants the arithmetic of a file of terabytes is that of one of a few bytes."""
    monkeypatch.setattr("recsys.storage.multipart.PART_BYTES", 2)
    monkeypatch.setattr("recsys.storage.multipart._MIB", 1)
    monkeypatch.setattr("recsys.storage.multipart._MOST_PARTS", 7)
    path = tmp_path / "file"
    for n_bytes in (1, 13, 14, 15, 100):
        path.write_bytes(bytes(range(n_bytes)))
        client = Client()
        upload_parts(client, "bucket", "key", path)
        assert client.completed == list(range(1, len(client.parts) + 1))
        assert len(client.parts) <= 7
        assert b"".join(client.parts[number] for number in client.completed) == path.read_bytes()
