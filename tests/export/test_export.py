"""Exported files: equal to torch at several sizes, described, one file, or none."""

import json
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from crowdcount import __version__
from crowdcount.data import Synthetic
from crowdcount.errors import InputError
from crowdcount.export.export import export_int8, export_model
from crowdcount.export.graph import describe, make_graph
from crowdcount.export.parity import SIZES, ParityError, noise, parity_table
from crowdcount.export.program import ProgramSession, trace
from crowdcount.export.quantization import NetworkInputs, counting_operations
from crowdcount.images.resize import Resize
from crowdcount.inference.model import ImageTextModel, Model, ReferringModel
from crowdcount.intervals import SCALES, Calibration, Intervals
from crowdcount.models.base import CountMap
from crowdcount.predictor import DEFAULT_MODEL
from crowdcount.runtimes import RuntimePredictor
from crowdcount.runtimes.description import OUTPUTS, Description
from crowdcount.runtimes.sessions import open_session
from crowdcount.weights.state_dict import state_digest
from crowdcount.zoo.models import load_model
from tests.support.counter import noise_image
from tests.support.disk import largest_file
from tests.support.exported import SUFFIXES, TinyCounter, exported, tiny_model

pytest.importorskip("onnxscript", reason="comes with the extra `export`")
pytest.importorskip("openvino", reason="comes with the extra `export`")

QUANTISES = pytest.mark.skipif(find_spec("nncf") is None, reason="comes with the extra `export`")  # not imported here


@pytest.mark.parametrize("form", SUFFIXES)
def test_the_graph_in_its_runtime_equals_torch(form):
    path = exported(form)
    session = ProgramSession(path) if form == "torch" else open_session(path)
    image = noise(112, 208, 5)  # none of the sizes of the command, nor of its numbers of images
    with torch.inference_mode():
        output = tiny_model().network(torch.from_numpy(image))
    found = session.run(image)
    np.testing.assert_allclose(found["density"], output.density, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["variance"], output.variance, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["probabilities"], output.logits.softmax(1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", SUFFIXES)
def test_a_file_says_how_to_count(form):
    path = exported(form)
    assert {each.name for each in path.parent.iterdir()} == {path.name, *(["tiny.bin"] if form == "openvino" else [])}
    stored = (ProgramSession(path) if form == "torch" else open_session(path)).metadata
    network = tiny_model().network
    assert stored["crowdcount"] == __version__ and stored["name"] == "tiny" and stored["precision"] == "float32"
    assert stored["weights_sha256"] == state_digest(network.state_dict())
    before, after = json.loads(stored["preprocessing"]), json.loads(stored["postprocessing"])
    assert before["mean"] == list(network.mean) and before["std"] == list(network.std)
    assert (before["size_divisor"], before["size_rule"], after["stride"]) == (16, None, 8)
    assert list(after["outputs"]) == ["density", "variance", "probabilities"] and "sum of density" in after["count"]
    assert after["classes"] == {"intervals": [0, 1, "2+"], "anchors": [0, 1, 3.5]}
    assert (stored["source_sha256"], stored["intervals"]) == ("", "null")
    about = Description.from_metadata(stored, path.name)
    assert about.metadata() == stored and about.tile_margin == 16 and about.division == tiny_model().inference.protocol


def test_the_comparison_is_shown(tmp_path):
    results = export_model(tiny_model(), tmp_path / "tiny.pt2", "torch")
    assert len(results) == len(SIZES) and all(each.passed for each in results)
    assert (results[0].height, results[0].width) == (32, 32) and results[0].count > 0  # .pt2 takes nothing smaller
    head, *lines = parity_table(results).splitlines()
    assert "largest difference" in head and len(lines) == len(SIZES) and "672 x 448" in lines[-1]
    assert "3 of 256 x 352" in lines[3]


class Fickle(TinyCounter):
    """A network whose output depends on more than the image."""

    def forward(self, image):
        self.calls = getattr(self, "calls", 0) + 1
        output = super().forward(image)
        return CountMap(output.density * self.calls, output.logits, output.variance)


class Choosy(TinyCounter):
    """A network that decides by what it sees, which a graph cannot."""

    def forward(self, image):
        return super().forward(image if image.sum() > 0 else -image)


def test_another_output_leaves_no_file(tmp_path):
    with pytest.raises(ParityError, match=r"tiny: the exported graph counts .* no file was written"):
        export_model(Model(Fickle().eval(), name="tiny"), tmp_path / "tiny.pt2", "torch")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_says_why(tmp_path):
    with pytest.raises(InputError, match="tiny: torch cannot export this network for any number of images of any size"):
        export_model(Model(Choosy().eval(), name="tiny"), tmp_path / "tiny.onnx")
    for kind, what in ((ReferringModel, "expressions"), (ImageTextModel, "captions")):
        with pytest.raises(InputError, match=f"cannot be exported, as it reads {what}"):
            export_model(kind(nn.Identity()), tmp_path / "tiny.onnx")
    with pytest.raises(InputError, match=r"ends in \.xml"):
        export_model(tiny_model(), tmp_path / "tiny.onnx", "openvino")
    assert not list(tmp_path.iterdir())


class Single(TinyCounter):
    """A network that asks the number of images, which holds that of its graph."""

    def forward(self, image):
        return super().forward(image if image.shape[0] > 2 else image.clone())


def test_a_network_that_asks_the_number_of_images_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"tiny: torch cannot export this network for any number of images of any size"
    ):
        export_model(Model(Single().eval(), name="tiny"), tmp_path / "tiny.onnx")
    assert not list(tmp_path.iterdir())


def test_nothing_of_others_is_replaced(tmp_path):
    (tmp_path / "pytorch_model.bin").write_text("weights of mine")
    with pytest.raises(InputError, match=r"pytorch_model\.bin: exists and belongs to no pytorch_model\.xml"):
        export_model(tiny_model(), tmp_path / "pytorch_model.xml", "openvino")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(InputError, match=r"folder\.onnx: is a folder"):
        export_model(tiny_model(), tmp_path / "folder.onnx")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"cannot be written \(.*\); choose a folder that you may write to"):
        export_model(tiny_model(), tmp_path / "file" / "tiny.onnx")


