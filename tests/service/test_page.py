"""The page in a real browser: upload, zones by mouse, touch and keyboard, errors, the token, what is downloaded."""

import csv
import io
import json
import re
import time
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")
from crowdcount.ground import Ground, camera_of_tilt
from crowdcount.live.log import LiveReading, Outage
from crowdcount.live.readings import Readings
from crowdcount.live.source import parse_sources
from crowdcount.service.app import create_app
from crowdcount.service.cameras import Cameras
from crowdcount.service.settings import Settings
from crowdcount.video.smoothing import Reading
from crowdcount.zones import parse_zones
from tests.support.browser import open_browser
from tests.support.service import TOKEN, image_bytes, listening, tiny_predictor
from tests.support.video import frame_image, write_video

WIDTH, HEIGHT = 288, 192


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return tiny_predictor(tmp_path_factory.mktemp("counter") / "release", calibrated=True)


@pytest.fixture(scope="module")
def address(predictor):
    with listening(create_app(predictor, Settings(rate=0))) as address:
        yield address


@pytest.fixture
def open_page(browser, address):
    """A function that opens the page; it must ask no other host for anything, and have no error of its own."""
    contexts, asked, wrong = [], [], []

    def open_page(url=address, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda line: wrong.append(line.text) if "Content Security Policy" in line.text else None)
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []
    assert all(re.match(r"http://127\.0\.0\.1:|blob:http://127\.0\.0\.1:|data:", url) for url in asked), asked


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "square.png"
    path.write_bytes(image_bytes(height=HEIGHT, width=WIDTH))
    return path


def ask(address, data, zones=None):
    """Return what the API answers."""
    query = "?zones=" + urllib.request.quote(json.dumps(zones)) if zones else ""
    with urllib.request.urlopen(urllib.request.Request(f"{address}/count{query}", data)) as answer:
        return json.load(answer)


def counted(page, *files):
    page.set_input_files("#choose", [str(file) for file in files])
    page.wait_for_selector("tr.shown")
    return page


def place(page, x, y):
    box = page.locator("#drawing").bounding_box()
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def downloaded(page, button):
    with page.expect_download() as waiting:
        page.click(button)
    return Path(waiting.value.path()).read_text()


def zone_title(page, number=0):
    return page.locator("#zones output").nth(number).get_attribute("title")


def test_an_image_is_counted_and_its_density_shown(open_page, address, photo):
    page = counted(open_page(), photo)
    answer = ask(address, photo.read_bytes())
    assert page.text_content("#number") == f"{answer['count']:.0f}"
    low, high = re.match(r"(\d+)\W(\d+) at 90 %", page.text_content("#interval")).groups()
    assert int(low) <= answer["count"] <= int(high)
    painted = page.evaluate("""() => {
        const canvas = document.getElementById("density");
        const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        return [canvas.width * canvas.height, data.filter((value, index) => index % 4 === 3 && value > 0).length];
    }""")
    assert painted[1] > painted[0] / 10
    assert page.evaluate("document.getElementById('image').naturalWidth") == WIDTH
    page.uncheck("#show")
    assert not page.is_visible("#density")
    page.wait_for_selector("#model:has-text('tiny')")


def test_a_zone_is_drawn_with_the_mouse(open_page, address, photo):
    page = counted(open_page(), photo)
    page.click("#draw")
    for x, y in ((0.1, 0.2), (0.7, 0.1), (0.8, 0.9), (0.3, 0.6)):
        page.mouse.click(*place(page, x, y))
    page.mouse.click(*place(page, 0.1, 0.2))  # its first corner closes it
    zones = json.loads(downloaded(page, "#save-zones"))
    [zone] = parse_zones(json.dumps(zones), "zones.json")
    assert zone.name == "zone 1" and len(zones["zone 1"]) == 4
    assert zones["zone 1"][2] == pytest.approx([0.8 * WIDTH, 0.9 * HEIGHT], abs=1)
    [expected] = ask(address, photo.read_bytes(), zones)["zones"]
    assert zone_title(page).startswith(f"{expected['count']:.1f} people")
    page.mouse.move(*place(page, 0.8, 0.9))  # a corner is moved
    page.mouse.down()
    page.mouse.move(*place(page, 0.5, 0.5), steps=4)
    page.mouse.up()
    moved = json.loads(downloaded(page, "#save-zones"))
    assert moved["zone 1"][2] == pytest.approx([0.5 * WIDTH, 0.5 * HEIGHT], abs=1.5)
    [expected] = ask(address, photo.read_bytes(), moved)["zones"]
    assert zone_title(page).startswith(f"{expected['count']:.1f} people")


