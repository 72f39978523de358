"""Removing objects that somebody may begin to use at the same moment."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from recsys.errors import ObjectExists, ObjectNotFound
from recsys.storage.base import ObjectInfo, Store


def remove_unused(
    store: Store, objects: Sequence[ObjectInfo], in_use: Callable[[], bool], *, manifest: str | None = None
) -> bool:
    """Delete ``objects`` unless somebody uses what they make up, and return whether all are gone.

    No store deletes several objects at once, and large things take minutes. Whoever begins to use one therefore says
    so first (by a lease, a pointer, an entry in the catalogue) and looks at the objects afterwards, and here the
    question is asked before every deletion; at the first yes the rest stays.

    - The manifest goes first. After its deletion the question is asked once more, and at a yes (or where no answer
      can be had) the manifest is put back. So whoever spoke before it went keeps everything, and whoever speaks later
      finds no manifest: nobody is left with one over missing objects.
    - The others go newest first. What stays when it stops is then what was there at an earlier moment: a document is
      never left without the older objects it speaks of.

    What remains possible: somebody speaks between a question and the deletion that follows it, which costs that one
    object. It is harmless to those who look afterwards: what is missing is trained or written again, and no manifest
    is written before a look at everything it names. A deletion that is held up until after that look (a process that
    sleeps, a request under way) is found by the hashes that every later reader compares.

    Cost: a deletion and a question for each object.

    Args:
        in_use: asks the store, not a memory of it.
        manifest: key of the object, among ``objects`` or not there, that makes the others exist.
    """
    for info in sorted(objects, key=lambda info: _rank(info, manifest)):
        if in_use():
            return False
        if info.key != manifest:
            store.delete(info.key)
        elif not _withdrawn(store, manifest, in_use):
            return False
    return True


def _rank(info: ObjectInfo, manifest: str | None) -> tuple[bool, float, bool, str]:
    # Some stores know whole seconds only: of one second, documents go before the files they speak of.
    return info.key != manifest, -info.modified_at.timestamp(), not info.key.endswith(".json"), info.key


def _withdrawn(store: Store, manifest: str, in_use: Callable[[], bool]) -> bool:
    """Delete the manifest and return True; False, with the manifest back in its place, if it is used by then."""
    try:
        data = store.get(manifest).data
    except ObjectNotFound:  # another collection was quicker
        return True
    store.delete(manifest)
    unused = False
    try:
        unused = not in_use()
    finally:
        if not unused:
            with suppress(ObjectExists):  # its user wrote it anew
                store.put_new(manifest, data)
    return unused