@pytest.mark.parametrize("form", SUFFIXES)
def test_a_full_disk_leaves_the_file_that_is_there(form, tmp_path):
    path = tmp_path / f"tiny{SUFFIXES[form]}"
    path.write_text("an earlier export")
    with largest_file(2000), pytest.raises(InputError, match="cannot be written"):
        export_model(tiny_model(), path, form)
    assert [each.name for each in tmp_path.iterdir()] == [path.name] and path.read_text() == "an earlier export"


def test_no_graph_stands_beside_the_weights_of_another(tmp_path, monkeypatch):
    """Whatever interrupts the naming of the two files of OpenVINO, there is no pair that does not belong together."""
    path, names = tmp_path / "tiny.xml", []
    export_model(tiny_model(0), path, "openvino")
    move = Path.replace

    def interrupted(self, target):
        move(self, target)
        names.append(sorted(each.name for each in tmp_path.iterdir() if each.is_file()))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "replace", interrupted)
        export_model(tiny_model(1), path, "openvino")
    assert names == [["tiny.bin"]] and [each.name for each in tmp_path.iterdir()] == ["tiny.bin"]


def test_intervals_go_into_the_file(tmp_path):
    known = Intervals(
        "0" * 64, "in one pass", "x", "x", "x", image=Calibration(SCALES[0], (np.arange(60.0),), (), (0.0, 9.0))
    )
    beside = tmp_path / "tiny.intervals.json"
    beside.write_text("those of tiny.ckpt")
    export_model(replace(tiny_model(), intervals=known), tmp_path / "tiny.pt2", "torch")
    stored = ProgramSession(tmp_path / "tiny.pt2").metadata
    about = Description.from_metadata(stored, "tiny.pt2")
    assert about.intervals.as_json() == known.as_json() and about.metadata() == stored
    assert beside.read_text() == "those of tiny.ckpt"


