"""Schema versions of the registry's documents."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from recsys.errors import RegistryError
from recsys.registry.documents import SCHEMA_VERSION, decode, encode, parse_utc, utc_text


def test_equal_documents_give_equal_bytes() -> None:
    assert encode({"b": 1, "a": "Sữa"}) == encode({"a": "Sữa", "b": 1})
    assert json.loads(encode({"a": "Sữa"})) == {"a": "Sữa"}


def test_numbers_must_be_finite() -> None:
    with pytest.raises(RegistryError, match="not finite"):
        encode({"recall": float("nan")})


def test_todays_documents_are_read_as_they_are() -> None:
    document = {"schema_version": SCHEMA_VERSION, "x": 1}
    assert decode(encode(document), "key") == document


def test_old_documents_climb_through_every_version() -> None:
    migrations = {
        1: lambda d: {"schema_version": 2, "name": d["title"]},
        2: lambda d: {"schema_version": 3, "names": [d["name"]]},
    }
    old = encode({"schema_version": 1, "title": "x"})
    assert decode(old, "key", version=3, migrations=migrations) == {"schema_version": 3, "names": ["x"]}
    with pytest.raises(RegistryError, match="schema version 2, which no migration"):
        decode(encode({"schema_version": 2}), "key", version=3, migrations={1: migrations[1]})


def test_newer_documents_ask_for_an_update() -> None:
    with pytest.raises(RegistryError, match=f"some/key has schema version {SCHEMA_VERSION + 1}.*update"):
        decode(encode({"schema_version": SCHEMA_VERSION + 1}), "some/key")


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"null", b"3", b"{", b'{"schema_version": "1"}'])
def test_what_is_no_document_is_named(data: bytes) -> None:
    with pytest.raises(RegistryError, match="some/key"):
        decode(data, "some/key")


def test_times_survive_the_round_trip() -> None:
    moment = datetime(2030, 1, 31, 23, 59, 59, 5, tzinfo=timezone(timedelta(hours=7)))
    assert parse_utc(utc_text(moment)) == moment
    assert utc_text(moment) == "2030-01-31T16:59:59.000005Z"
    assert parse_utc(utc_text(moment)).tzinfo == UTC
