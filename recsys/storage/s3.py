"""A store in a bucket of S3 or of a compatible server, through boto3.

Integrity is our own SHA-256, sent along for servers that check it and compared on reading back. Objects that
others must never see half are single PutObject calls: some servers ignore conditions on multipart uploads and
copies. After every doubtful answer the object is read back before anybody is told anything.
"""

import base64
import hashlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from recsys.errors import (
    ObjectChanged,
    ObjectExists,
    ObjectNotFound,
    OutcomeUnknown,
    StoreError,
    StoreUnavailable,
)
from recsys.storage.base import ObjectInfo, Store, StoredObject, bytes_sha256, check_key, file_sha256
from recsys.storage.files import BLOCK_BYTES, replace_file
from recsys.storage.multipart import PART_BYTES, upload_parts
from recsys.storage.s3_client import new_client
from recsys.storage.s3_errors import translate

T = TypeVar("T")
_FAILURES = (ClientError, BotoCoreError)


class S3Store(Store):
    """Objects below ``s3://bucket/prefix``. Region, endpoint and credentials come from the AWS_* environment.

    Args:
        bucket: Exists already.
        prefix: Without slashes at its ends; empty for the whole bucket.
        endpoint_url: Of a compatible server; None: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or AWS itself.
        read_timeout_seconds: Longest silence of the server in the middle of an answer.
        max_attempts: How often a request is sent at most, with growing pauses.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint_url: str | None = None,
        read_timeout_seconds: float = 30.0,
        max_attempts: int = 4,
    ) -> None:
        self.bucket = bucket
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._max_attempts = max_attempts
        self._client = new_client(endpoint_url, read_timeout_seconds, max_attempts)

    def get(self, key: str) -> StoredObject:
        """Return the whole object. Raises ObjectNotFound."""

        def read(blocks: Iterator[bytes], etag: str) -> StoredObject:
            return StoredObject(b"".join(blocks), etag)

        return self._download(key, read)

    def get_range(self, key: str, start: int, n_bytes: int) -> bytes:
        """Return bytes of the object from ``start`` on, fewer where it ends. Raises ObjectNotFound."""
        if n_bytes == 0:  # HTTP has no words for a range of nothing
            if self.head(key) is None:
                raise ObjectNotFound(f"{self._name(key)} does not exist")
            return b""
        try:
            return self._download(key, lambda blocks, _: b"".join(blocks), span=(start, start + n_bytes))
        except StoreError as error:
            if isinstance(error.__cause__, ClientError) and _status(error.__cause__) == 416:  # past the end
                return b""
            raise

    def head(self, key: str) -> ObjectInfo | None:
        """Return size, time and etag, or None."""
        try:
            answer = self._client.head_object(**self._address(key))
        except _FAILURES as error:
            translated = _reading_error(translate(error, self._name(key)))
            if isinstance(translated, ObjectNotFound):
                return None
            raise translated from error
        return ObjectInfo(key, answer["ContentLength"], answer["ETag"], answer["LastModified"])

    def put_new(self, key: str, data: bytes) -> str:
        """Create the object atomically and return its etag. Raises ObjectExists and leaves the old bytes.

        When answers got lost and the object is found to hold exactly ``data``, that counts as our success:
        writers that must know who of them won put an id of their own into the bytes.
        """
        sha256 = bytes_sha256(data)
        return self._put(key, sha256, ObjectExists, Body=data, IfNoneMatch="*")

    def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        """Replace the object if its etag is still ``etag``; return the new etag. Raises ObjectChanged."""
        return self._put(key, bytes_sha256(data), ObjectChanged, Body=data, IfMatch=etag)

    def put_file(self, key: str, path: Path) -> str:
        """Create the object from a file, streaming; return the file's SHA-256. Raises ObjectExists.

        Above 16 MiB it goes in parts, and create-once is only as strong as a look before: such files belong
        to versions that one writer owns and a manifest makes visible.
        """
        sha256 = file_sha256(path)
        if path.stat().st_size > PART_BYTES:
            self._put_parts(key, path, sha256)
            return sha256
        with path.open("rb") as stream:
            self._put(key, sha256, ObjectExists, Body=stream, IfNoneMatch="*")
        return sha256

    def get_file(self, key: str, path: Path) -> str:
        """Write the object to ``path``, streaming; return the SHA-256 of what came. Raises ObjectNotFound."""
        return self._download(key, lambda blocks, _: replace_file(path, blocks))

    def sha256(self, key: str) -> str:
        """Return the SHA-256 of the object as hex, streaming it. Raises ObjectNotFound."""
        return self._download(key, lambda blocks, _: _hash(blocks))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield every object whose key starts with ``prefix``, in key order, however many pages there are."""
        # SeaweedFS lists folder by folder, which is not the order of the keys.
        yield from sorted(self._listing(prefix), key=lambda info: info.key)

    def _listing(self, prefix: str) -> Iterator[ObjectInfo]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self._prefix + prefix
        )
        try:
            for page in pages:
                for entry in page.get("Contents", []):
                    key = entry["Key"].removeprefix(self._prefix)
                    yield ObjectInfo(key, entry["Size"], entry["ETag"], entry["LastModified"])
        except _FAILURES as error:
            raise _reading_error(translate(error, f"{self.uri}/{prefix}*")) from error

    def delete(self, key: str) -> None:
        """Remove the object; a missing one is no error."""
        try:
            self._client.delete_object(**self._address(key))
        except _FAILURES as error:
            translated = translate(error, self._name(key))
            if not isinstance(translated, ObjectNotFound):
                raise translated from error

    def sweep(self, older_than: datetime, *, dry_run: bool, below: Sequence[str] = ("",)) -> Sequence[str]:
        """Return the keys of multipart uploads begun before ``older_than`` and never finished; abort them."""
        found = []
        pages = self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self.bucket, Prefix=self._prefix
        )
        try:
            for page in pages:
                for upload in page.get("Uploads", []):
                    key = upload["Key"].removeprefix(self._prefix)
                    if upload["Initiated"] >= older_than or not key.startswith(tuple(below)):
                        continue
                    found.append(key)
                    if not dry_run:
                        self._client.abort_multipart_upload(
                            Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
        except _FAILURES as error:
            raise _reading_error(translate(error, self.uri)) from error
        return found

    def _put(self, key: str, sha256: str, conflict: type[StoreError], **request: Any) -> str:
        try:
            answer = self._client.put_object(**self._address(key), ChecksumSHA256=_base64(sha256), **request)
        except _FAILURES as error:
            return self._settle(key, sha256, conflict, error)
        return answer["ETag"]

    def _put_parts(self, key: str, path: Path, sha256: str) -> None:
        if self.head(key) is not None:
            raise ObjectExists(f"{self._name(key)} exists already")
        try:
            upload_parts(self._client, self.bucket, self._prefix + key, path)
        except _FAILURES as error:
            self._settle(key, sha256, ObjectExists, error)

    def _settle(
        self, key: str, sha256: str, conflict: type[StoreError], error: ClientError | BotoCoreError
    ) -> str:
        """Return the etag if a write that did not end well is found done after all, else raise the reason."""
        translated = translate(error, self._name(key))
        if isinstance(translated, ObjectNotFound):  # an If-Match on an absent key, or a finished multipart
            translated = ObjectChanged(f"{self._name(key)} is gone")
        if isinstance(translated, ObjectChanged):
            if _sent_once(error) and _status(error) == 412:
                raise conflict(f"{self._name(key)} was written by somebody else") from error
        elif not translated.retryable:
            raise translated from error
        found = self._read_back(key, translated)
        if found is not None and found[0] == sha256:
            return found[1]
        if isinstance(translated, ObjectChanged) and found is None and conflict is ObjectExists:
            raise StoreUnavailable(
                f"{self._name(key)}: refused as taken, yet not there; try again"
            ) from error
        if isinstance(translated, ObjectChanged) or (found is not None and conflict is ObjectExists):
            raise conflict(f"{self._name(key)} was written by somebody else") from error
        raise translated from error

    def _read_back(self, key: str, reason: StoreError) -> tuple[str, str] | None:
        """Return (SHA-256, etag) of what is there, or None. Raises OutcomeUnknown when that fails."""
        try:
            return self._download(key, lambda blocks, etag: (_hash(blocks), etag))
        except ObjectNotFound:
            return None
        except StoreUnavailable as error:
            raise OutcomeUnknown(f"{reason}; reading it back failed as well: {error}") from error

    def _download(
        self, key: str, use: Callable[[Iterator[bytes], str], T], *, span: tuple[int, int] | None = None
    ) -> T:
        """Return ``use(blocks, etag)``; a body that breaks off is asked for and used again from its start.

        ``span``: of the bytes from its first up to its second, which is none of them.
        """
        request: Any = {} if span is None else {"Range": f"bytes={span[0]}-{span[1] - 1}"}
        for attempt in range(1, self._max_attempts + 1):
            try:
                answer = self._client.get_object(**self._address(key), **request)
            except _FAILURES as error:
                raise _reading_error(translate(error, self._name(key))) from error
            try:
                blocks = self._blocks(key, answer["Body"])
                if span is not None and answer["ResponseMetadata"]["HTTPStatusCode"] != 206:
                    blocks = _cut(blocks, *span)  # of a server that passes over Range and sends everything
                return use(blocks, answer["ETag"])
            except StoreUnavailable:
                if attempt == self._max_attempts:
                    raise
            time.sleep(random.uniform(0, 0.1 * 2**attempt))
        raise AssertionError("max_attempts is at least 1")

    def _blocks(self, key: str, body: Any) -> Iterator[bytes]:
        try:
            yield from body.iter_chunks(BLOCK_BYTES)
        except BotoCoreError as error:
            raise StoreUnavailable(f"{self._name(key)}: the answer broke off: {error}") from error

    def _address(self, key: str) -> Any:
        return {"Bucket": self.bucket, "Key": self._prefix + check_key(key)}

    def _name(self, key: str) -> str:
        return f"{self.uri}/{key}"


def _reading_error(error: StoreError) -> StoreError:
    """A read that broke has no outcome to be in doubt of."""
    return StoreUnavailable(str(error)) if isinstance(error, OutcomeUnknown) else error


def _sent_once(error: ClientError | BotoCoreError) -> bool:
    return isinstance(error, ClientError) and not error.response["ResponseMetadata"].get("RetryAttempts")


def _status(error: ClientError | BotoCoreError) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"] if isinstance(error, ClientError) else 0


def _hash(blocks: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def _cut(blocks: Iterator[bytes], start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes from ``start`` up to ``end``, and ask for no block behind them."""
    at = 0
    for block in blocks:
        yield block[max(0, start - at) : max(0, end - at)]
        at += len(block)
        if at >= end:
            return


def _base64(sha256: str) -> str:
    return base64.b64encode(bytes.fromhex(sha256)).decode()
