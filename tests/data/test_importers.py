import json
import math
from pathlib import Path
from types import SimpleNamespace
from xml.sax.saxutils import quoteattr

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdcount.data import Folder
from crowdcount.data.importers import FORMATS
from crowdcount.data.importers.annotated import Choice
from crowdcount.data.importers.image_matching import ImageFolder, check_frames, checked
from crowdcount.data.importers.write import write_beside, write_folder
from crowdcount.errors import InputError

WIDTH, HEIGHT = 64, 40


def picture(path, width=WIDTH, height=HEIGHT):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, np.full((height, width, 3), 99, np.uint8))[1].tobytes())
    return path


# Writers of each format: scenes is {file name: [(x, y), ...]}; boxes says to mark heads by boxes around them.


def write_labelme(folder, scenes, boxes=False):
    for name, points in scenes.items():
        shapes = [
            {"label": "head", "shape_type": "rectangle", "points": [[x + 2, y - 3], [x - 2, y + 3]]}
            if boxes
            else {"label": "head", "shape_type": "point", "points": [[x, y]]}
            for x, y in points
        ]
        table = {"version": "5", "shapes": shapes, "imagePath": f"..\\pictures\\{name}", "imageData": None}
        table |= {"imageWidth": WIDTH, "imageHeight": HEIGHT}
        (folder / Path(name).with_suffix(".json")).write_text(json.dumps(table))
    return folder


def write_cvat(folder, scenes, boxes=False):
    images = []
    for i, (name, points) in enumerate(scenes.items()):
        if boxes:
            shapes = [
                f'<box label="head" xtl="{x - 2!r}" ytl="{y - 3!r}" xbr="{x + 2!r}" ybr="{y + 3!r}" z_order="0"/>'
                for x, y in points
            ]
        else:  # all heads but the last in one element
            groups = [g for g in (points[:-1], points[-1:]) if g]
            shapes = [f'<points label="head" points="{";".join(f"{x!r},{y!r}" for x, y in g)}"/>' for g in groups]
        images.append(
            f'<image id="{i}" name={quoteattr(name)} width="{WIDTH}" height="{HEIGHT}">{"".join(shapes)}</image>'
        )
    path = folder / "annotations.xml"
    path.write_text(f"<annotations><version>1.1</version><meta><task/></meta>{''.join(images)}</annotations>")
    return path


def write_coco(folder, scenes, boxes=False):
    images = [{"id": i, "file_name": name, "width": WIDTH, "height": HEIGHT} for i, name in enumerate(scenes, 7)]
    marked = [(i, x, y) for i, points in enumerate(scenes.values(), 7) for x, y in points]
    annotations = [
        {"id": n, "image_id": i, "category_id": 3}
        | ({"bbox": [x - 2, y - 3, 4, 6]} if boxes else {"keypoints": [x, y, 1 + n % 2], "num_keypoints": 1})
        for n, (i, x, y) in enumerate(marked)
    ]
    categories = [{"id": 3, "name": "head", "keypoints": ["head"]}]
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def write_label_studio(folder, scenes, boxes=False):
    tasks = []
    for i, (name, points) in enumerate(scenes.items()):
        common = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0, "to_name": "image"}
        results = []
        for x, y in points:
            value = {"x": x / WIDTH * 100, "y": y / HEIGHT * 100, "width": 0.5, "keypointlabels": ["head"]}
            if boxes:
                value = {"x": (x - 2) / WIDTH * 100, "y": (y - 3) / HEIGHT * 100, "rotation": 0}
                value |= {"width": 4 / WIDTH * 100, "height": 6 / HEIGHT * 100, "rectanglelabels": ["head"]}
            results.append(common | {"type": "rectanglelabels" if boxes else "keypointlabels", "value": value})
        data = {"image": f"/data/upload/4/0a1b2c3d-{name}"}
        tasks.append({"id": i, "data": data, "annotations": [{"result": results, "was_cancelled": False}]})
    path = folder / "project.json"
    path.write_text(json.dumps(tasks))
    return path


def write_yolo(folder, scenes, boxes=True):
    labels = folder / "labels"
    labels.mkdir()
    for name, points in scenes.items():
        lines = (f"0 {x / WIDTH!r} {y / HEIGHT!r} 0.05 0.07\n" for x, y in points)
        (labels / Path(name).with_suffix(".txt")).write_text("".join(lines))
    (labels / "classes.txt").write_text("head\n")
    return labels


def write_voc(folder, scenes, boxes=True):
    for name, points in scenes.items():
        box = "<bndbox><xmin>{!r}</xmin><ymin>{!r}</ymin><xmax>{!r}</xmax><ymax>{!r}</ymax></bndbox>"
        objects = [f"<object><name>head</name>{box.format(x - 2, y - 3, x + 2, y + 3)}</object>" for x, y in points]
        size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
        text = f"<annotation><filename>{name}</filename>{size}{''.join(objects)}</annotation>"
        (folder / Path(name).with_suffix(".xml")).write_text(text)
    return folder


def via_region(x, y, boxes):
    shape = {"name": "point", "cx": x, "cy": y}
    if boxes:
        shape = {"name": "rect", "x": x - 2, "y": y - 3, "width": 4, "height": 6}
    return {"shape_attributes": shape, "region_attributes": {"kind": "head"}}


def write_via(folder, scenes, boxes=False):
    images = {
        f"{name}{i}": {"filename": name, "size": i, "regions": [via_region(x, y, boxes) for x, y in points]}
        for i, (name, points) in enumerate(scenes.items())
    }
    path = folder / "via.json"
    path.write_text(json.dumps({"_via_settings": {}, "_via_img_metadata": images}))
    return path


