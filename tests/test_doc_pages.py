"""The site of the documentation: it builds strictly, and the blocks of its tutorials run as they are printed.

Trainings are cut to one step; the loggers of train.md are in training/test_loggers.py, and service.md is in
service/test_doc_page.py.
"""

import itertools
import re
import sqlite3
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from crowdcount.cli.main import main
from crowdcount.data import Synthetic
from tests.support.counter import save_counter, write_images
from tests.support.doc_pages import DOCS, blocks, command_lines
from tests.support.hub import hub
from tests.support.tiny_fit import write_config
from tests.support.video import write_video

__all__ = ["hub"]
ROOT = DOCS.parent
TUTORIALS = ["index.md", "quick_start.md", "count.md", "zones_video.md", "own_data.md", "train.md", "evaluate.md"]
TUTORIALS += ["hub.md", "intervals.md", "labelling.md", "live.md", "ground.md"]
NOT_RUN = {"git", "python3", "pip", "crowdcount benchmark", "crowdcount watch", "crowdcount calibrate"}
NOT_RUN |= {"crowdcount evaluate"}
"""Programs of the blocks marked as `console`: they install something, need a clone, a camera or data."""
SHORT = ["--trainer.max_epochs=1", "--data.num_workers=0"]
SHORT += [f"--trainer.limit_{part}_batches=1" for part in ("train", "val", "test")]


@pytest.fixture
def place(hub, tmp_path, monkeypatch):
    """A folder with an image, a folder of images and a video, of generated scenes of 160 x 128 pixels."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CROWDCOUNT_CACHE", str(tmp_path / "none"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # who asks for something outside fails
    scenes = [each.read() for each in Synthetic(train=4, width=160, height=128).records("train")]
    Path("photos").mkdir()
    for name, scene in zip(("photo.jpg", "photos/a.jpg", "photos/b.jpg"), scenes, strict=False):
        cv2.imwrite(name, scene[..., ::-1])
    write_video(Path("walk.mp4"), scenes, "mpeg4")
    return tmp_path


def prepare_intervals():
    """A run, and a counter with a camera's images and their counts."""
    folder, size = {"save_dir": ".", "name": "", "version": "RUN"}, {"width": 96, "height": 64}
    logger = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": folder}
    source = {"class_path": "crowdcount.data.Synthetic", "init_args": {"train": 2, "val": 20, **size}}
    data = {"source": source, "augment": {"crop": 64}, "batch_size": 2}
    config = write_config(Path(), {"logger": logger}, data=data)
    assert main(["train", "fit", "--config", config, *SHORT]) == 0
    names = [f"monday_{number}.jpg" for number in range(20)]
    write_images(Path("my_camera"), names)
    Path("my_camera/counts.csv").write_text("image,count\n" + "".join(f"{name},{len(name)}\n" for name in names))
    write_images(Path(), ["street.jpg"])
    save_counter(Path("my_counter"))


def prepare_labelling():
    """A video and a folder of a camera, what to ignore in its images, and a counter."""
    scenes = [each.read() for each in Synthetic(train=24, width=160, height=128).records("train")]
    write_video(Path("monday.mp4"), scenes[:4], "mpeg4")
    Path("tuesday").mkdir()
    for number, scene in enumerate(scenes[4:]):
        cv2.imwrite(f"tuesday/{number}.jpg", scene)
    for name in ("square.jpg", "close.jpg"):
        cv2.imwrite(name, scenes[0])
    cv2.imwrite("posters.png", np.eye(128, 160, dtype=np.uint8))
    save_counter(Path("my_counter"))


def prepare_ground():
    """An image of the shape that the camera file names, a video with room for the line, and a zone."""
    scene = next(iter(Synthetic(train=1, width=160, height=128).records("train"))).read()
    cv2.imwrite("square.jpg", cv2.resize(scene, (960, 540)))
    write_video(Path("street.mp4"), [cv2.resize(scene, (1280, 720))] * 2, "mpeg4")
    Path("zones.json").write_text('{"near": [[0, 300], [960, 300], [960, 540], [0, 540]]}')


PREPARED = {"intervals.md": prepare_intervals, "labelling.md": prepare_labelling, "ground.md": prepare_ground}


def run(page):
    """Run the blocks of a page in order; files that it names are written first."""
    found, names = blocks(page), {}
    for language, code in found:
        if language == "yaml" and (name := re.match(r"# (\S+)\n", code)):
            Path(name[1]).write_text(code)
    for language, code in found:
        if language == "python":
            exec(compile(code, page, "exec"), names)
        elif language == "bash":
            for words in command_lines(code):
                run_command(words)
        elif language == "console":
            for words in command_lines(code):
                assert words[0] in NOT_RUN or " ".join(words[:2]) in NOT_RUN
        else:
            assert language == "yaml"


def run_command(words):
    if words[0] == "sqlite3":
        assert sqlite3.connect(words[1]).execute(words[2]).fetchall()
    elif not any("--trainer.logger" in word for word in words):
        assert words[0] == "crowdcount"
        extra = SHORT if words[1:3] == ["train", "fit"] else []
        files = [sorted(map(str, Path().glob(word))) if "*" in word else [word] for word in words[1:]]
        assert main([*itertools.chain(*files), *extra]) in (0, None), words


@pytest.mark.parametrize("page", TUTORIALS)
def test_the_blocks_of_a_page_run(place, page, capsys):
    PREPARED.get(page, lambda: None)()
    run(page)
    printed = capsys.readouterr().out
    if page == "own_data.md":
        assert re.search(r"train_00000\.png: count -?\d+ \(-?\d+-\d+", printed)
        names = {"README.md", "config.json", "model.intervals.json", "model.safetensors"}
        assert {path.name for path in Path("my_counter").iterdir()} == names
    elif page == "hub.md":
        assert re.search(r"^hf:OWNER/my_counter@[0-9a-f]{40}/model\.safetensors$", printed, re.MULTILINE)
    elif page == "zones_video.md":
        assert Path("results/walk_counts.csv").is_file() and Path("results/photo_overlay.png").is_file()
    elif page == "ground.md":
        assert "people/m2" in printed and Path("square_grid.png").is_file() and Path("flow.csv").is_file()
    elif page == "labelling.md":
        assert len(list(Path("to_label").glob("*.json"))) == 20


def test_the_menu_lists_what_is_there():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    listed = set(re.findall(r"[\w/]+\.md", yaml.safe_dump(site["nav"])))
    there = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert set(TUTORIALS) <= there & listed
    families = {f"families/{path.name}.md" for path in (ROOT / "zoo_configs").iterdir() if path.is_dir()}
    assert listed - there == families | {"changelog.md", "contributing.md", "security.md"}


def test_the_site_builds(tmp_path, monkeypatch):
    """As `mkdocs build --strict`: a broken link, a page without a place or an unknown reference ends it."""
    for module in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        pytest.importorskip(module)
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    build(load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(tmp_path / "site")))
    card = (tmp_path / "site" / "families" / "ebc" / "index.html").read_text()
    assert "licence of the weights" in card
    assert 'href="../families/zip/#p_sha"' in (tmp_path / "site" / "weights" / "index.html").read_text()
    assert "crowdcount.models.ebc.network.Ebc" in card
