"""Where the shop's files come from: paths, globs and s3:// addresses become local files to read."""

import fnmatch
import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from recsys.errors import ObjectNotFound, RawDataError
from recsys.storage.base import Store
from recsys.storage.open import open_store

_WILDCARDS = frozenset("*?[")


@dataclass(frozen=True)
class Source:
    """One file of the shop: its name for people, and where its bytes are on this machine."""

    name: str
    path: Path


def gather_sources(kind: str, addresses: Sequence[str], directory: Path) -> list[Source]:
    """Return the files that ``addresses`` mean, each once, sorted by name.

    Args:
        kind: what the files hold, for messages.
        addresses: paths, globs (``*``, ``?``, ``[]``, ``**``), and s3://bucket/key whose key may be a glob.
        directory: where objects of S3 are copied to.

    Raises:
        RawDataError: an address means no file. StoreError: S3 did not answer.
    """
    found: dict[str, Source] = {}
    for address in addresses:
        if address.startswith("s3://"):
            sources = _from_s3(kind, address, directory, len(found))
        else:
            sources = [Source(str(path), path) for path in _local(kind, address.removeprefix("file://"))]
        for source in sources:
            found.setdefault(source.name, source)
    return [found[name] for name in sorted(found)]


def _local(kind: str, address: str) -> list[Path]:
    path = Path(address).expanduser()
    if path.is_file():
        return [path]
    if not _WILDCARDS & set(address):
        raise RawDataError(f"{path} is not a file: give the path of the {kind} file")
    paths = [Path(one) for one in glob.glob(str(path), recursive=True) if Path(one).is_file()]  # noqa: PTH207
    if not paths:
        raise RawDataError(f"{address} matches no file: give the paths of the {kind} files")
    return paths


def _from_s3(kind: str, address: str, directory: Path, n_before: int) -> list[Source]:
    parts = urlsplit(address, allow_fragments=False)
    pattern = (parts.path + (f"?{parts.query}" if parts.query else "")).lstrip("/")
    bucket = open_store(f"s3://{parts.netloc}")
    keys = _matching(bucket, pattern)
    if not keys:
        raise RawDataError(f"{address} matches no object: give the addresses of the {kind} files")
    directory.mkdir(parents=True, exist_ok=True)
    sources = []
    for number, key in enumerate(keys, start=n_before):
        # The name's ending tells how to read the file; the number keeps equal names apart.
        path = directory / f"{number:05d}-{key.rsplit('/', 1)[-1]}"
        try:
            bucket.get_file(key, path)
        except ObjectNotFound as error:
            raise RawDataError(
                f"{bucket.uri}/{key} does not exist: give the address of the {kind} file"
            ) from error
        sources.append(Source(f"{bucket.uri}/{key}", path))
    return sources


def _matching(bucket: Store, pattern: str) -> list[str]:
    wildcard = next((place for place, letter in enumerate(pattern) if letter in _WILDCARDS), None)
    if wildcard is None:
        return [pattern]
    keys = (info.key for info in bucket.list(pattern[:wildcard]))
    return [key for key in keys if fnmatch.fnmatchcase(key, pattern)]