def write_visdrone(folder, scenes, boxes=True):
    for name, points in scenes.items():
        lines = (f"{x - 2!r},{y - 3!r},4,6,1,{1 + i % 2},0,0\n" for i, (x, y) in enumerate(points))
        (folder / Path(name).with_suffix(".txt")).write_text("".join(lines))
    return folder


WRITERS = {
    "labelme": write_labelme,
    "cvat": write_cvat,
    "coco": write_coco,
    "label-studio": write_label_studio,
    "yolo": write_yolo,
    "voc": write_voc,
    "via": write_via,
    "visdrone": write_visdrone,
}
BOXES = {"yolo", "voc", "visdrone"}  # of boxes alone
OTHERS = {"makesense", "mot"}  # do not name images without heads, or name frames
SCENES = {"a.jpg": [(1.5, 2.25), (63.0, 39.5)], "b b.png": [], "c.jpg": [(10.0, 20.0)] * 2}


def read(name, export, images, **choice):
    pictures = ImageFolder(images)
    chosen = Choice(**choice, images=frozenset(path.stem for path in pictures.files))
    annotated = FORMATS[name](export, chosen)
    chosen.check(str(export))
    return list(checked(annotated, pictures)), chosen


@pytest.fixture
def place(tmp_path):
    for name in SCENES:
        picture(tmp_path / "pictures" / name)
    (tmp_path / "export").mkdir()
    return SimpleNamespace(images=tmp_path / "pictures", export=tmp_path / "export", root=tmp_path)


def test_every_format_has_a_writer_here():
    assert WRITERS.keys() | OTHERS == FORMATS.keys()


@pytest.mark.parametrize("boxes", [False, True])
@pytest.mark.parametrize("name", WRITERS)
def test_points_and_box_centres_are_read(name, boxes, place):
    found, choice = read(name, WRITERS[name](place.export, SCENES, boxes), place.images)
    assert {each.path.name for each in found} == set(SCENES)
    for each in found:
        np.testing.assert_allclose(each.points, np.reshape(SCENES[each.path.name], (-1, 2)), atol=1e-5)
    assert sum(choice.taken.values()) == 4
    assert ("box centre" in choice.taken) == (boxes or name in BOXES)
    assert not choice.left_out


coordinates = st.tuples(st.floats(0, WIDTH - 0.01), st.floats(0, HEIGHT - 0.01))


@pytest.fixture(scope="module")
def canvas(tmp_path_factory):
    folder = tmp_path_factory.mktemp("canvas")
    for name in ("a.jpg", "b.png"):
        picture(folder / "pictures" / name)
    return folder


@pytest.mark.parametrize("boxes", [False, True])
@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_what_a_format_writes_is_read_and_written_and_read_again(name, boxes, canvas, tmp_path_factory, data):
    scenes = {key: data.draw(st.lists(coordinates, max_size=6), label=key) for key in ("a.jpg", "b.png")}
    folder = tmp_path_factory.mktemp("export")
    found, _ = read(name, WRITERS[name](folder, scenes, boxes), canvas / "pictures")
    written = write_folder(found, ImageFolder(canvas / "pictures"), folder / "new", "link")
    records = {record.name: record.points for record in Folder(written).records("train")}
    assert records.keys() == scenes.keys()
    for key, points in scenes.items():
        np.testing.assert_allclose(records[key], np.reshape(points, (-1, 2)), rtol=1e-6, atol=1e-5)


# --- writing


def test_writes_beside_the_pictures_and_refuses_to_overwrite(place):
    found, _ = read("cvat", write_cvat(place.export, SCENES), place.images)
    table = write_beside(found, ImageFolder(place.images))
    assert table == place.images / "points.json"
    records = Folder(place.images).records("train")
    assert [(r.name, r.count) for r in records] == [("a.jpg", 2), ("b b.png", 0), ("c.jpg", 2)]
    before = table.read_bytes()
    with pytest.raises(InputError, match=r"points\.json exists; take it away, or let --overwrite"):
        write_beside(found[:1], ImageFolder(place.images))
    assert table.read_bytes() == before
    write_beside(found, ImageFolder(place.images), overwrite=True)
    assert sorted(path.name for path in place.images.iterdir()) == ["a.jpg", "b b.png", "c.jpg", "points.json"]


def test_a_picture_that_the_export_does_not_name_is_not_an_empty_scene(place):
    picture(place.images / "d.jpg")
    found, _ = read("coco", write_coco(place.export, SCENES), place.images)
    with pytest.raises(InputError, match=r"says nothing of 1 images, .*d\.jpg the first"):
        write_beside(found, ImageFolder(place.images))
    assert not list(place.images.glob("*.json*"))
    new = write_folder(found, ImageFolder(place.images), place.root / "new", "copy")
    assert sorted(path.name for path in (new / "images").iterdir()) == sorted(SCENES)
    assert not (new / "images" / "a.jpg").is_symlink()
    assert sum(record.count for record in Folder(new).records("train")) == 4


