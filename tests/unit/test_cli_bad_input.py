"""Bad input ends with one clear line and its exit code, and leaves store and registry as they were."""

import json
from pathlib import Path

import pytest

from recsys.cf.data.demo import write_demo_shop
from recsys.cli.main import run
from recsys.cli.output import console, plain_table


def snapshot(store: Path) -> dict[str, bytes]:
    """Return every file of a store, so that two moments can be compared."""
    return {
        str(path.relative_to(store)): path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file()
    }


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Return (raw directory, store) with one small data version."""
    raw, store = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("store") / "s"
    write_demo_shop(raw, size="small", seed=1)
    with pytest.raises(SystemExit) as done:
        run(
            ["prepare", str(raw / "reviews.csv"), "--items", str(raw / "products.csv"), "--store", str(store)]
        )
    assert done.value.code == 0
    return raw, store


def fails(capsys, arguments, code):
    """Run the command, check its exit code, and return its only line on stderr."""
    with pytest.raises(SystemExit) as done:
        run([str(one) for one in arguments])
    captured = capsys.readouterr()
    assert done.value.code == code, captured.err
    lines = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, captured.err
    assert "Traceback" not in captured.err
    return lines[0]


def test_missing_column(prepared, capsys, tmp_path):
    _, store = prepared
    before = snapshot(store)
    bad = tmp_path / "bad.csv"
    bad.write_text("user_id,product_id,stars_given,cmt_date\nu1,p1,5,2024-01-01\n")
    line = fails(capsys, ["prepare", bad, "--store", store], 3)
    assert "rating" in line
    assert "bad.csv" in line
    assert "--column" in line
    assert snapshot(store) == before


def test_empty_file(prepared, capsys, tmp_path):
    _, store = prepared
    before = snapshot(store)
    for name, text in (("empty.csv", ""), ("header.csv", "user_id,product_id,rating,cmt_date\n")):
        (tmp_path / name).write_text(text)
        line = fails(capsys, ["prepare", tmp_path / name, "--store", store], 3)
        assert name in line or "no rows" in line
    assert snapshot(store) == before


def test_all_ratings_out_of_range(prepared, capsys, tmp_path):
    _, store = prepared
    before = snapshot(store)
    bad = tmp_path / "percent.csv"
    bad.write_text(
        "user_id,product_id,rating,cmt_date\n"
        + "".join(f"u{n},p{n % 3},{60 + n},2024-01-0{n % 9 + 1}\n" for n in range(20))
    )
    line = fails(capsys, ["prepare", bad, "--store", store], 3)
    assert "rating" in line
    assert "[1, 5]" in line
    assert snapshot(store) == before


def test_unknown_data_version(prepared, capsys):
    _, store = prepared
    before = snapshot(store)
    line = fails(capsys, ["run", "--store", store, "--data-version", "v_20200101T000000Z_000000000000"], 3)
    assert "v_20200101T000000Z_000000000000" in line
    assert snapshot(store) == before


def test_store_without_data(capsys, tmp_path):
    line = fails(capsys, ["run", "--store", tmp_path / "nothing"], 3)
    assert "recsys prepare" in line


def test_corrupted_matrix_file(prepared, capsys, tmp_path):
    raw, _ = prepared
    store = tmp_path / "damaged"
    with pytest.raises(SystemExit):
        run(["prepare", str(raw / "reviews.csv"), "--store", str(store)])
    matrix = next(store.rglob("X_train_confidence.npz"))
    data = bytearray(matrix.read_bytes())
    data[len(data) // 2] ^= 0xFF
    matrix.chmod(0o644)
    matrix.write_bytes(bytes(data))
    before = snapshot(store)
    line = fails(capsys, ["run", "--store", store, "--output", tmp_path / "out"], 3)
    assert "X_train_confidence.npz" in line
    after = snapshot(store)
    assert {key: after[key] for key in before} == before
    assert not [key for key in after if key.startswith("registry/models")]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("bpr.epoch=30", "bpr.epochs"),
        ("als.factors=0", "als.factors"),
        ("als.factors=many", "als.factors"),
        ("nonsense", "="),
        ("evaluation.k_values=[20, 10]", "ascending"),
    ],
)
def test_bad_settings(prepared, capsys, setting, expected):
    _, store = prepared
    before = snapshot(store)
    assert expected in fails(capsys, ["run", "--store", store, "--set", setting], 2)
    assert snapshot(store) == before


def test_misspelt_key_in_the_file_names_the_nearest(prepared, capsys, tmp_path):
    _, store = prepared
    file = tmp_path / "night.yaml"
    file.write_text("bpr:\n  learning_rat: 0.1\n")
    line = fails(capsys, ["run", "--store", store, "--config", file], 2)
    assert "night.yaml" in line
    assert "bpr.learning_rate" in line


def test_unknown_model_and_alias(prepared, capsys):
    _, store = prepared
    fails(capsys, ["registry", "show", "als_20200101T000000Z_00000000", "--store", store], 4)
    fails(capsys, ["registry", "rollback", "--reason", "test", "--store", store], 4)
    fails(capsys, ["recommend", "nobody", "--store", store], 4)


def test_usage_errors_exit_2():
    for arguments in (["run", "--no-such-option"], ["no-such-command"], ["registry", "show"]):
        with pytest.raises(SystemExit) as done:
            run(arguments)
        assert done.value.code == 2


def test_json_errors_are_a_document(prepared, capsys):
    _, store = prepared
    with pytest.raises(SystemExit) as done:
        run(["run", "--store", str(store), "--data-version", "0123456789", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["error"]["exit_code"] == done.value.code == 3
    assert document["error"]["type"] == "DataVersionNotFound"


def test_debug_shows_the_traceback(prepared, capsys):
    _, store = prepared
    with pytest.raises(SystemExit):
        run(["--debug", "run", "--store", str(store), "--data-version", "0123456789"])
    assert "Traceback" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_told_before_anything_is_trained(prepared, capsys, tmp_path):
    _, store = prepared
    before = snapshot(store)
    (tmp_path / "file").write_text("")
    line = fails(capsys, ["run", "--store", store, "--output", tmp_path / "file" / "out"], 2)
    assert "--output" in line
    assert snapshot(store) == before


@pytest.mark.parametrize("uri", ["s3:/bucket/prefix", "ftp://host/place", "http://bucket"])
def test_store_uris_that_are_a_slip_of_the_pen(capsys, uri):
    assert "s3://bucket/prefix" in fails(capsys, ["registry", "list", "--store", uri], 2)


def test_a_file_is_no_store(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert "is a file" in fails(capsys, ["registry", "list", "--store", tmp_path / "file"], 2)


def test_findings_in_json_are_one_document(prepared, capsys, tmp_path):
    raw, _ = prepared
    with pytest.raises(SystemExit):
        run(["prepare", str(raw / "reviews.csv"), "--store", str(tmp_path / "s")])
    matrix = next((tmp_path / "s").rglob("X_train_binary.npz"))
    matrix.chmod(0o644)
    matrix.write_bytes(b"")
    capsys.readouterr()
    with pytest.raises(SystemExit) as done:
        run(["data", "verify", "--store", str(tmp_path / "s"), "--json"])
    document = json.loads(capsys.readouterr().out)
    assert done.value.code == 3
    assert not document["ok"]
    assert any("X_train_binary.npz" in finding for finding in document["findings"])


def test_a_shops_words_are_never_markup(capsys, tmp_path):
    table = plain_table("title")
    table.add_row("[combo 2] Son [/b] :smile:")
    console().print(table)
    assert "[combo 2] Son [/b] :smile:" in capsys.readouterr().out
