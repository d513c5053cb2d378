"""Draw quickstart.jpg: points, density and error of a generated scene.

python docs/quickstart.py runs/quickstart/version_0/checkpoints/best.ckpt docs/quickstart.jpg
"""

import sys
from pathlib import Path

import crowdcount
from crowdcount.data import Synthetic
from crowdcount.visualize import count_text, draw_points, error_map, image_bytes, overlay, panel, true_density


def main(checkpoint: str, output: str) -> None:
    """Count the first test scene with more than 100 people, and draw it."""
    record = next(each for each in Synthetic().records("test") if each.count > 100)
    image, points = record.read(), record.require_points()
    height, width = image.shape[:2]
    found = crowdcount.predict(image, checkpoint)
    density, stride = found.density, found.stride
    error = error_map(density, true_density(points, height, width, stride), height, width, stride)
    pictures = [
        (count_text(truth=len(points)), draw_points(image, points)),
        (count_text(found.count, len(points)), overlay(image, density, stride)),
        ("predicted - true", error),
    ]
    Path(output).write_bytes(image_bytes(panel(pictures), ".jpg"))


if __name__ == "__main__":
    main(*sys.argv[1:])