def test_a_rectangle_is_dragged_and_named_and_removed(open_page, photo):
    page = counted(open_page(), photo)
    page.click("#draw")
    page.mouse.move(*place(page, 0, 0))
    page.mouse.down()
    page.mouse.move(*place(page, 0.999, 0.999), steps=4)
    page.mouse.up()
    page.fill("#zones input", "=everything")
    page.press("#zones input", "Enter")
    whole = float(page.text_content("tbody td:nth-of-type(1)"))
    assert float(zone_title(page).split()[0]) == pytest.approx(whole, rel=0.02)
    [head, line] = list(csv.reader(io.StringIO(downloaded(page, "#csv"))))
    row = dict(zip(head, line, strict=True))
    assert row["image"] == "square.png" and float(row["count"]) == pytest.approx(whole, abs=0.06)
    assert "'=everything" in head  # a spreadsheet must not calculate it
    page.click("#zones button")
    assert page.locator("#zones li").count() == 0 and page.is_visible("#no-zones")


def test_a_zone_is_drawn_from_the_keyboard(open_page, address, photo):
    page = counted(open_page(), photo)
    page.focus("#draw")
    keys = ["Enter", "Space", "Shift+ArrowRight", "Space", "Space", "Backspace", "Shift+ArrowDown", "Space", "Enter"]
    for key in keys:
        page.keyboard.press(key)
    zones = json.loads(downloaded(page, "#save-zones"))
    middle = [WIDTH / 2, HEIGHT / 2]
    assert zones["zone 1"][0] == pytest.approx(middle, abs=0.01) and len(zones["zone 1"]) == 3
    [expected] = ask(address, photo.read_bytes(), zones)["zones"]
    assert zone_title(page).startswith(f"{expected['count']:.1f} people")
    page.focus("#drawing circle.dot")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")  # the corner keeps the focus
    moved = json.loads(downloaded(page, "#save-zones"))
    assert moved["zone 1"][0][0] == pytest.approx(middle[0] - 2 * WIDTH / 100, abs=0.1)
    page.click("#draw")
    page.keyboard.press("Escape")
    assert page.get_attribute("#draw", "aria-pressed") == "false"


def test_zones_of_a_file_are_opened(open_page, address, photo, tmp_path):
    page = counted(open_page(), photo)
    shape = {"label": "gate", "shape_type": "rectangle", "points": [[10, 20], [100, 150]]}
    labelme = {"shapes": [shape], "imagePath": "square.png", "imageWidth": WIDTH, "imageHeight": HEIGHT}
    (tmp_path / "gate.json").write_text(json.dumps(labelme))
    (tmp_path / "more.json").write_text(
        json.dumps({"gate": [[0, 0], [50, 0], [50, 50]], "<b>": [[60, 60], [90, 60], [90, 90]]})
    )
    page.set_input_files("#open-zones", str(tmp_path / "gate.json"))
    page.wait_for_selector("#zones li")
    corners = {"gate": [[10, 20], [100, 20], [100, 150], [10, 150]]}
    [expected] = ask(address, photo.read_bytes(), corners)["zones"]
    assert zone_title(page).startswith(f"{expected['count']:.1f} people")
    page.set_input_files("#open-zones", str(tmp_path / "more.json"))
    page.wait_for_selector("#zones li:nth-child(2)")
    assert json.loads(downloaded(page, "#save-zones"))["gate"] == [[0, 0], [50, 0], [50, 50]]
    assert page.locator("#drawing .name").all_text_contents()[1].startswith("<b>: ")
    labelme["imageWidth"] = 2 * WIDTH
    for name, content, words in (
        ("wide.json", json.dumps(labelme), "wide"),
        ("far.json", '{"far": [[900, 900], [990, 900], [990, 990]]}', "no area inside"),
        ("holes.json", '{"two": [[[0, 0], [9, 0], [9, 9]], [[20, 20], [40, 20], [40, 40]]]}', "several parts"),
        ("notes.json", "Dear reader", "notes.json: "),
    ):
        (tmp_path / name).write_text(content)
        page.set_input_files("#open-zones", str(tmp_path / name))
        page.wait_for_selector(f"#error:has-text('{words}')" if words != "wide" else "#error:has-text('576')")
    assert page.locator("#zones li").count() == 2


