"""Nights and registered models from the example document, for tests of the history and of model reports."""

from datetime import UTC, datetime, timedelta

from report_example import example_result

from recsys.registry.artifact import new_version, stage_model
from recsys.registry.catalogue import Registry
from recsys.reporting.model_card import model_document
from recsys.storage.documents import to_bytes

NIGHT = datetime(2026, 11, 1, 19, tzinfo=UTC)


def result_of(place, *, promote=True):
    result = example_result(promote=promote)
    when = NIGHT + timedelta(days=place)
    return result | {"created_at": when.isoformat(), "run_id": f"r_{place:012x}_0011aabb"}


def register(store, tmp_path, result, *, with_document=True):
    """Register the ALS model of ``result`` with the files that a report is built from; return its id."""
    folder = tmp_path / f"files-{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    (folder / "als_U.npy").write_bytes(b"factors")
    if with_document:
        (folder / "report.json").write_bytes(to_bytes(model_document(result, "als")))
    model_id = stage_model(store, "als", new_version(), folder, facts={})
    Registry(store, actor="test").register(
        model_id, "als", data_version="v", run_id=result["run_id"], metrics={"recall@10": 0.2}
    )
    return model_id
