"""The calibration page in a real browser: points by mouse, touch and keyboard, residuals, the file that is saved."""

import numpy as np
import pytest

from crowdcount.ground import read_camera
from crowdcount.ground.page import calibration_page
from tests.support.browser import open_browser
from tests.support.pinhole import project

SIZE = (640, 480)
POSE = {"height": 8.0, "tilt": 28.0, "focal": 450.0, "size": SIZE}
PLACES = np.array([[-4.0, 9], [5, 10], [6, 30], [-6, 28], [0, 16]])
PIXELS = project(PLACES, **POSE)


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


@pytest.fixture
def open_page(browser, tmp_path):
    """A function that opens the page; it must ask for nothing, and have no error of its own."""
    contexts, asked, wrong = [], [], []
    file = tmp_path / "page.html"
    image = np.random.default_rng(0).integers(0, 255, (SIZE[1], SIZE[0], 3), np.uint8)
    file.write_text(calibration_page(image, "<square>.jpg"), encoding="utf-8")

    def open_page(**options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in asked), asked


def place(page, pixel):
    """Return where a pixel of the image is on the screen, relative to the stage."""
    box = page.locator("#stage").bounding_box()
    return {"x": pixel[0] * box["width"] / SIZE[0], "y": pixel[1] * box["height"] / SIZE[1]}


def type_metres(page, number, metres):
    for key, value in zip("xy", metres, strict=True):
        page.fill(f"#p{number}{key}", f"{value:g}")


def state(page):
    return page.inner_text("#state")


def save(page, folder):
    with page.expect_download() as download:
        page.click("#save")
    assert download.value.suggested_filename == "camera.yaml"
    download.value.save_as(folder / "camera.yaml")
    return folder / "camera.yaml"


def test_points_are_clicked_and_the_file_is_saved(open_page, tmp_path):
    page = open_page()
    assert page.title() == "Calibrate <square>.jpg" and page.is_disabled("#save")
    for number, (pixel, metres) in enumerate(zip(PIXELS[:4], PLACES, strict=False)):
        assert "more points" in state(page)
        page.locator("#stage").click(position=place(page, pixel))
        type_metres(page, number, metres)
    assert "Four points fit exactly, whatever they are" in state(page)
    assert page.locator("#lines path").count() > 10
    camera = read_camera(save(page, tmp_path))
    np.testing.assert_allclose(camera.points.pixels, PIXELS[:4], atol=1.2)  # a click is on a whole pixel of the screen
    np.testing.assert_allclose(camera.points.metres, PLACES[:4])
    assert camera.pose.height == pytest.approx(8, rel=0.1)

    page.locator("#stage").click(position=place(page, PIXELS[4]))
    type_metres(page, 4, PLACES[4])
    shown = state(page)
    assert shown.startswith("Residual 0.") and "Left out one by one" in shown
    camera = read_camera(save(page, tmp_path))
    assert f"Residual {camera.points.residual().rms()[0]:.3f} m" in shown
    assert f"Left out one by one: {camera.points.left_out().rms()[0]:.3f} m" in shown

    type_metres(page, 4, PLACES[4] + [5, 0])
    assert float(state(page).split()[1]) > 0.1 and "farthest off in the image is point" in state(page)
    type_metres(page, 4, PLACES[0])
    assert "1, 5 are the same or on one line on the ground" in state(page) and page.is_disabled("#save")


def test_the_keyboard_is_enough(open_page, tmp_path):
    page = open_page()
    page.focus("#stage")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "p0x"
    assert (page.input_value("#p0u"), page.input_value("#p0v")) == ("321", "250")
    page.focus("[data-point='0']")
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("ArrowUp")
    assert (page.input_value("#p0u"), page.input_value("#p0v")) == ("311", "249")
    page.keyboard.press("Delete")
    assert page.locator("#rows tr").count() == 0
    for number, (pixel, metres) in enumerate(zip(PIXELS[:4], PLACES, strict=False)):
        page.focus("#stage")
        page.keyboard.press("Enter")
        for key, value in zip("uv", pixel, strict=True):
            page.fill(f"#p{number}{key}", f"{value:.2f}")
        type_metres(page, number, metres)
    page.click("summary")
    page.fill("#height", "-1")
    assert "no positive number" in state(page) and page.is_disabled("#save")
    page.fill("#height", "8")
    camera = read_camera(save(page, tmp_path))
    np.testing.assert_allclose(camera.points.pixels, PIXELS[:4], atol=0.006)
    assert camera.pose.focal == pytest.approx(450, rel=0.01)


def test_touch_dark_and_narrow(open_page):
    page = open_page(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 27)"
    page.locator("#stage").tap(position=place(page, (320, 240)))
    assert page.locator("#rows tr").count() == 1
    before = float(page.input_value("#p0u"))
    box = page.locator(".point .halo").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y, steps=3)
    page.mouse.up()
    assert float(page.input_value("#p0u")) > before + 30
    assert page.locator("#rows tr").count() == 1  # a drag is no click
