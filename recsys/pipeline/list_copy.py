"""The local copy of a set of recommendations: in a directory that may hold other things."""

import json
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from recsys.errors import ConfigError, IntegrityError
from recsys.pipeline.list_set import MANIFEST, ListSet, read_set
from recsys.types import Json

_PART_NAME = re.compile(r"part-\d+\.parquet")
_FACTS_OF_A_SET = frozenset({"set_id", "model_id", "files", "settings"})


def check_output(output: Path) -> None:
    """Refuse, before anything is computed, a directory that ``copy_set`` could not fill.

    Raises:
        ConfigError: ``output`` is a file, cannot be written or made, or holds a manifest.json of something else.
    """
    place = output.absolute()
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    try:
        with TemporaryDirectory(dir=place, prefix=".recsys-"):
            pass  # only an attempt tells: permissions, read-only file systems, quotas, a file where a folder must be
    except OSError as error:
        raise _refusal(output, str(error)) from error
    _copied_names(output)


def copy_set(lists: ListSet, result: Json, output: Path) -> None:
    """Bring the files of a published set into the directory ``output``, each verified, its manifest last.

    Of what lies there only files of the same names are replaced, and those that an earlier copy's manifest names
    removed.

    A lease is held meanwhile, for sets that retention would remove, by those who may write into the store.

    Raises:
        IntegrityError: A file in the store is not what the manifest says.
        ConfigError: See ``check_output``.
    """
    with lists.lease(required=False):
        _copy_set(lists, output)
    result["local_copy"] = str(output)


def _copy_set(lists: ListSet, output: Path) -> None:
    manifest = read_set(lists.open_store(), lists.prefix) or {"files": []}
    names = [entry["name"] for entry in manifest["files"]]
    earlier = _copied_names(output)
    try:
        output.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=output, prefix=f".{lists.set_id}-") as temporary:
            fresh = Path(temporary)
            _fetch(lists, manifest, fresh)
            # No manifest, no set: until the new files are all there.
            (output / MANIFEST).unlink(missing_ok=True)
            for name in (*names, MANIFEST):
                (fresh / name).replace(output / name)
        for name in sorted(earlier - set(names)):
            (output / name).unlink(missing_ok=True)
    except OSError as error:
        raise _refusal(output, str(error)) from error


def _fetch(lists: ListSet, manifest: Json, directory: Path) -> None:
    store = lists.open_store()
    for entry in manifest["files"]:
        key = f"{lists.prefix}/{entry['name']}"
        if store.get_file(key, directory / entry["name"]) != entry["sha256"]:
            raise IntegrityError(f"{key} is damaged; run recommend-all again")
    store.get_file(f"{lists.prefix}/{MANIFEST}", directory / MANIFEST)


def _copied_names(output: Path) -> set[str]:
    """Return the files of an earlier copy, by its manifest. Raises ConfigError when that is of something else."""
    try:
        document = json.loads((output / MANIFEST).read_bytes())
        if not document.keys() >= _FACTS_OF_A_SET:
            raise KeyError(*sorted(_FACTS_OF_A_SET - document.keys()))
        names = [str(entry["name"]) for entry in document["files"]]
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"--output {output} holds a {MANIFEST} that is not of a set of recommendations and would be "
            "replaced; name another directory, or move that file"
        ) from error
    return {name for name in names if _PART_NAME.fullmatch(name)}


def _refusal(output: Path, cause: str) -> ConfigError:
    return ConfigError(f"--output {output}: {cause}; name a directory that can be written")