def test_a_new_folder_keeps_splits_and_replaces_nothing(place):
    for split, name in (("train", "a.jpg"), ("val", "a.jpg"), ("test", "c.jpg")):
        picture(place.root / "images" / split / name)
        (place.export / split).mkdir()
        (place.export / split / f"{name[0]}.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    found, _ = read("yolo", place.export, place.root / "images")
    new = write_folder(found, ImageFolder(place.root / "images"), place.root / "new", "link")
    assert (new / "val" / "images" / "a.jpg").is_symlink()
    assert [len(Folder(new).records(split)) for split in ("train", "val", "test")] == [1, 1, 1]
    np.testing.assert_array_equal(Folder(new).records("val")[0].points, [[32, 20]])
    with pytest.raises(InputError, match=r"new exists; give --output a new folder"):
        write_folder(found, ImageFolder(place.root / "images"), new, "link")


def test_nothing_is_left_where_writing_fails(place, monkeypatch):
    found, _ = read("cvat", write_cvat(place.export, SCENES), place.images)

    def fail(*_, **__):
        raise OSError("the disk is full")

    monkeypatch.setattr("shutil.copy2", fail)
    with pytest.raises(OSError, match="disk is full"):
        write_folder(found, ImageFolder(place.images), place.root / "new", "copy")
    assert sorted(path.name for path in place.root.iterdir()) == ["export", "pictures"]


def test_two_pictures_of_one_name_cannot_share_a_folder(place):
    picture(place.images / "more" / "a.jpg")
    scenes = {"a.jpg": [], "more/a.jpg": []}
    export = write_cvat(place.export, scenes)
    with pytest.raises(InputError, match=r"image 'a\.jpg' may be .*a\.jpg or .*a\.jpg; rename"):
        read("cvat", export, place.images)
    found, _ = read("cvat", write_cvat(place.export, {"pictures/a.jpg": [], "more/a.jpg": []}), place.images)
    with pytest.raises(InputError, match=r"would both be images/a\.jpg; rename one"):
        write_folder(found, ImageFolder(place.images), place.root / "new", "copy")
    with pytest.raises(InputError, match="says nothing of 2 images"):
        write_beside(found, ImageFolder(place.images))


# --- choosing


def test_labels_are_chosen_and_the_rest_is_counted(place):
    shapes = [
        {"label": "head", "shape_type": "point", "points": [[1, 2]]},
        {"label": "person", "shape_type": "point", "points": [[3, 4]]},
        {"label": "tree", "shape_type": "point", "points": [[5, 6]]},
        {"label": "head", "shape_type": "polygon", "points": [[5, 6], [7, 8], [9, 9]]},
        {"label": "head", "points": [[5, 6], [7, 8], [9, 9]]},
        {"label": "head", "shape_type": "circle", "points": [[5, 6], [7, 8]]},
        {"label": "head", "shape_type": "rectangle", "points": [[1, 1], [5, 1], [5, 3], [1, 3]]},
    ]
    (place.export / "a.json").write_text(json.dumps({"shapes": shapes, "imagePath": "a.jpg"}))
    found, choice = read("labelme", place.export, place.images, labels=frozenset({"head", "person"}))
    np.testing.assert_array_equal(found[0].points, [[1, 2], [3, 4], [3, 2]])
    assert choice.taken == {"point": 2, "box centre": 1}
    assert choice.left_out == {"label 'tree'": 1, "polygon": 2, "circle": 1}
    with pytest.raises(InputError, match=r"no shape has the label 'haed'; there are 'head' \(5\), 'person' \(1\)"):
        read("labelme", place.export, place.images, labels=frozenset({"haed"}))


def coco(place, annotations, categories=({"id": 1, "name": "person"},), images=({"id": 1, "file_name": "a.jpg"},)):
    path = place.export / "coco.json"
    table = {"images": list(images), "annotations": annotations, "categories": list(categories)}
    path.write_text(json.dumps(table))
    return path


def test_coco_takes_points_then_keypoints_then_boxes(place):
    categories = [{"id": 1, "name": "person", "keypoints": ["nose", "head"]}, {"id": 2, "name": "cart"}]
    box = {"bbox": [0, 0, 10, 20]}
    annotations = [
        {"image_id": 1, "category_id": 1, "points": [[1, 2], [3, 4]], **box},
        {"image_id": 1, "category_id": 1, "keypoints": [5, 6, 2, 7, 8, 1], **box},
        {"image_id": 1, "category_id": 1, "keypoints": [5, 6, 2, 0, 0, 0], **box},
        {"image_id": 1, "category_id": 2, **box},
        {"image_id": 1, "category_id": 1, "iscrowd": 1, **box},
        {"image_id": 1, "category_id": 1},
    ]
    path = coco(place, annotations, categories)
    found, choice = read("coco", path, place.images, keypoint="head")
    np.testing.assert_array_equal(found[0].points, [[1, 2], [3, 4], [7, 8], [5, 10]])
    assert choice.taken == {"point": 2, "keypoint": 1, "box centre": 1}
    assert sum(choice.left_out.values()) == 3
    found, choice = read("coco", path, place.images)  # which of two keypoints is the head is not known: boxes
    np.testing.assert_array_equal(found[0].points, [[1, 2], [3, 4], [5, 10], [5, 10], [5, 10]])
    categories[1]["keypoints"] = ["handle"]
    path = coco(place, annotations, categories)
    with pytest.raises(InputError, match=r"annotation 1: category 'person' has no keypoint 'handle', only nose, head"):
        read("coco", path, place.images, keypoint="handle")


def test_a_keypoint_that_no_category_has_is_refused(place):
    box = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 20]}
    with pytest.raises(InputError, match=r"coco\.json: no category has the keypoint 'ear'; there are none"):
        read("coco", coco(place, [box]), place.images, keypoint="ear")
    categories = [{"id": 1, "name": "person", "keypoints": ["nose", "head"]}]
    with pytest.raises(InputError, match=r"no category has the keypoint 'ear'; there are 'nose', 'head'"):
        read("coco", coco(place, [box], categories), place.images, keypoint="ear")


