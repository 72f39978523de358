"""The curves as images for the Prefect UI."""

import xml.etree.ElementTree as ET
from base64 import b64decode

import pytest
from report_example import example_result

from recsys.reporting.images import data_uri, training_curves


@pytest.mark.parametrize("model", ["als", "bpr"])
def test_each_curve_is_a_complete_svg_document_that_needs_nothing_else(model):
    images = training_curves(example_result(), model)
    assert [image.what for image in images] == ["training loss", "validation"]
    for image in images:
        drawing = ET.fromstring(image.svg)
        assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
        assert drawing.get("viewBox")
        assert drawing.findall("{http://www.w3.org/2000/svg}polyline")
        assert image.svg.count("http") == 1, "nothing but the namespace"


def test_the_legend_names_the_lines_in_their_order():
    (_, validation) = training_curves(example_result(), "als")
    history = example_result()["models"]["als"]["history"]
    measured = list(dict.fromkeys(key for row in history for key in row if "@" in key))
    assert validation.legend == f"{measured[0]}, {measured[1]} (dashed)"


def test_a_run_with_one_point_has_no_curves():
    result = example_result()
    result["models"]["als"]["history"] = result["models"]["als"]["history"][:1]
    assert training_curves(result, "als") == []


def test_a_data_uri_holds_the_document():
    head, _, body = data_uri("<svg/>").partition(",")
    assert head == "data:image/svg+xml;base64"
    assert b64decode(body) == b"<svg/>"
