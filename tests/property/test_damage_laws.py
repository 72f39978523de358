"""No damage of stored bytes passes, and none crashes: every kind of damage to every file of a data version.

First as it happens on disks and wires: the manifest still tells the right hash. Then under a hash that fits. Damage of
meaning, as a bug would write it, is in test_damage_of_meaning.
"""

import contextlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stored_versions import content, filled, forged, key_of

from recsys.cf.data.files import REQUIRED_FILES
from recsys.cf.data.load import load_processed_data
from recsys.cf.data.version import verify_version
from recsys.errors import DataValidationError


@pytest.fixture(scope="module")
def intact(contents):
    return load_processed_data(filled(contents))


def flip(data, random):
    damaged = bytearray(data)
    damaged[random.randrange(len(data))] ^= random.randrange(1, 256)
    return bytes(damaged)


def cut(data, random):
    return data[: random.randrange(len(data))]


def grow(data, random):
    return data + random.randbytes(random.randrange(1, 50))


def blank(data, random):
    start = random.randrange(len(data))
    end = random.randrange(start + 1, len(data) + 1)
    return data[:start] + bytes(end - start) + data[end:]


def shuffle(data, random):
    place = random.randrange(1, len(data))
    return data[place:] + data[:place]


BYTE_DAMAGE = {
    "flipped byte": flip,
    "truncated": cut,
    "bytes appended": grow,
    "zeroed range": blank,
    "rotated": shuffle,
}


@pytest.mark.parametrize("kind", BYTE_DAMAGE)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(REQUIRED_FILES), random=st.randoms(use_true_random=False))
def test_damaged_bytes_are_found_by_load_and_verify(contents, kind, name, random):
    store = filled(contents)
    data = content(contents, name)
    damaged = BYTE_DAMAGE[kind](data, random)
    if damaged == data:  # a range that was zero before
        return
    store.overwrite(key_of(store, name), damaged)
    with pytest.raises(DataValidationError, match=name):
        load_processed_data(store)
    assert verify_version(store, "latest") == [f"{name}: SHA-256 differs from the manifest"]


@pytest.mark.parametrize("kind", BYTE_DAMAGE)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(REQUIRED_FILES), random=st.randoms(use_true_random=False))
def test_damaged_bytes_under_a_right_hash_never_crash_and_never_change_what_is_trained_on(
    contents, intact, kind, name, random
):
    damaged = BYTE_DAMAGE[kind](content(contents, name), random)
    with contextlib.suppress(DataValidationError):
        loaded = load_processed_data(forged(contents, {name: damaged}))
        assert trained_on(loaded) == trained_on(intact)
        np.testing.assert_allclose(loaded.item_popularity, intact.item_popularity, rtol=1e-6)


def trained_on(data):
    """Return everything that a training or an evaluation reads, comparable."""
    arrays = [
        data.X_train_confidence.data, data.X_train_confidence.indices, data.X_train_confidence.indptr,
        data.X_train_binary.data, data.X_train_binary.indices, data.X_train_binary.indptr,
        data.user_pos_train.indices, data.user_pos_train.indptr,
        data.user_hard_neg_train.explicit.indices, data.user_hard_neg_train.implicit.indices,
        data.item_train_counts, data.top_k_popular_items,
    ]  # fmt: skip
    frames = [frame.write_json() for frame in (data.val_interactions, data.test_interactions)]
    return [array.tolist() for array in arrays], frames, data.mappings


def test_swapped_files_are_found_even_under_right_hashes(contents):
    swapped = 0
    for first in REQUIRED_FILES:
        for second in REQUIRED_FILES:
            if first < second:
                changes = {first: content(contents, second), second: content(contents, first)}
                with pytest.raises(DataValidationError):
                    load_processed_data(forged(contents, changes))
                swapped += 1
    assert swapped == len(REQUIRED_FILES) * (len(REQUIRED_FILES) - 1) // 2
