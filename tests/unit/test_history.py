"""The record of a night, the history that reads them, and a model's report built from the registry again."""

import copy
import json
import math
import re
import threading
from datetime import timedelta
from xml.etree import ElementTree

import pytest
from many_nights import many_nights
from registered_reports import NIGHT, register, result_of
from report_example import IDS, example_result

from recsys.errors import StoreUnavailable
from recsys.pipeline.nights import PREFIX, newest_run, read_history, record_night
from recsys.registry.catalogue import Registry
from recsys.reporting.history import render_history
from recsys.reporting.night import night_record
from recsys.reporting.timeline import Moment, Track, timeline
from recsys.storage.documents import to_bytes
from recsys.storage.local import LocalStore


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path / "store")


def test_a_record_is_small_and_holds_what_was_decided():
    record = night_record(example_result())
    assert len(json.dumps(record)) < 4000
    assert record["outcome"] == "promoted"
    assert record["champion"] == IDS["bpr"]
    low, high = record["models"]["als"]["improvement_ci"]["recall@10"]
    assert low < record["models"]["als"]["improvement"]["recall@10"] < high


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({}, "promoted"),
        ({"failures": {"als": "TrainingError: no memory"}}, "failed"),
        ({"decision": None}, "undecided"),
        (
            {"models": {}, "decision": {"promote": False, "champion": "als_1", "reasons": ["same data"]}},
            "skipped",
        ),
        ({"decision": {"promote": False, "champion": "als_1", "reasons": ["worse"]}}, "kept"),
    ],
)
def test_outcomes(change, outcome):
    record = night_record(example_result() | change)
    assert record["outcome"] == outcome
    if outcome in ("skipped", "kept"):
        assert record["champion"] == "als_1"


def test_a_record_says_which_gates_refused():
    result = example_result()
    gates = result["decision"]["gates"][IDS["als"]]
    gates[0]["passed"] = False
    assert night_record(result)["models"]["als"]["refused_by"] == [gates[0]["name"]]


def test_whatever_is_missing_is_null_and_still_drawn():
    record = night_record(
        {"run_id": "r", "created_at": NIGHT.isoformat(), "models": {"als": {}, "bpr": None}}
    )
    assert record["outcome"] == "undecided"
    history = {"nights": [record, None], "events": [None], "champion": None, "created_at": None}
    assert "No model serves yet" in render_history(history)


def test_nights_come_back_in_order_and_the_last_ones_only(store):
    for place in (2, 0, 1):
        record_night(store, result_of(place))
    runs = [night["run_id"] for night in read_history(store, last=10)["nights"]]
    assert runs == [result_of(place)["run_id"] for place in range(3)]
    assert [night["run_id"] for night in read_history(store, last=1)["nights"]] == runs[-1:]
    assert newest_run(store) == runs[-1]


def test_a_stage_that_recorded_itself_twice_is_one_night_but_skips_are_many(store):
    first = result_of(0)
    record_night(store, first)
    record_night(store, first | {"created_at": (NIGHT + timedelta(minutes=1)).isoformat()})
    skip = {"models": {}, "decision": {"promote": False, "champion": "als_1", "reasons": ["same data"]}}
    for day in (1, 2):
        record_night(store, first | skip | {"created_at": (NIGHT + timedelta(days=day)).isoformat()})
    outcomes = [night["outcome"] for night in read_history(store, last=10)["nights"]]
    assert outcomes == ["promoted", "skipped", "skipped"]


def test_a_store_that_refuses_the_record_is_a_warning(store, monkeypatch, caplog):
    def refuse(key, data):
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(store, "put_new", refuse)
    record_night(store, result_of(0))
    assert "missing in the history" in caplog.text


def test_a_damaged_record_is_left_out(store, caplog):
    record_night(store, result_of(0))
    store.put_new(f"{PREFIX}20261130T000000000000Z_r_x.json", b"{")
    assert len(read_history(store, last=10)["nights"]) == 1
    assert "left out" in caplog.text


def test_runs_of_older_versions_are_read_from_their_results(store, tmp_path):
    old, new = result_of(0), result_of(1)
    register(store, tmp_path, old)
    store.put_new(f"runs/{old['run_id']}/result.json", to_bytes(old))
    record_night(store, new)
    assert [night["run_id"] for night in read_history(store, last=10)["nights"]] == [
        old["run_id"],
        new["run_id"],
    ]


