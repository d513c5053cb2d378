"""Networks of every family that counts from the image alone, in onnxruntime beside torch."""

import pytest
import torch

from crowdcount.export.export import export_model
from crowdcount.inference.model import Model
from crowdcount.models.blockwise.bins import Bins
from crowdcount.models.clip_ebc.network import ClipEbc
from crowdcount.models.ebc.network import Ebc
from crowdcount.models.hmode.network import Hmode
from crowdcount.models.zip.network import Zip
from crowdcount.runtimes import RuntimePredictor
from tests.support.counter import noise_image
from tests.support.open_clip_models import PLAIN_TEXT, add_models

pytest.importorskip("onnxscript", reason="comes with the extra `export`")
pytest.importorskip("onnxruntime", reason="comes with the extra `onnx`")

BINS = Bins([0, 1, "2+"], [0, 1, 3.5])
VIT = {"layers": 2, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 64}
FAMILIES = {
    "ebc": lambda: Ebc("efficientnet_lite0", BINS, pretrained=False, feature_level=1),  # "same" padding
    "ebc, two sizes": lambda: Ebc("efficientnet_lite0", BINS, pretrained=False, feature_level=1, half_size=True),
    "zip": lambda: Zip("mobilenetv4_conv_small_050", BINS, reduction=8, backbone_stride=16, pretrained=False),
    "hmode": lambda: Hmode("resnet10t", strides=(4, 8), pretrained=False),
    "clip_ebc": lambda: ClipEbc("tiny-vit-export", BINS, pretrained=None, vpt=2),  # positions for any grid
}


@pytest.fixture(scope="module", autouse=True)
def tiny_vit(tmp_path_factory):
    config = {"embed_dim": 48, "quick_gelu": True, "vision_cfg": VIT, "text_cfg": PLAIN_TEXT}
    add_models(tmp_path_factory.mktemp("open_clip"), {"tiny-vit-export": config})


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_counts_as_in_torch(family, tmp_path):
    torch.manual_seed(0)
    model = Model(FAMILIES[family]().eval(), name=family)
    results = export_model(model, tmp_path / "model.onnx")
    assert all(each.passed for each in results)
    image = noise_image(70, 100)
    found, expected = RuntimePredictor(tmp_path / "model.onnx").predict(image), model.predict(image)
    assert found.count == pytest.approx(expected.count, rel=1e-4)
    assert (found.density.shape, found.exact) == (expected.density.shape, expected.exact)
    for name in ("variance", "size_difference"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert (ours is None) == (theirs is None)
        assert ours is None or ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)
    assert (found.doubt is None) == (family != "ebc, two sizes")
