"""The site of the documentation: it builds strictly, and the blocks of its tutorials run as they are printed.

Trainings are cut to one step; the loggers of train.md are in training/test_loggers.py.
"""

import re
from pathlib import Path

import cv2
import pytest
import yaml

from crowdcount.cli.main import main
from crowdcount.data import Synthetic
from tests.support.doc_pages import DOCS, blocks, command_lines
from tests.support.hub import hub
from tests.support.video import write_video

__all__ = ["hub"]
ROOT = DOCS.parent
TUTORIALS = ["quick_start.md", "count.md", "zones_video.md", "own_data.md", "train.md", "evaluate.md", "hub.md"]
NOT_RUN = {"git", "python3", "pip", "crowdcount benchmark"}
"""Programs of the blocks marked as `console`, which install something or are there in a clone alone."""
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
                if not any("--trainer.logger" in word for word in words):
                    assert words[0] == "crowdcount"
                    extra = SHORT if words[1:3] == ["train", "fit"] else []
                    assert main([*words[1:], *extra]) in (0, None), words
        elif language == "console":
            for words in command_lines(code):
                assert words[0] in NOT_RUN or " ".join(words[:2]) in NOT_RUN
        else:
            assert language == "yaml"


@pytest.mark.parametrize("page", TUTORIALS)
def test_the_blocks_of_a_page_run(place, page, capsys):
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