def test_champion_changes_are_those_of_the_nights_and_the_one_that_serves(store, tmp_path):
    ids = [register(store, tmp_path, result_of(place)) for place in range(3)]
    registry = Registry(store, actor="ops")
    for model_id in ids:
        registry.promote(model_id, reasons=["seen in the shop"])
    registry.rollback("complaints")
    record_night(store, result_of(0) | {"created_at": "2020-01-01T00:00:00+00:00"})
    history = read_history(store, last=5)
    assert [event["action"] for event in history["events"]] == ["promote"] * 3 + ["rollback"]
    assert history["champion"] == ids[1]
    page = render_history(history)
    assert "complaints" in page
    assert page.index("rolled") < page.index("promoted</td>")


def test_the_history_page_holds_every_night_and_is_never_markup():
    history = many_nights(30)
    history["nights"][3]["reasons"] = ["<script>alert(1)</script>"]
    page = render_history(history)
    assert "<script>" not in page
    assert page.count('class="chip ') == 30
    assert page == render_history(copy.deepcopy(history))
    assert "http" not in re.sub(r"http-equiv", "", page)


def test_a_long_history_stays_small():
    page = render_history(many_nights(1500))
    assert len(page) < 1_000_000
    assert "1400 earlier ones are in the plots" in page


def test_a_band_encloses_its_line_and_marks_stand_at_their_time():
    moments = [
        Moment(NIGHT + timedelta(days=day), 2 + day / 10, 1 + day / 10, 3 + day / 10) for day in range(10)
    ]
    marks = [(NIGHT + timedelta(days=5), "promoted x"), (NIGHT - timedelta(days=9), "outside")]
    drawn = timeline("Gain", [Track("ALS", moments, "m-als")], marks=marks, level=(0.2, "gate"))
    svg = ElementTree.fromstring(drawn[drawn.index("<svg") :])
    line = _pixels(svg.find("polyline"))
    band = _pixels(svg.find("polygon"))
    upper, lower = band[: len(line)], band[len(line) :][::-1]
    assert all(high[1] < middle[1] < low[1] for high, middle, low in zip(upper, line, lower, strict=True))
    assert all(math.isclose(high[0], middle[0]) for high, middle in zip(upper, line, strict=True))
    marked = [one for one in svg.findall("line") if one.get("class") == "moment"]
    assert [float(one.get("x1")) for one in marked] == [line[5][0]]


def _pixels(element):
    return [tuple(map(float, point.split(","))) for point in element.get("points").split()]


def test_one_night_is_drawn_with_its_interval():
    drawn = timeline("Gain", [Track("ALS", [Moment(NIGHT, 2.0, 1.0, 3.0)], "m-als")])
    assert 'class="whisker m-als"' in drawn
    assert 'class="dot m-als"' in drawn


class SlowStore(LocalStore):
    """A store that answers like a bucket, late; counts requests and how many were under way at once."""

    def __init__(self, root):
        super().__init__(root)
        self.requests = self.under_way = self.most_at_once = 0
        self._changed = threading.Condition()

    def get(self, key):
        with self._changed:
            self.requests += 1
            self.under_way += 1
            self.most_at_once = max(self.most_at_once, self.under_way)
            self._changed.notify_all()
            if (
                self.requests > 1
            ):  # the first is alone; whoever comes later waits until there are enough, once
                self._changed.wait_for(lambda: self.most_at_once > 8, timeout=20)
        try:
            return super().get(key)
        finally:
            with self._changed:
                self.under_way -= 1


def test_many_nights_are_read_side_by_side_and_each_once(tmp_path):
    store = SlowStore(tmp_path / "store")
    for night in many_nights(200)["nights"]:
        store.put_new(
            f"{PREFIX}{night['created_at'].replace('-', '').replace(':', '')}_{night['run_id']}.json",
            to_bytes(night),
        )
    read = read_history(store, last=150)
    assert len(read["nights"]) == 150
    assert store.requests <= 150 + 5
    assert store.most_at_once > 8
