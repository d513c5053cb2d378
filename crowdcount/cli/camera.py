"""Calibrate a camera for people per square metre, and look at a calibration.

    crowdcount camera page square.jpg --output page.html
    crowdcount camera check camera.yaml square.jpg --output grid.png

`page` writes a page on which points of the ground are clicked and their metres typed, and which saves the camera file;
it is opened in any browser and loads nothing. `check` prints what follows from a camera file and how exact it is, and
draws a grid of metres and posts of the height of heads over the image: lines run along straight edges of the ground,
and posts end at the heads of people. Then: crowdcount predict square.jpg --camera camera.yaml
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crowdcount.cli.parser import make_parser, reports_errors
from crowdcount.errors import InputError
from crowdcount.files import atomic_write
from crowdcount.ground.camera import Camera, GroundPoints
from crowdcount.ground.drawing import draw_grid
from crowdcount.ground.file import read_camera
from crowdcount.ground.homography import Residual
from crowdcount.ground.page import calibration_page
from crowdcount.ground.pose import axes_disagreement
from crowdcount.images.read import Image, read_image
from crowdcount.local_path import local_path
from crowdcount.visualize.drawing_mark import drawing_bytes


@reports_errors("camera")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = _parser().parse_args(argv)
    status: int = args.run(args)
    return status


def check_command(args: argparse.Namespace) -> int:
    """Print what follows from a camera file and draw its grid over an image."""
    camera, image = read_camera(args.camera), read_image(local_path(args.image))
    check_size(camera, image)
    print("\n".join(describe(camera)))
    output = args.output or Path(f"{args.image.stem}_grid.png")
    atomic_write(output, drawing_bytes(draw_grid(image, camera)))
    print(f"{output}: the grid over the image; compare it with the ground")
    return 0


def page_command(args: argparse.Namespace) -> int:
    """Write the page on which a camera is calibrated."""
    image = read_image(local_path(args.image))
    atomic_write(args.output, calibration_page(image, args.image.name))
    print(f"{args.output}: open it in a browser, set the points and save camera.yaml")
    return 0


def check_size(camera: Camera, image: Image) -> None:
    """Check that an image has the aspect ratio of a camera.

    Raises:
        InputError: it has not.
    """
    (width, height), (own_height, own_width) = camera.pose.size, image.shape[:2]
    if abs(own_width * height - own_height * width) > max(width, height):
        raise InputError(
            f"camera: is calibrated for images of {width} x {height} pixels, and this one has {own_width} x "
            f"{own_height}; give an image of this camera, neither cropped nor turned"
        )


def describe(camera: Camera) -> list[str]:
    """Return lines about a camera: where it is, how exact its points are, what is measured."""
    pose, settings = camera.pose, camera.settings
    width, height = pose.size
    view = 2 * np.degrees(np.arctan(width / 2 / pose.focal))
    lines = [
        f"{pose.height:.2f} m above the ground, looks down by {pose.tilt:.1f} degrees",
        f"focal length {pose.focal:.0f} pixels, field of view {view:.1f} degrees",
    ]
    if camera.points is not None:
        lines += _points(camera, camera.points)
    lattice = np.stack(np.meshgrid((np.arange(64) + 0.5) * width / 64, (np.arange(64) + 0.5) * height / 64), axis=-1)
    measured = camera.measurable(lattice)
    far = np.nanmax(np.linalg.norm(camera.to_metres(lattice[measured]) - pose.foot, axis=-1), initial=0)
    lines.append(
        f"people per square metre for {measured.mean():.0%} of the image, up to {far:.0f} m away; beyond, errors of "
        f"{settings.pixel_error:g} pixels move a place by more than {settings.position_error:g} m or change an area by "
        f"more than {settings.area_error:.0%}"
    )
    return lines


def _points(camera: Camera, points: GroundPoints) -> list[str]:
    angle, ratio = axes_disagreement(camera.pose.ground, camera.pose.size, camera.pose.focal)
    fitted, left = points.residual(), points.left_out()
    lines = [f"axes of the ground at {90 + angle:.1f} degrees, scales in the ratio {ratio:.3f} (should be 90 and 1)"]
    if left is None:
        return [*lines, "4 points fit exactly, whatever they are: their residual of 0 tells nothing; give more"]
    return [
        *lines,
        f"residual of {len(points.pixels)} points: {_text(fitted)}",
        f"left out one by one: {_text(left)}; farthest off in the image is point {_worst(left)}",
    ]


def _text(residual: Residual) -> str:
    metres, pixels = residual.rms()
    return f"{metres:.3f} m, {pixels:.2f} pixels (root mean square)"


def _worst(residual: Residual) -> str:
    if not np.isfinite(residual.pixels).any():
        return "unknown: without any of them the others are on a line"
    number = int(np.nanargmax(residual.pixels))
    return f"{number + 1}: {residual.metres[number]:.3f} m, {residual.pixels[number]:.2f} pixels"


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__, "camera")
    commands = parser.add_subparsers(required=True, metavar="SUBCOMMAND")
    check = commands.add_parser("check", help="print how exact a camera file is and draw a grid of metres")
    check.add_argument("camera", type=Path, metavar="CAMERA", help="camera file, .yaml or .json")
    check.add_argument("image", type=Path, metavar="IMAGE", help="image of the camera")
    check.add_argument("--output", type=Path, metavar="FILE", help="drawing to write (default: IMAGE_grid.png)")
    check.set_defaults(run=check_command)
    page = commands.add_parser("page", help="write a page on which points are clicked and metres typed")
    page.add_argument("image", type=Path, metavar="IMAGE", help="image of the camera")
    page.add_argument("--output", type=Path, default=Path("camera.html"), metavar="FILE", help="(default: %(default)s)")
    page.set_defaults(run=page_command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
