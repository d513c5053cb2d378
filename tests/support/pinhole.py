"""A pinhole camera in plain trigonometry, beside the matrices of the package."""

import math

import numpy as np

SIZE = (1280, 960)


def project(places, height=8.0, tilt=28.0, focal=900.0, above=0.0, size=SIZE):
    """Return the pixels (N, 2) of places (N, 2) in metres, x to the right of the camera and y ahead of it."""
    down = math.radians(tilt)
    drop = height - above
    pixels = []
    for x, y in np.asarray(places, float):
        depth = y * math.cos(down) + drop * math.sin(down)
        below = drop * math.cos(down) - y * math.sin(down)
        pixels.append((size[0] / 2 + focal * x / depth, size[1] / 2 + focal * below / depth))
    return np.array(pixels)


def quadrilateral_area(corners):
    """Return the area of a polygon (N, 2)."""
    x, y = np.asarray(corners).T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