def label_studio(place, results, **task):
    path = place.export / "project.json"
    tasks = [{"data": {"image": "a.jpg"}, "annotations": [{"result": results}], **task}]
    path.write_text(json.dumps(tasks))
    return path


def mark(kind, value, **more):
    return {"type": kind, "value": value, "original_width": WIDTH, "original_height": HEIGHT, **more}


@pytest.mark.parametrize("angle", [0, 30, 90, 200])
def test_label_studio_turns_rectangles_about_their_corner(place, angle):
    # The centre of a rectangle turned about its corner, in pixels: the percents of the two sides differ.
    width, height, corner = 8, 4, (30, 15)
    turned = complex(width / 2, height / 2) * complex(math.cos(math.radians(angle)), math.sin(math.radians(angle)))
    value = {"x": corner[0] / WIDTH * 100, "y": corner[1] / HEIGHT * 100, "rotation": angle}
    value |= {"width": width / WIDTH * 100, "height": height / HEIGHT * 100, "rectanglelabels": ["head"]}
    found, _ = read("label-studio", label_studio(place, [mark("rectanglelabels", value)]), place.images)
    np.testing.assert_allclose(found[0].points, [[corner[0] + turned.real, corner[1] + turned.imag]], atol=1e-4)


@pytest.mark.parametrize(
    "address",
    [
        "a.jpg",
        "/data/upload/12/0123abcd-a.jpg",
        "/data/local-files/?d=some/folder/a.jpg",
        "s3://bucket/folder/a.jpg",
        "https://host.example/x%20y/a.jpg?token=1",
        "C:\\pictures\\a.jpg",
    ],
)
def test_label_studio_finds_the_image_behind_its_address(place, address):
    point = mark("keypointlabels", {"x": 50, "y": 50, "keypointlabels": ["head"]})
    path = label_studio(place, [point], data={"image": address})
    found, _ = read("label-studio", path, place.images)
    assert found[0].path == place.images / "a.jpg"
    np.testing.assert_array_equal(found[0].points, [[32, 20]])


def test_label_studio_takes_one_annotation(place):
    point = mark("keypointlabels", {"x": 50, "y": 50, "keypointlabels": ["head"]})
    other = [mark("polygonlabels", {"points": [], "polygonlabels": ["head"]}), point, point]
    both = [{"result": [point]}, {"result": other}]
    with pytest.raises(InputError, match=r"task 0: has 2 annotations, expected one; finish the task, or mark one"):
        read("label-studio", label_studio(place, [], annotations=both), place.images)
    path = label_studio(place, [], annotations=[both[0], both[1] | {"ground_truth": True}])
    found, choice = read("label-studio", path, place.images)
    assert len(found[0].points) == 2
    assert choice.left_out == {"polygonlabels": 1}
    path = label_studio(place, [], annotations=[both[0], both[1] | {"was_cancelled": True}])
    assert len(read("label-studio", path, place.images)[0][0].points) == 1


def test_yolo_names_classes_and_leaves_outlines_out(place):
    labels = place.export / "labels" / "train"
    labels.mkdir(parents=True)
    (labels / "a.txt").write_text("1 0.5 0.5 0.1 0.1 0.93\n0 0.1 0.1 0.1 0.1\n\n1 0.1 0.1 0.2 0.2 0.3 0.3\n")
    found, choice = read("yolo", labels, place.images)
    assert choice.taken == {"box centre": 2}
    (place.export / "data.yaml").write_text("names: {0: cart, 1: head}\n")
    found, choice = read("yolo", labels, place.images, labels=frozenset({"head"}))
    np.testing.assert_array_equal(found[0].points, [[32, 20]])
    assert choice.left_out == {"label 'cart'": 1, "outline": 1}
    (place.export / "data.yaml").write_text("names: [head, cart]\n")
    found, _ = read("yolo", labels, place.images, labels=frozenset({"head"}))
    np.testing.assert_allclose(found[0].points, [[6.4, 4]], rtol=1e-6)


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("name", ["classes.txt", "obj.names"])
def test_yolo_looks_for_names_above_the_labels(place, name, depth):
    labels = place.export / "labels" / "train"
    labels.mkdir(parents=True)
    (labels / "a.txt").write_text("1 0.5 0.5 0.1 0.1\n")
    ([labels, *labels.parents][depth] / name).write_text("cart\nhead\n")
    (place.root / "data.yaml").write_text("names: [far, away]\n")
    found, _ = read("yolo", labels, place.images, labels=frozenset({"head"}))
    assert len(found[0].points) == 1


def test_yolo_passes_over_text_that_belongs_to_no_image(place):
    labels = write_yolo(place.export, SCENES)
    (place.export / "README.txt").write_text("how we marked heads")
    (place.export / "train.txt").write_text("data/a.jpg\n")
    found, choice = read("yolo", place.export, place.images)
    assert {each.path.name for each in found} == set(SCENES)
    assert choice.left_out == {"text file without an image of its name": 2}
    for name in SCENES:
        (labels / Path(name).with_suffix(".txt")).unlink()
    with pytest.raises(InputError, match=r"README\.txt: no image has this name, nor that of another of the 2 \.txt"):
        read("yolo", place.export, place.images)


