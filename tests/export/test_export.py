"""Exported files: equal to torch at several sizes, described, one file, or none."""

import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from torch import nn

from crowdcount import __version__
from crowdcount.errors import InputError
from crowdcount.export.export import export_int8, export_model
from crowdcount.export.graph import make_graph
from crowdcount.export.parity import SIZES, ParityError, noise, parity_table
from crowdcount.export.program import ProgramSession, trace
from crowdcount.images.resize import Resize
from crowdcount.inference.model import ImageTextModel, Model, ReferringModel
from crowdcount.models.base import CountMap
from crowdcount.runtimes.description import Description
from crowdcount.runtimes.sessions import open_session
from crowdcount.weights.state_dict import state_digest
from tests.support.counter import noise_image
from tests.support.exported import SUFFIXES, TinyCounter, exported, tiny_model

pytest.importorskip("onnxscript", reason="comes with the extra `export`")
pytest.importorskip("openvino", reason="comes with the extra `export`")


@pytest.mark.parametrize("form", SUFFIXES)
def test_the_graph_in_its_runtime_equals_torch(form):
    path = exported(form)
    session = ProgramSession(path) if form == "torch" else open_session(path)
    image = noise(112, 208)  # none of the sizes of the command
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
    about = Description.from_metadata(stored, path.name)
    assert about.metadata() == stored and about.tile_margin == 16 and about.division == tiny_model().inference.protocol


def test_the_comparison_is_shown(tmp_path):
    results = export_model(tiny_model(), tmp_path / "tiny.pt2", "torch")
    assert len(results) == len(SIZES) and all(each.passed for each in results)
    assert (results[0].height, results[0].width) == (32, 32) and results[0].count > 0  # .pt2 takes nothing smaller
    head, *lines = parity_table(results).splitlines()
    assert "largest difference" in head and len(lines) == len(SIZES) and "672 x 448" in lines[-1]


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
    with pytest.raises(InputError, match="tiny: torch cannot export this network for images of any size"):
        export_model(Model(Choosy().eval(), name="tiny"), tmp_path / "tiny.onnx")
    for kind, what in ((ReferringModel, "expressions"), (ImageTextModel, "captions")):
        with pytest.raises(InputError, match=f"cannot be exported, as it reads {what}"):
            export_model(kind(nn.Identity()), tmp_path / "tiny.onnx")
    with pytest.raises(InputError, match=r"ends in \.xml"):
        export_model(tiny_model(), tmp_path / "tiny.onnx", "openvino")
    assert not list(tmp_path.iterdir())


def test_a_program_takes_every_size_and_one_image():
    graph = make_graph(tiny_model())
    program = trace(graph, "tiny")
    image = noise(32, 480)
    [density, _, _] = program.module()(torch.from_numpy(image))
    torch.testing.assert_close(density, graph(torch.from_numpy(image))[0])
    with pytest.raises(Exception, match=r"(?i)guard|constraint|shape|expected"):
        program.module()(torch.zeros(1, 3, 24, 32))  # no multiple of 16


def quantise(folder):
    """Export at int8; return whether all passed, and the counts of both files."""
    images = [noise_image(64, 96, seed) for seed in range(3)]
    model = tiny_model(resize=Resize(64, 640, 32))
    results = export_int8(model, folder / "tiny.xml", images, folder / "float32.xml")
    small, plain = open_session(folder / "tiny.xml"), open_session(folder / "float32.xml")
    image = noise(64, 96)
    counts = [float(each.run(image)["density"].sum()) for each in (small, plain)]
    return all(each.passed for each in results), small.metadata["precision"], counts


def test_int8_counts_nearly_the_same(tmp_path):
    pytest.importorskip("nncf", reason="comes with the extra `export`")
    # in a process of its own: where NNCF 3.4 has run, a signal handler that raises, as in other tests, ends in a crash
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        passed, precision, (found, expected) = pool.submit(quantise, tmp_path).result()
    assert passed and precision == "int8" and "FakeQuantize" in (tmp_path / "tiny.xml").read_text()
    assert {each.name for each in tmp_path.iterdir()} == {"tiny.xml", "tiny.bin", "float32.xml", "float32.bin"}
    assert found != expected and found == pytest.approx(expected, rel=0.1)
