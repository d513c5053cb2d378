"""Mean and standard deviation: those of the backbone's pretrained weights, and those kept with a checkpoint."""

import json

import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file

import crowdcount
from crowdcount.errors import InputError
from crowdcount.inference.release import save_release
from crowdcount.models import Bins, DensityNetwork, Ebc, Hmode
from crowdcount.models.base import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD
from crowdcount.models.blockwise.loss import Dace
from crowdcount.training import BlockwiseModule
from crowdcount.weights.checkpoint import read_metadata

BINS = {"intervals": [0, 1, "2+"]}
HALVES = "tf_mobilenetv3_small_minimal_100"  # small, and pretrained on images normalised by 0.5
IMAGENET = (IMAGENET_MEAN, IMAGENET_STD)
OTHERS = ((0.5,) * 3, (0.5,) * 3)


def ebc(backbone=HALVES):
    torch.manual_seed(0)
    return Ebc(backbone, Bins(**BINS), pretrained=False).eval()


def numbers(network):
    return network.mean, network.std


def test_timm_says_what_the_pretrained_weights_expect():
    config = timm.get_pretrained_cfg(HALVES)
    assert (config.mean, config.std) == OTHERS
    assert numbers(ebc()) == OTHERS
    assert numbers(Hmode(HALVES, (8, 16), pretrained=False)) == OTHERS


PUBLISHED = [
    name
    for name in crowdcount.list_models()
    if not name.startswith("rec/") and not name.endswith(("mixed", "imagenet"))
]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_keep_imagenets_or_clips(name):
    expected = (
        (CLIP_MEAN, CLIP_STD) if name.startswith(("zip/", "image_text/")) and not name.endswith("scratch") else IMAGENET
    )
    with torch.device("meta"):
        assert numbers(crowdcount.create_model(name)) == expected


def test_images_are_normalised_by_them():
    image = torch.randint(0, 256, (1, 3, 8, 8), dtype=torch.uint8)
    assert torch.allclose(ebc().normalize(image), (image / 255 - 0.5) / 0.5, atol=1e-6)


@pytest.fixture
def checkpoint(tmp_path):
    """Return a function that writes what a training writes, with further entries or without some."""

    def write(network, **entries):
        module = BlockwiseModule(network, Dace())
        arguments = {"backbone": HALVES, "bins": BINS, "pretrained": False}
        stored = {"class_path": "crowdcount.models.Ebc", "init_args": arguments}
        content = {
            "state_dict": module.state_dict(),
            "config": yaml.safe_dump({"model": {"init_args": {"network": stored}}}),
        }
        module.on_save_checkpoint(content)
        torch.save({key: value for key, value in (content | entries).items() if value is not None}, tmp_path / "a.ckpt")
        return tmp_path / "a.ckpt"

    return write


def test_a_checkpoint_brings_its_own(checkpoint):
    network = ebc()
    assert numbers(crowdcount.load_model(checkpoint(network)).network) == OTHERS
    network.mean = (0.1, 0.2, 0.3)
    assert numbers(crowdcount.load_model(checkpoint(network)).network) == ((0.1, 0.2, 0.3), OTHERS[1])


def test_earlier_checkpoints_count_as_they_were_trained(checkpoint):
    """Their networks were fed with ImageNet's mean and deviation whatever the backbone."""
    network = ebc()
    path = checkpoint(network, normalization=None)
    model = crowdcount.load_model(path)
    assert numbers(model.network) == IMAGENET
    image = torch.randint(0, 256, (96, 96, 3), dtype=torch.uint8)
    shape = (1, 3, 1, 1)
    plain = (image.permute(2, 0, 1)[None] / 255 - torch.tensor(IMAGENET_MEAN).view(shape)) / torch.tensor(
        IMAGENET_STD
    ).view(shape)
    with torch.no_grad():
        expected = network(plain).density.sum().item()
        assert abs(network(network.normalize(image.permute(2, 0, 1)[None])).density.sum().item() - expected) > 1e-3
    assert model.predict(image.numpy()).count == pytest.approx(expected, rel=1e-6)


def test_a_resumed_training_goes_on_as_it_began(checkpoint):
    for entries, expected in (({}, OTHERS), ({"normalization": None}, IMAGENET)):
        path = checkpoint(ebc(), **entries)
        module = BlockwiseModule(ebc(), Dace())
        module.on_load_checkpoint(torch.load(path, weights_only=True))
        assert numbers(module.network) == expected


def test_a_release_keeps_them(checkpoint, tmp_path):
    for name, entries, expected in (("new", {}, OTHERS), ("old", {"normalization": None}, IMAGENET)):
        model = crowdcount.load_model(checkpoint(ebc(), **entries))
        file = save_release(model, tmp_path / name, name)
        assert json.loads(read_metadata(file)["preprocessing"])["mean"] == list(expected[0])
        assert numbers(crowdcount.load_model(file).network) == expected


def test_a_bare_state_dict_goes_by_the_backbone(tmp_path):
    save_file(ebc().state_dict(), tmp_path / "bare.safetensors")
    name, arguments = "ebc/resnet18_sha_scratch", {"backbone": HALVES, "feature_level": None, "bins": BINS}
    network = crowdcount.create_model(name, tmp_path / "bare.safetensors", **arguments)
    assert numbers(network) == OTHERS


def test_a_class_may_declare_its_own():
    class Halves(DensityNetwork):
        mean = std = (0.5, 0.5, 0.5)

        def forward(self, image):
            raise NotImplementedError

    network = Halves()
    network.restore_normalization({})
    assert numbers(network) == OTHERS


@pytest.mark.parametrize(
    "stored", [{"mean": "abc"}, {"mean": 1}, {"mean": [1, 2]}, {"std": [1, 2, "x"]}, {"std": [1, 2, 0]}]
)
def test_damaged_ones_are_refused(stored, checkpoint):
    with pytest.raises(InputError, match=r"a\.ckpt: normalization: (mean|std) .*"):
        crowdcount.load_model(checkpoint(ebc(), normalization=stored))
