"""Uploading a large file to S3 in parts, each with its SHA-256."""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 16 << 20  # the smallest part, and the largest file that goes in one request
_MOST_PARTS = 10_000  # what S3 takes of one upload
_MIB = 1 << 20


def part_bytes(n_bytes: int) -> int:
    """Return the size of the parts of a file: 16 MiB, larger from 156 GiB on so that 10,000 parts hold it.

    A multiple of 1 MiB; 500 MiB at 5 TB, below S3's 5 GiB for a part.
    """
    return max(PART_BYTES, -(-n_bytes // (_MOST_PARTS * _MIB)) * _MIB)


def upload_parts(client: "S3Client", bucket: str, key: str, path: Path) -> None:
    """Upload ``path`` in parts of ``part_bytes``; a failure before the last step leaves no object and no upload.

    Raises what boto3 raises. Memory: one part.
    """
    upload_id = client.create_multipart_upload(Bucket=bucket, Key=key, ChecksumAlgorithm="SHA256")["UploadId"]
    parts: list[CompletedPartTypeDef] = []
    try:
        for number, data in enumerate(_parts(path), start=1):
            checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
            answer = client.upload_part(
                Bucket=bucket,
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                Body=data,
                ChecksumSHA256=checksum,
            )
            parts.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum})
    except BaseException:
        client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
        raise
    client.complete_multipart_upload(
        Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
    )


def _parts(path: Path) -> Iterator[bytes]:
    size = part_bytes(path.stat().st_size)
    with path.open("rb") as stream:
        while data := stream.read(size):
            yield data