def test_images_beside_labels_of_ultralytics_are_brought_into_order_by_output(place):
    for split in ("train", "val"):
        picture(place.root / "set" / "images" / split / "a.jpg")
        (place.root / "set" / "labels" / split).mkdir(parents=True)
        (place.root / "set" / "labels" / split / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    found, _ = read("yolo", place.root / "set", place.root / "set")
    with pytest.raises(InputError, match=r"holds no image .* give a new folder with --output"):
        write_beside(found, ImageFolder(place.root / "set"))
    assert not list((place.root / "set").glob("*.json*"))
    new = write_folder(found, ImageFolder(place.root / "set"), place.root / "new", "link")
    assert [len(Folder(new).records(split)) for split in ("train", "val")] == [1, 1]


def test_an_import_may_be_repeated_where_it_wrote(place):
    scenes = {"a.jpg": [(1.0, 2.0)], "b b.png": [], "c.jpg": []}
    write_labelme(place.images, scenes)
    pictures = ImageFolder(place.images)
    write_beside(read("labelme", place.images, place.images)[0], pictures)
    write_labelme(place.images, scenes | {"a.jpg": [(3.0, 4.0), (5.0, 6.0)]})
    write_beside(read("labelme", place.images, place.images)[0], pictures, overwrite=True)
    np.testing.assert_array_equal(Folder(place.images).records("train")[0].points, [[3, 4], [5, 6]])


def test_a_picture_may_be_called_as_the_table_is(place):
    picture(place.images / "points.jpg")
    found, _ = read("labelme", write_labelme(place.export, {"points.jpg": [(1.0, 2.0)]}), place.images)
    assert [each.path.name for each in found] == ["points.jpg"]


def test_a_new_folder_has_the_rights_of_any_new_folder(place):
    found, _ = read("cvat", write_cvat(place.export, SCENES), place.images)
    (place.root / "plain").mkdir()
    new = write_folder(found, ImageFolder(place.images), place.root / "new", "link")
    assert new.stat().st_mode == (place.root / "plain").stat().st_mode


def test_the_longer_part_of_a_path_decides(place):
    for folder in ("x/train", "y/train"):
        picture(place.root / "tree" / folder / "a.jpg")
    pictures = ImageFolder(place.root / "tree")
    for folder in ("x/train", "y/train"):
        assert pictures.find("export", f"far/{folder}/a.jpg") == place.root / "tree" / folder / "a.jpg"


def test_uploads_to_label_studio_lose_their_blanks(place):
    point = mark("keypointlabels", {"x": 50, "y": 50, "keypointlabels": ["head"]})
    upload = label_studio(place, [point], data={"image": "/data/upload/4/0a1b2c3d-b_b.png"})
    assert read("label-studio", upload, place.images)[0][0].path.name == "b b.png"
    other = label_studio(place, [point], data={"image": "s3://bucket/b_b.png"})
    with pytest.raises(InputError, match=r"image 'b_b\.png' is not in"):
        read("label-studio", other, place.images)
    picture(place.images / "b_ b.png")
    upload = label_studio(place, [point], data={"image": "/data/upload/4/0a1b2c3d-b__b.png"})
    picture(place.images / "b  b.png")
    with pytest.raises(InputError, match=r"image 'b__b\.png' may be .*; rename one"):
        read("label-studio", upload, place.images)
    exact = picture(place.images / "b__b.png")
    assert read("label-studio", upload, place.images)[0][0].path == exact


# --- damaged exports


def labelme(**changes):
    shape = {"label": "head", "shape_type": "point", "points": [[1, 2]]} | changes.pop("shape", {})
    return json.dumps({"shapes": [shape], "imagePath": "a.jpg"} | changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a\.json: not readable as JSON .*line 1"),
        ('{"shapes": [}', r"a\.json: not readable as JSON .*line 1 column 13"),
        ("[]", r"a\.json: the top is '\[\]', expected an object"),
        ("{}", r"a\.json: has no 'shapes', only nothing"),
        ('{"shapes": 3, "imagePath": "a.jpg"}', r"'shapes' is '3', expected a list"),
        ('{"shapes": [7], "imagePath": "a.jpg"}', r"shape 0 is '7', expected an object"),
        (labelme(imagePath=" "), r"'imagePath' is ' ', expected text"),
        (labelme(imagePath="z.jpg"), r"a\.json: image 'z\.jpg' is not in .*; give the folder of images with --images"),
        (labelme(shape={"points": [[1, 2], [3, 4]]}), r"shape 0: a point with 2 positions"),
        (labelme(shape={"points": [[1]]}), r"shape 0: points\[0\] is '\[1\]', expected 2 numbers"),
        (labelme(shape={"points": [[1, None]]}), r"points\[0\]\[1\] is 'None', expected a number"),
        (labelme(shape={"points": [[1, math.nan]]}), r"points\[0\]\[1\] is 'nan', expected a number"),
        (labelme(shape={"points": [[1, 1e300]]}), r"points\[0\]\[1\] is '1e\+300', expected a number"),
        (labelme(shape={"points": [[1, 10**400]]}), r"points\[0\]\[1\] is '1000.*0', expected a number"),
        (labelme(shape={"points": [[1, True]]}), r"points\[0\]\[1\] is 'True', expected a number"),
        (labelme(shape={"shape_type": "rectangle", "points": [[1, 2]]}), r"rectangle with 1 corners"),
        (labelme(imageWidth=-3, imageHeight=2), r"-3 x 2 is no size"),
        (labelme(imageWidth=640, imageHeight=480), r"states 640 x 480 pixels, but .*a\.jpg has 64 x 40 upright"),
        (labelme(imageWidth=HEIGHT, imageHeight=WIDTH), r"states 40 x 64 pixels \(turned: an EXIF rotation"),
    ],
)
def test_damaged_labelme_is_named(place, text, message):
    (place.export / "a.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read("labelme", place.export, place.images)


IMAGE = '<image name="a.jpg" width="64" height="40">{}</image>'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<image", r"not readable as XML \(.*line 1"),
        ("", "lists no images"),
        ("<track/>", "holds tracks of a video"),
        ('<image width="64" height="40"/>', "image element 0 has no name"),
        ('<image name="a.jpg" height="40"/>', r"image 'a\.jpg': width is 'None', expected a number"),
        (IMAGE.format('<points points="1,2"/>'), r"image 'a\.jpg', shape 0: points has no label"),
        (IMAGE.format('<points label="h"/>'), r"shape 0: '' in 'points' is no pair"),
        (IMAGE.format('<points label="h" points="1,2;3"/>'), r"shape 0: '3' in 'points' is no pair x,y"),
        (IMAGE.format('<points label="h" points="1,b"/>'), r"shape 0: y is 'b', expected a number"),
        (IMAGE.format('<box label="h" xtl="1" ytl="2" xbr="3"/>'), r"shape 0: ybr is 'None', expected a number"),
        (IMAGE.format("") * 2, r"a\.jpg is annotated twice, also in .*image 'a\.jpg'; keep one"),
    ],
)
def test_damaged_cvat_is_named(place, body, message):
    (place.export / "annotations.xml").write_text(f"<annotations>{body}</annotations>")
    with pytest.raises(InputError, match=message):
        read("cvat", place.export, place.images)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 9}, "annotation 0: image_id 9 is not among the images"),
        ({"image_id": [1]}, r"annotation 0: image_id \[1\] is not among the images"),
        ({"category_id": 4}, "annotation 0: category_id 4 is not among the categories"),
        ({"bbox": [1, 2, 3]}, r"annotation 0: bbox is '\[1, 2, 3\]', expected 4 numbers"),
        ({"bbox": [1, 2, "x", 4]}, r"annotation 0: bbox\[2\] is 'x', expected a number"),
        ({"bbox": [1, 2, -3, 4]}, r"annotation 0: bbox \[1, 2, -3, 4\] has a negative side"),
        ({"keypoints": [1, 2, 3]}, "annotation 0: keypoint 0 has visibility 3, expected 0, 1 or 2"),
        ({"keypoints": [1, 2, -1]}, "annotation 0: keypoint 0 has visibility -1, expected 0, 1 or 2"),
        ({"points": [[1]]}, r"annotation 0: points\[0\] is '\[1\]', expected 2 numbers"),
    ],
)
def test_damaged_coco_is_named(place, change, message):
    path = coco(place, [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]} | change])
    with pytest.raises(InputError, match=rf"coco\.json: {message}"):
        read("coco", path, place.images)


