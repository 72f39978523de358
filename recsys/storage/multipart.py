"""Uploading a large file to S3 in parts, each with its SHA-256."""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 16 << 20


def upload_parts(client: "S3Client", bucket: str, key: str, path: Path) -> None:
    """Upload ``path`` in parts of 16 MiB; a failure before the last step leaves no object and no upload.

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
    with path.open("rb") as stream:
        while data := stream.read(PART_BYTES):
            yield data
