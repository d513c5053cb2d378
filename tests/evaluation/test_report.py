"""The report is one file that shows what the summary says."""

import base64
import math
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from crowdcount.data import Synthetic
from crowdcount.evaluation import chart
from crowdcount.evaluation.chart import bars, scatter
from crowdcount.evaluation.harness import evaluate
from crowdcount.evaluation.report import report_html
from crowdcount.evaluation.summary import summarise
from crowdcount.inference.density import Inference
from crowdcount.models.blockwise.bins import Bins
from crowdcount.models.ebc.network import Ebc
from crowdcount.zoo.models import Model

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def page():
    network = Ebc(backbone="test_resnet", bins=Bins([0, 1, "2+"]), pretrained=False).eval()
    model = Model(network, Inference(), None, "tiny")
    records = Synthetic(width=160, height=128, max_people=30).records("test")[:5]
    results = evaluate(model, records)
    head = {"model": "<tiny> & co", "data": "synthetic/test", "protocol": "in one pass"}
    head |= {"date": "2026-01-31", "commit": "abc1234", "weights": "0" * 64}
    return report_html(model, records, results, {**head, **summarise(results)}, worst=2), results


def test_the_page_is_whole_and_needs_nothing_else(page):
    html, _ = page
    opened = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag, attrs):
            opened.append(tag)
            assert tag not in ("script", "link") and all(key not in ("href", "srcset") for key, _ in attrs)

        def handle_endtag(self, tag):
            opened.remove(tag)

    Tags().feed(html)
    assert set(opened) <= {"meta", "img", "rect", "line", "circle"}
    assert "&lt;tiny&gt; &amp; co on synthetic/test" in html and "<tiny>" not in html and "GAME" in html


def test_the_worst_images_are_drawn_worst_first(page):
    html, results = page
    pictures = re.findall(r'<figcaption>([^<]*)</figcaption><img alt="" src="data:image/jpeg;base64,([^"]+)"', html)
    worst = sorted(results, key=lambda result: -abs(result.error))[:2]
    assert [caption.split(":")[0] for caption, _ in pictures] == [result.name for result in worst]
    for (caption, data), result in zip(pictures, worst, strict=True):
        assert f"truth {result.true}, error {result.error:+.1f}" in caption
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape[1] >= 320 and picture.std() > 10


def test_every_image_is_a_dot_where_its_counts_are():
    svg = ElementTree.fromstring(scatter(["a<b", "c", "d"], [0, 10, 5000], [0.0, 99.0, 2500.0]))
    dots = svg.findall(f".//{SVG}circle")
    assert [dot.find(f"{SVG}title").text for dot in dots] == [
        "a<b: true 0, predicted 0.0", "c: true 10, predicted 99.0", "d: true 5000, predicted 2500.0",
    ]  # fmt: skip
    places = [(float(dot.get("cx")), 480 - float(dot.get("cy"))) for dot in dots]
    assert places[0][0] == pytest.approx(places[0][1], abs=0.2)  # a right count is on the diagonal
    assert places[1][1] > places[1][0] and places[2][1] < places[2][0]
    units = (places[2][0] - places[0][0]) / np.log10(5001)
    assert places[1][0] - places[0][0] == pytest.approx(units * np.log10(11), abs=0.2)
    labels = [text.text for text in svg.iter(f"{SVG}text")]
    assert {"0", "1", "10", "100", "1000", "true count", "predicted count"} <= set(labels) and "10000" not in labels


def test_one_image_makes_a_chart():
    assert "circle" in scatter(["one"], [0], [0.0]) and "circle" in scatter(["one"], [7], [7.0])


def test_bars_are_as_long_as_the_errors():
    table = {"1-100": {"images": 1, "mae": 10.0, "bias": -10.0}, "101-500": {"images": 7, "mae": 40.0, "bias": 3.25}}
    svg = ElementTree.fromstring(bars("true count", table))
    lengths = [float(bar.get("width")) for bar in svg.findall(f"{SVG}rect")[1:]]
    assert lengths[1] == pytest.approx(4 * lengths[0])
    words = " ".join(text.text for text in svg.iter(f"{SVG}text"))
    assert "(1 image, bias -10.0)" in words and "40.0   (7 images, bias +3.2)" in words
    ElementTree.fromstring(bars("nothing wrong", {"0": {"images": 2, "mae": 0.0, "bias": 0.0}}))


@pytest.mark.parametrize(
    "values", [[130, 180], [150], [60, 90], [1100, 1900], [25, 45], [220, 450], [3, 900_000], [0, 4]]
)
def test_every_axis_has_numbers(values):
    low, high = chart._range(values)
    ticks = chart._ticks(low, high)
    assert 2 <= len(ticks) <= 14 and ticks == sorted(set(ticks))
    assert all(low <= math.log10(1 + tick) <= high for tick in ticks)
