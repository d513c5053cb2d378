import numpy as np

from crowdcount.ground import Ground, camera_of_tilt
from crowdcount.ground.drawing import draw_density, draw_grid
from crowdcount.inference.prediction import Prediction

SIZE = (640, 480)


def test_places_without_a_number_are_dark():
    camera = camera_of_tilt(SIZE, 8.0, 450.0, 28.0)
    density = np.zeros((60, 80), np.float32)
    found = Ground(camera).measure(Prediction(0.0, density, 8, 480, 640), 480, 640)
    drawn = draw_density(np.full((480, 640, 3), 200, np.uint8), found)
    for pixel in ((320, 2), (320, 240), (320, 478), (4, 400)):  # too far, in the middle, at the edges
        x, y = np.rint((camera.to_metres(np.array(pixel, float)) - found.grid.origin) / found.grid.cell).astype(int)
        rows, columns = found.local.shape
        inside = 0 <= x < columns and 0 <= y < rows
        known = inside and np.isfinite(found.local[y, x]) and camera.measurable(np.array(pixel, float))
        assert known == (pixel == (320, 240))
        assert (drawn[pixel[1], pixel[0]].max() > 150) == known, pixel


def test_the_legend_names_what_is_drawn():
    image = np.full((480, 640, 3), 200, np.uint8)
    below, above = (draw_grid(image, camera_of_tilt(SIZE, 8.0, 450.0, tilt)) for tilt in (10.0, 45.0))
    for drawing, seen in ((below, True), (above, False)):
        red = (drawing[..., 0] > 200) & (drawing[..., 1:] < 120).all(axis=-1)
        assert red[:480].any() == red[480:].any() == seen