@pytest.mark.parametrize("encoding", ["utf-77", "big5", "utf-16"])
def test_cvat_of_an_encoding_that_does_not_hold_is_named(place, encoding):
    path = place.export / "annotations.xml"
    path.write_text(f'<?xml version="1.0" encoding="{encoding}"?><annotations/>')
    with pytest.raises(InputError, match=r"annotations\.xml: not readable as XML"):
        read("cvat", path, place.images)


@pytest.mark.parametrize("key", ["image", "picture"])
def test_label_studio_names_an_address_that_is_none(place, key):
    path = label_studio(place, [], data={key: "http://[::1/a.jpg"})
    with pytest.raises(InputError, match=r"project\.json: task 0: 'http://\[::1/a\.jpg' is no address of an image"):
        read("label-studio", path, place.images)


def test_coco_ids_are_unique(place):
    twice = [{"id": 1, "file_name": "a.jpg"}] * 2
    with pytest.raises(InputError, match="image 1: id 1 is no number or text of its own"):
        read("coco", coco(place, [], images=twice), place.images)
    with pytest.raises(InputError, match="category 1: id 1 is no number or text of its own"):
        read("coco", coco(place, [], categories=[{"id": 1, "name": "a"}] * 2), place.images)


POINT = {"x": 1, "y": 2, "keypointlabels": ["head"]}


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (mark("keypointlabels", POINT, image_rotation=90), "image_rotation is 90; turn the image file itself"),
        (mark("keypointlabels", POINT | {"x": "left"}), "result 0: x is 'left', expected a number"),
        (mark("keypointlabels", {"x": 1}), "result 0: has no 'y', only 'x'"),
        (mark("keypointlabels", POINT, original_width=0), "0 x 40 is no size of an image"),
        ({"type": "keypointlabels", "value": POINT}, "has no 'original_width'"),
        (mark("keypointlabels", [1]), r"result 0: value is '\[1\]', expected an object"),
    ],
)
def test_damaged_label_studio_is_named(place, result, message):
    with pytest.raises(InputError, match=rf"project\.json: task 0 .*{message}"):
        read("label-studio", label_studio(place, [result]), place.images)


