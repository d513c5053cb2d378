"""Draw densities and points over images: overlay, heat map with a scale, annotation and error map, as PNG.

    crowdcount visualize photo.jpg --model clip_ebc/rn50_sha
    crowdcount visualize photo.jpg --model ebc/vgg19ae_sha --weights best.ckpt
    crowdcount visualize images/ --model runs/ebc/best.ckpt --annotation ground-truth/ --output drawn
    crowdcount visualize IMG_1.jpg --annotation GT_IMG_1.mat --stride 16
    crowdcount visualize photo.jpg --model runs/rec/best.ckpt --expression "person in red" --expression "person in blue"

Writes NAME_overlay.png, NAME_heat.png, NAME_points.png (with an annotation), NAME_error.png (with a model and an
annotation) and NAME_panel.png, which shows all of them side by side; for a model of the family rec
NAME_expressions.png, with the points of each expression. Prints one line per image: name, count, truth, error.
The exit status is 2 where an image could not be drawn, or a folder holds images in formats that are not read; the
others are drawn.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import crowdcount
from crowdcount.cli.parser import MODEL, add_expression, add_weights, make_parser, reports_errors
from crowdcount.cli.word_order import Values
from crowdcount.data.annotations.point_file import ANNOTATIONS, find_annotation, read_points
from crowdcount.data.annotations.point_table import Entry, is_table, read_table, table_points
from crowdcount.errors import InputError
from crowdcount.files import atomic_write
from crowdcount.geometry import Points, inside, resize_points
from crowdcount.images.files import find_files, unique_files
from crowdcount.images.formats import IMAGE_SUFFIXES
from crowdcount.images.read import Image, read_image
from crowdcount.local_path import local_path
from crowdcount.plausibility import Annotation, FrameError, find_doubts
from crowdcount.visualize import (
    caption,
    count_text,
    draw_points,
    error_map,
    expression_panel,
    heat_map,
    overlay,
    panel,
    scale_top,
    true_density,
)
from crowdcount.visualize.drawing_mark import drawing_bytes, is_drawing

if TYPE_CHECKING:
    from crowdcount.inference.model import CrowdModel

KINDS = ("overlay", "heat", "points", "error", "panel")


@dataclass(frozen=True)
class View:
    """An image as the network saw it, and what is known of it in that frame."""

    image: Image
    stride: int
    count: float | None = None
    density: NDArray[np.float32] | None = None
    points: Points | None = None

    @property
    def truth(self) -> int | None:
        """Number of annotated points, also of those outside the image."""
        return None if self.points is None else len(self.points)


@reports_errors("visualize")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = _arguments(argv)
    found = [find_files(local_path(word)) for word in args.images]
    files = unique_files(file for each in found for file in each.files)
    images = [path for path in files if not is_drawing(path)]
    args.table = _table(args.annotation)
    if len(images) > 1 and args.annotation is not None and args.annotation.is_file() and args.table is None:
        raise InputError(
            f"{args.annotation} is one annotation for {len(images)} images; give their folder, or a table of them"
        )
    model = None if args.model is None else crowdcount.load_model(args.model, weights=args.weights)
    _check_expressions(model, args)
    args.output.mkdir(parents=True, exist_ok=True)
    if len(images) < len(files):
        print(f"crowdcount visualize: {len(files) - len(images)} drawings of crowdcount are left out", file=sys.stderr)
    for each in found:
        if left_out := each.left_out():
            print(f"crowdcount visualize: {each.word}: {left_out}", file=sys.stderr)
    return max(_draw_all(images, model, args), 2 if any(each.unread for each in found) else 0)


def _table(annotation: Path | None) -> dict[str, Entry] | None:
    """Return the points of many images, if that is what the annotation is."""
    if annotation is None or not annotation.is_file() or not is_table(annotation):
        return None
    return read_table(annotation)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    args = parser.parse_args(argv)
    if args.model is None and args.annotation is None:
        parser.error("nothing to draw: give --model, --annotation or both")
    if args.model is None and args.weights is not None:
        parser.error("--weights needs --model")
    if args.stride < 1:
        parser.error(f"--stride: {args.stride} must be at least 1")
    if args.smooth < 0:
        parser.error(f"--smooth: {args.smooth} must be at least 0")
    asked = args.draw or ()
    if args.annotation is None and ("points" in asked or "error" in asked):
        parser.error("--draw points and --draw error need --annotation")
    if args.model is None and "error" in asked:
        parser.error("--draw error needs --model")
    if args.expression and asked:
        parser.error("--draw chooses among pictures of densities; --expression has a picture of its own")
    args.draw = args.draw or KINDS
    return args


def _check_expressions(model: "CrowdModel | None", args: argparse.Namespace) -> None:
    """Refuse expressions for a model that reads none, and the other way round."""
    if args.expression and model is None:
        raise InputError("--expression: an annotation reads no text; give a model of the family rec")
    if args.expression and args.annotation is not None:
        raise InputError("--annotation: has no expressions to compare with; leave it out, or --expression")
    if model is not None:
        model.referring_model() if args.expression else model.density_model()


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__, "visualize", "IMAGE ... [--model MODEL] [--annotation FILE] [OPTIONS]")
    add = parser.add_argument
    kinds = ", ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)
    add("images", nargs="+", metavar="IMAGE", help=f"images, or folders of them ({kinds})")
    add("--model", help=f"{MODEL}; without it the density of the annotation is drawn")
    add_weights(parser)
    add(
        "--annotation",
        type=Path,
        metavar="FILE",
        help="annotated points: .mat of ShanghaiTech, UCF-QNRF or NWPU-Crowd, .npy (N, 2), .json with a key 'points', "
        ".txt or .csv with x and y on each line; a folder with one such file per image "
        f"({', '.join(name.format('NAME') for name in ANNOTATIONS)}); or points.json, points.csv or the mall_gt.mat of "
        "Mall for a whole folder",
    )
    add_expression(parser)
    add("--output", type=Path, default=Path("density"), metavar="FOLDER", help="where to write (default: %(default)s)")
    add(
        "--draw",
        action=Values,
        choices=KINDS,
        metavar="KIND",
        help=f"any of {', '.join(KINDS)} (default: all that can be drawn)",
    )
    add(
        "--stride", type=int, default=8, metavar="PIXELS", help="side of a block without --model (default: %(default)s)"
    )
    add(
        "--smooth",
        type=float,
        default=1.0,
        metavar="BLOCKS",
        help="blur of the drawing (default: %(default)s; 0: none)",
    )
    return parser


def _draw_all(images: list[Path], model: "CrowdModel | None", args: argparse.Namespace) -> int:
    failed, taken = 0, {path.resolve() for path in images}
    for path in tqdm(images, disable=len(images) < 2, file=sys.stderr, unit="image"):
        try:
            tqdm.write(f"{path.name}: {_draw_one(path, model, args, taken)}")
        except (InputError, OSError) as error:
            failed += 1
            tqdm.write(f"crowdcount visualize: {error}", file=sys.stderr)
    return 2 if failed else 0


def _draw_one(path: Path, model: "CrowdModel | None", args: argparse.Namespace, taken: set[Path]) -> str:
    """Write the pictures of one image, add them to `taken`, and say what was counted."""
    if model is not None and model.reads_text:
        pictures, summary = find(read_image(path), model, args.expression)
    else:
        image, points = read_image(path), _points(path, args)
        _check_frame(path, image, points)
        view = look(image, points, model, args.stride)
        pictures, summary = draw(view, args.draw, args.smooth), _summary(view)
    files = {args.output / f"{path.stem}_{kind}.png": picture for kind, picture in pictures}
    for file in files:
        if file.resolve() in taken:
            raise InputError(f"{path}: {file} is an input, or a picture of another input; give another --output")
    for file, picture in files.items():
        taken.add(file.resolve())
        atomic_write(file, drawing_bytes(picture))
    return summary


def _points(path: Path, args: argparse.Namespace) -> Points | None:
    if args.annotation is None:
        return None
    if args.table is not None:
        return table_points(path, args.annotation, args.table)
    return read_points(find_annotation(path, args.annotation))


def _check_frame(path: Path, image: Image, points: Points | None) -> None:
    """Refuse points that are not in pixels of the image, and name those that may not be."""
    height, width = image.shape[:2]
    for doubt in find_doubts([] if points is None else [Annotation(path.name, points, (width, height))]):
        if doubt.refused:
            raise FrameError(doubt.text)
        tqdm.write(f"crowdcount visualize: {doubt.text}", file=sys.stderr)


def find(image: Image, model: "CrowdModel", texts: Sequence[str]) -> tuple[list[tuple[str, Image]], str]:
    """Draw what each expression was found to mean, and say how much it was."""
    predictions = model.referring_model().predict(image, texts)
    drawn = expression_panel(image, [(each.text, each.points, None) for each in predictions])
    return [("expressions", drawn)], "; ".join(f"{each.text}: {each.count}" for each in predictions)


def look(image: Image, points: Points | None, model: "CrowdModel | None", stride: int) -> View:
    """Count in an image, and bring image and points into the frame that the network saw."""
    if model is None:
        return View(image, stride, points=points)
    seen = model.density_model().predict(image)
    height, width = image.shape[:2]
    if (seen.height, seen.width) != (height, width):
        image = cv2.resize(image, (seen.width, seen.height), interpolation=cv2.INTER_AREA).astype(np.uint8)
        points = None if points is None else resize_points(points, (width, height), (seen.width, seen.height))
    return View(image, seen.stride, seen.count, seen.density, points)


def draw(view: View, kinds: Sequence[str], smooth: float) -> list[tuple[str, Image]]:
    """Draw the pictures among `kinds` that what is known allows: (kind, picture) each."""
    made = {kind: picture for kind, picture in _pictures(view, smooth).items() if kind in kinds or "panel" in kinds}
    drawn = [(kind, caption(picture, words)) for kind, (words, picture) in made.items() if kind in kinds]
    if "panel" in kinds:
        drawn.append(("panel", panel([("image", view.image), *made.values()])))
    return drawn


def _pictures(view: View, smooth: float) -> dict[str, tuple[str, Image]]:
    """Return caption and picture by kind; the overlay and the heat map share a scale."""
    height, width = view.image.shape[:2]
    actual = None if view.points is None else true_density(view.points, height, width, view.stride)
    shown = actual if view.density is None else view.density
    assert shown is not None
    text, top = count_text(view.count, view.truth), scale_top(shown, smooth=smooth)
    made = {
        "overlay": (text, overlay(view.image, shown, view.stride, top, smooth)),
        "heat": (f"density, {text}", heat_map(shown, height, width, view.stride, top, smooth)),
    }
    if view.points is not None:
        made["points"] = (f"annotation, truth {view.truth}", draw_points(view.image, view.points))
    if view.density is not None and actual is not None:
        wrong = error_map(view.density, actual, height, width, view.stride, smooth=smooth)
        made["error"] = (f"predicted - true, {text}", wrong)
    return made


def _summary(view: View) -> str:
    text = count_text(view.count, view.truth)
    if view.points is not None:
        height, width = view.image.shape[:2]
        outside = int(np.count_nonzero(~inside(view.points, width, height)))
        text += f" ({outside} points outside the image)" if outside else ""
    return text


if __name__ == "__main__":
    sys.exit(main())