def test_a_program_takes_every_size_and_number_of_images():
    graph = make_graph(tiny_model())
    program = trace(graph, "tiny")
    image = noise(32, 480)
    [density, _, _] = program.module()(torch.from_numpy(image))
    torch.testing.assert_close(density, graph(torch.from_numpy(image))[0])
    [density, _, _] = program.module()(torch.zeros(7, 3, 32, 32))
    assert density.shape == (7, 1, 4, 4)
    with pytest.raises(Exception, match=r"(?i)guard|constraint|shape|expected"):
        program.module()(torch.zeros(1, 3, 24, 32))  # no multiple of 16


def test_the_outputs_of_a_graph_are_those_of_a_map():
    found = CountMap(*(torch.rand(1, channels, 2, 2) for channels in (1, 3, 1, 1))).outputs()
    assert list(found) == list(OUTPUTS) and found["probabilities"].sum().item() == pytest.approx(4)


@QUANTISES
def test_int8_counts_nearly_the_same(tmp_path):
    images = [noise_image(64, 96, seed) for seed in range(3)]
    model = tiny_model(resize=Resize(64, 640, 32))
    results = export_int8(model, tmp_path / "tiny.xml", iter(images), tmp_path / "float32.xml")
    assert all(each.passed for each in results)
    assert {each.name for each in tmp_path.iterdir()} == {"tiny.xml", "tiny.bin", "float32.xml", "float32.bin"}
    small, plain = open_session(tmp_path / "tiny.xml"), open_session(tmp_path / "float32.xml")
    assert small.metadata["precision"] == "int8" and "FakeQuantize" in (tmp_path / "tiny.xml").read_text()
    image = noise(64, 96, 2)
    found, expected = (each.run(image)["density"].sum() for each in (small, plain))
    assert found != expected and found == pytest.approx(expected, rel=0.1)
    assert "nncf" not in sys.modules  # where it has run, a signal may crash the process


@QUANTISES
def test_int8_rounds_no_class_scores_and_no_counts(tmp_path):
    export_int8(tiny_model(), tmp_path / "tiny.xml", [noise_image(64, 96)])
    graph = openvino_graph(tmp_path / "tiny.xml")
    kinds = {each.get_friendly_name(): each.get_type_name() for each in graph.get_ops()}
    after = {kinds[name] for name in counting_operations(graph)}
    assert "Softmax" in after and "FakeQuantize" not in after
    assert "FakeQuantize" in kinds.values()


def openvino_graph(path):
    import openvino

    return openvino.Core().read_model(path)


@QUANTISES
def test_int8_keeps_the_counts_of_the_packaged_model(tmp_path):
    images = [record.read() for record in Synthetic().records("train")[:3]]
    model = load_model(DEFAULT_MODEL)
    export_int8(model, tmp_path / "int8.xml", images)
    small = RuntimePredictor(tmp_path / "int8.xml")
    for image in images:
        expected = model.predict(image).count
        assert expected > 10 and small.predict(image).count == pytest.approx(expected, rel=0.1)


@QUANTISES
def test_quantisation_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match=r"tiny: cannot be quantised \(.+\)"):
        export_int8(tiny_model(), tmp_path / "tiny.xml", [np.zeros((3, 3), np.uint8)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("window", [None, 32])
def test_a_part_of_each_image_is_run(window):
    about = describe(tiny_model(window=window), make_graph(tiny_model(window=window)))
    images = [noise_image(40, 1200), noise_image(700, 20)]
    inputs, again = (list(NetworkInputs(about, images)) for _ in range(2))
    assert [each.shape for each in inputs] == [
        (1, 3, *((window,) * 2 if window else size)) for size in ((48, 512), (512, 32))
    ]
    assert all(map(np.array_equal, inputs, again))