def test_zones_are_drawn_by_touch_on_a_phone(open_page, photo):
    page = counted(open_page(viewport={"width": 375, "height": 720}, has_touch=True, is_mobile=True), photo)
    page.tap("#draw")
    page.locator("#drawing").scroll_into_view_if_needed()
    for x, y in ((0.2, 0.2), (0.8, 0.2), (0.5, 0.8)):
        page.touchscreen.tap(*place(page, x, y))
    page.tap("#finish")
    assert page.locator("#zones li").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    small = page.evaluate("""() => [...document.querySelectorAll("button, .button, input")]
        .filter((each) => each.offsetParent && !each.classList.contains("hidden") && each.type !== "range"
            && each.type !== "checkbox" && !each.classList.contains("link"))
        .map((each) => [each.id || each.className, each.getBoundingClientRect().height])
        .filter(([, height]) => height < 40)""")
    assert small == []


def test_a_text_file_is_refused_in_plain_words_and_the_others_are_counted(open_page, photo, tmp_path):
    (tmp_path / "notes.txt").write_text("Dear reader")
    page = open_page()
    page.set_input_files("#choose", [str(tmp_path / "notes.txt"), str(photo)])
    page.wait_for_selector("tr.shown")
    assert page.get_attribute("#error", "role") == "alert"
    assert page.text_content("#error").startswith("notes.txt is not an image that can be read here")
    assert page.locator("tbody tr").count() == 2
    [_, first, second] = list(csv.reader(io.StringIO(downloaded(page, "#csv"))))
    assert first[-1].startswith("notes.txt is not") and second[-1] == "" and first[1] == ""


def test_an_image_is_pasted_and_dropped(open_page, photo):
    page = open_page()
    give = """(kind) => fetch("icon.svg").then(async () => {
        const canvas = new OffscreenCanvas(120, 90), pen = canvas.getContext("2d");
        for (let x = 0; x < 120; x += 10) { pen.fillStyle = x % 20 ? "#222" : "#dda"; pen.fillRect(x, 0, 10, 90); }
        const files = new DataTransfer();
        files.items.add(new File([await canvas.convertToBlob()], kind + ".png", { type: "image/png" }));
        const event = kind === "paste" ? new ClipboardEvent("paste", { clipboardData: files, bubbles: true })
            : new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true });
        document.body.dispatchEvent(event);
    })"""
    for number, kind in enumerate(("paste", "drop"), 1):
        page.evaluate(give, kind)
        page.wait_for_selector(f"tbody tr:nth-child({number})")
    assert page.locator("tbody button").all_text_contents() == ["paste.png", "drop.png"]


def test_the_token_is_asked_for(open_page, predictor, photo):
    with listening(create_app(predictor, Settings(token=TOKEN))) as address:
        page = open_page(address)
        page.wait_for_selector("#ask[open]")
        page.fill("#token", "a wrong token of the tests")
        page.keyboard.press("Enter")
        page.wait_for_selector("#ask-why:has-text('wrong')")
        page.fill("#token", "a tökén that no header holds → →")
        page.keyboard.press("Enter")
        page.wait_for_selector("#ask-why:has-text('accents')")
        page.fill("#token", f" {TOKEN} ")  # copied with what stands around it
        page.keyboard.press("Enter")
        page.wait_for_selector("#model:has-text('tiny')")
        counted(page, photo)
        assert TOKEN not in page.content() and TOKEN not in page.url
        page.close()