def test_label_studio_tells_its_other_exports(place):
    path = place.export / "project.json"
    path.write_text(json.dumps([{"image": "a.jpg", "kp": [POINT]}]))
    with pytest.raises(InputError, match='export the project as "JSON", not as "JSON-MIN"'):
        read("label-studio", path, place.images)
    with pytest.raises(InputError, match="data names 0 images"):
        read("label-studio", label_studio(place, [], data={"text": "a.jpeg2"}), place.images)
    sizes = [mark("keypointlabels", POINT), mark("keypointlabels", POINT, original_width=7)]
    with pytest.raises(InputError, match="results state several sizes"):
        read("label-studio", label_studio(place, sizes), place.images)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5", r"line 2 is '0 0\.5 0\.5', expected the numbers 'class x y w h'"),
        ("0 a 0.5 0.1 0.1", "line 2: value 2 is 'a', expected a number"),
        ("1.5 0.5 0.5 0.1 0.1", "line 2 is .*expected the numbers"),
        ("0 320 240 10 10", "line 2: centre 320 240 is no fraction of the image; are these pixels"),
        ("0 nan 0.5 0.1 0.1", "line 2: value 2 is 'nan', expected a number"),
    ],
)
def test_damaged_yolo_is_named(place, line, message):
    (place.export / "a.txt").write_text(f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(InputError, match=rf"a\.txt: {message}"):
        read("yolo", place.export, place.images)


def test_bytes_that_are_no_text_are_named(place):
    (place.export / "a.txt").write_bytes(b"0 0.5 0.5 0.1 0.1\n\xff\xfe")
    with pytest.raises(InputError, match=r"a\.txt: line 2 is not text"):
        read("yolo", place.export, place.images)


@pytest.mark.parametrize("name", WRITERS)
def test_a_missing_export_and_a_damaged_picture_are_named(name, place):
    with pytest.raises(InputError, match="nowhere"):
        FORMATS[name](place.root / "nowhere", Choice())
    export = WRITERS[name](place.export, SCENES)
    (place.images / "c.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"c\.jpg: not a readable image"):
        read(name, export, place.images)


def test_the_folder_of_pictures_is_checked(place):
    with pytest.raises(InputError, match="nowhere: no such folder of images"):
        ImageFolder(place.root / "nowhere")
    with pytest.raises(InputError, match="export: holds no image"):
        ImageFolder(place.export)


def test_label_studio_s_own_upload_folder(place):
    """Its files have the eight digits that exports have, too."""
    for path in list(place.images.iterdir()):
        path.rename(path.with_name(f"0a1b2c3d-{path.name}"))
    export = write_label_studio(place.export, SCENES)
    text = export.read_text()
    assert "/upload/" in text
    found, _ = read("label-studio", export, place.images)
    assert {each.path.name for each in found} == {f"0a1b2c3d-{name}" for name in SCENES}


@pytest.mark.parametrize("header", ["", "label_name,x,y,image_name,image_width,image_height\n"])
def test_makesense_reads_points_and_rectangles(place, header):
    path = place.export / "labels.csv"
    path.write_text(f'{header}head,10,20.5,a.jpg,64,40\n"head",1,2,b b.png,64,40\ntree,1,2,3,4,c.jpg,64,40\n')
    found, choice = read("makesense", path, place.images, labels=frozenset(["head"]))
    assert [each.points.tolist() for each in found] == [[[10, 20.5]], [[1, 2]], []]
    assert choice.left_out == {"label 'tree'": 1}
    found, choice = read("makesense", path, place.images)
    assert found[2].points.tolist() == [[2.5, 4]] and choice.taken == {"point": 2, "box centre": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("head,1,2,a.jpg,64\n", r"line 1 has 5 columns, expected 6 of a point or 8"),
        ("head,1,x,a.jpg,64,40\n", r"line 1: column 3 is 'x'"),
        ("head,1,2,a.jpg,64,40\nhead,1,2,a.jpg,40,64\n", r"line 2: 'a\.jpg' has 40 x 64 pixels, before \(64, 40\)"),
        ("head,1,2,a.jpg,32,20\n", r"states 32 x 20 pixels, but .*a\.jpg has 64 x 40"),
    ],
)
def test_damaged_makesense_is_named(place, text, message):
    (place.export / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read("makesense", place.export / "labels.csv", place.images)
    with pytest.raises(InputError, match=r"nowhere: no \.csv file; export"):
        FORMATS["makesense"](place.root / "nowhere", Choice())


def test_via_reads_csv_and_both_versions_of_json(place):
    regions = [via_region(1, 2, False), via_region(10, 20, True)]
    regions[1]["region_attributes"] = {"other": "x", "kind": {"tree": True}}
    first = {"a.jpg9": {"filename": "a.jpg", "size": 9, "regions": {"0": regions[0], "1": regions[1]}}}
    (place.export / "one.json").write_text(json.dumps(first))
    quoted = [[f'"{json.dumps(each[key])}"'.replace('"', '""')[1:-1] for key in each] for each in regions]
    rows = [f'a.jpg,9,"{{}}",2,{i},{shape},{label}' for i, (shape, label) in enumerate(quoted)]
    header = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
    empty = 'b b.png,9,"{}",0,0,"{}","{}"'
    for start in ("", "#"):
        (place.export / "two.csv").write_text("\n".join([start + header, *rows, empty]))
        found, _ = read("via", place.export / "two.csv", place.images)
        assert [each.points.tolist() for each in found] == [[[1, 2], [10, 20]], []]
    for labels, points in ((["head"], [[1, 2]]), (["tree"], [[10, 20]]), ([], [[1, 2], [10, 20]])):
        found, _ = read("via", place.export / "one.json", place.images, labels=frozenset(labels))
        assert [each.points.tolist() for each in found] == [points]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "[]", r"a\.json: the top is"),
        ("a.json", '{"a": {"filename": "a.jpg"}}', r"'a': has no 'regions'"),
        (
            "a.json",
            '{"a": {"filename": "a.jpg", "regions": [{"shape_attributes": {"name": "point", "cx": 1}}]}}',
            "'cy'",
        ),
        ("a.csv", "filename,region_count\na.jpg,1\n", r"line 2: has no 'region_shape_attributes'"),
        ("a.csv", "filename,region_shape_attributes\na.jpg,{no\n", r"line 2: '\{no' is no JSON object"),
    ],
)
def test_damaged_via_is_named(place, name, text, message):
    (place.export / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read("via", place.export / name, place.images)


def test_visdrone_takes_people_and_heads_of_sequences(place):
    (place.export / "a.txt").write_text("1,2,4,6,1,1,0,0\n1,2,4,6,1,4,0,0\n1,2,4,6,0,2,0,0,\n1,2,4,6,0,0,0,0\n")
    found, choice = read("visdrone", place.export, place.images)
    assert [each.points.tolist() for each in found] == [[[3, 5]]]
    left = {"category 'car'": 1, "category 'ignored regions'": 1, "box to be ignored (score 0)": 1}
    assert choice.left_out == left
    for frame in ("00001", "00002"):
        picture(place.root / "sequences" / "00012" / f"{frame}.jpg")
    (place.export / "a.txt").unlink()
    (place.export / "00012.txt").write_text("1,10,20\n2,11,21\n1,5,6\n")
    found, choice = read("visdrone", place.export, place.root / "sequences")
    assert [(each.path.name, each.points.tolist()) for each in found] == [
        ("00001.jpg", [[10, 20], [5, 6]]),
        ("00002.jpg", [[11, 21]]),
    ]
    (place.export / "00012.txt").write_text("2,7,1,2,4,6,1,1,0,0\n")
    found, _ = read("visdrone", place.export, place.root / "sequences")
    assert [(each.path.name, each.points.tolist()) for each in found] == [("00002.jpg", [[3, 5]])]
    (place.export / "00012.txt").write_text("1,2\n")
    with pytest.raises(InputError, match=r"00012\.txt: line 1 is '1,2', expected frame,x,y"):
        read("visdrone", place.export, place.root / "sequences")


def test_mot_reads_frames_of_sequences(place):
    for sequence in ("HT21-01", "HT21-02"):
        for frame in (1, 2, 3):
            picture(place.root / "train" / sequence / "img1" / f"{frame:06d}.jpg")
        (place.root / "train" / sequence / "gt").mkdir()
        (place.root / "train" / sequence / "gt" / "gt.txt").write_text("2,1,11,21,4,6,1,1,1.0\n3,1,5,6,2,2,0,1,0.5\n")
    text = "[Sequence]\nname=HT21-01\nimDir=img1\nframeRate=25\nseqLength=3\nimWidth=64\nimHeight=40\nimExt=.jpg\n"
    (place.root / "train" / "HT21-01" / "seqinfo.ini").write_text(text)
    found, choice = read("mot", place.root / "train", place.root / "train")
    assert [(each.path.parts[-3], each.path.name, each.points.tolist()) for each in found] == [
        ("HT21-01", "000001.jpg", []),
        ("HT21-01", "000002.jpg", [[12, 23]]),  # positions count from 1
        ("HT21-01", "000003.jpg", []),
        ("HT21-02", "000002.jpg", [[12, 23]]),
        ("HT21-02", "000003.jpg", []),
    ]
    assert choice.left_out == {"box to be ignored (flag 0)": 2}
    (place.root / "train" / "HT21-01" / "seqinfo.ini").write_text(text.replace("64", "1920"))
    with pytest.raises(InputError, match=r"frame 1: states 1920 x 40 pixels"):
        read("mot", place.root / "train", place.root / "train")
    for length in ("999999999", "inf"):
        (place.root / "train" / "HT21-01" / "seqinfo.ini").write_text(text.replace("Length=3", f"Length={length}"))
        with pytest.raises(InputError, match=r"seqinfo\.ini: seqLength"):
            read("mot", place.root / "train", place.root / "train")
    (place.root / "train" / "HT21-01" / "seqinfo.ini").write_text("no")
    with pytest.raises(InputError, match=r"seqinfo\.ini: not readable"):
        read("mot", place.root / "train", place.root / "train")


def test_voc_without_a_size_and_with_an_impossible_box(place):
    text = "<annotation><filename>a.jpg</filename><size><width>0</width><height>0</height></size>{}</annotation>"
    (place.export / "a.xml").write_text(text.format("<object><name>head</name></object>"))
    found, choice = read("voc", place.export, place.images)
    assert [each.points.tolist() for each in found] == [[]] and choice.left_out == {"object without a box": 1}
    box = "<object><bndbox><xmin>9</xmin><ymin>1</ymin><xmax>2</xmax><ymax>3</ymax></bndbox></object>"
    for content, message in ((text.format(box), "object 0: its box ends at 2, 3 before"), ("<other/>", "'annotation'")):
        (place.export / "a.xml").write_text(content)
        with pytest.raises(InputError, match=message):
            read("voc", place.export, place.images)


def test_names_of_classes_are_texts(place):
    """Aliases make a list of few bytes long."""
    nested = "\n".join(f"  a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 'x'}]" for i in range(12))
    (place.export / "data.yaml").write_text(f"lists:\n{nested}\nnames: [*a11]\n")
    (place.export / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(InputError, match=r"data\.yaml: "):
        read("yolo", place.export, place.images)


def fractions(scenes):
    return {name: [(x / WIDTH, y / HEIGHT) for x, y in points] for name, points in scenes.items()}


@pytest.mark.parametrize("name", [name for name in WRITERS if name not in ("yolo", "label-studio")])
def test_fractions_in_place_of_pixels_are_refused(name, place):
    scenes = fractions({"a.jpg": [(9.5, 9), (20, 30.5), (50, 31), (33, 3), (40, 8.5)], "b b.png": [], "c.jpg": []})
    found, _ = read(name, WRITERS[name](place.export, scenes), place.images)
    with pytest.raises(InputError, match=r"export: a\.jpg: all coordinates lie between 0 and 1"):
        check_frames(found, place.export)