def test_light_and_dark_have_contrast(open_page, photo):
    lights = {}
    for scheme in ("light", "dark"):
        page = counted(open_page(color_scheme=scheme), photo)
        for where in ("#number", "#interval", "#draw", "footer"):
            ratio = page.evaluate(CONTRAST, where)
            assert ratio >= 4.5, (scheme, where, ratio)
        lights[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert lights["light"] != lights["dark"]


CONTRAST = """(where) => {
    const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((each) => each / 255)
        .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4))
        .reduce((sum, each, index) => sum + each * [0.2126, 0.7152, 0.0722][index], 0);
    let element = document.querySelector(where), behind = element;
    const ink = light(numbers(getComputedStyle(element).color));
    while ((numbers(getComputedStyle(behind).backgroundColor)[3] ?? 1) === 0) behind = behind.parentElement;
    const paper = light(numbers(getComputedStyle(behind).backgroundColor));
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
}"""


def test_everything_has_a_name(open_page, photo):
    page = counted(open_page(), photo)
    page.click("#draw")
    for x, y in ((0.2, 0.2), (0.8, 0.2), (0.5, 0.8)):
        page.mouse.click(*place(page, x, y))
    page.click("#finish")
    nameless = page.evaluate("""() => [...document.querySelectorAll("button, input, canvas, img, [tabindex='0']")]
        .filter((each) => each.getAttribute("aria-hidden") !== "true")
        .filter((each) => !each.closest("[hidden], dialog:not([open])"))
        .filter((each) => !each.labels?.length && !each.ariaLabel)
        .filter((each) => !each.textContent.trim() && !each.hasAttribute("alt"))
        .map((each) => each.outerHTML)""")
    assert [each for each in nameless if 'width="128"' not in each] == []  # the colour scale has a text beside it


def test_a_camera_is_counted_and_its_readings_are_drawn(open_page, predictor, tmp_path):
    write_video(tmp_path / "walk.mp4", [frame_image(index) for index in range(8)], "mpeg4")
    now = time.time()
    with Readings(tmp_path / "readings.sqlite") as readings:
        readings.begin("gate", "0", now - 3000)
        for moment in range(0, 3000, 20):
            readings.add(
                LiveReading("gate", now - 3000 + moment, Reading(0, 0.0, 10 + moment / 100, 10 + moment / 100))
            )
        readings.add(Outage("gate", now - 2000, now - 1500, "no answer"))
        cameras = Cameras(parse_sources([f"gate={tmp_path / 'walk.mp4'}"]))
        grounds = {"gate": Ground(camera_of_tilt((160, 120), height=6, focal=150, tilt=35))}
        with listening(create_app(predictor, Settings(rate=0), cameras, readings, grounds)) as address:
            page = open_page(address)
            page.wait_for_selector("#series .line")
            assert re.match(r"(39|40) people at .*; at most 40, at ", page.text_content("#latest"))
            assert page.locator("#series .outage").count() == 1
            page.focus("#series")
            page.keyboard.press("End")
            page.keyboard.press("ArrowLeft")
            assert re.search(r": 3\d\.\d \(3\d\.\d to ", page.text_content("#series .value"))
            with page.expect_response(lambda answer: "/readings" in answer.url):
                pass  # the next look at the readings leaves the mark where it is
            assert page.is_visible("#series .value")
            page.select_option("#hours", "1")
            page.click("#count-camera")
            page.wait_for_selector("tr.shown")
            assert page.evaluate("document.getElementById('image').naturalWidth") == 160
            assert re.search(r"people/m².*densest 9 m²: .*, level [A-F]", page.text_content("#ground"))
            zones = {"near": [[10, 50], [150, 70], [140, 110], [20, 118]]}
            (tmp_path / "near.json").write_text(json.dumps(zones))
            page.set_input_files("#open-zones", str(tmp_path / "near.json"))
            page.wait_for_selector("#zones li")
            with urllib.request.urlopen(
                urllib.request.Request(
                    f"{address}/cameras/gate/count?zones={urllib.request.quote(json.dumps(zones))}", method="POST"
                )
            ) as found:
                [near] = json.load(found)["zones"]
            shown = float(re.search(r"([\d.]+) people/m²$", zone_title(page))[1])
            assert shown == pytest.approx(near["ground"]["people_per_m2"], abs=0.051)
            assert "people_per_m2" in downloaded(page, "#csv").splitlines()[0]
            assert re.fullmatch(r"gate \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", page.text_content("tbody button"))
            page.close()
