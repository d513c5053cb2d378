"""Numbers in captions, and the image-text network."""

import numpy as np
import pytest
import torch

from crowdcount.errors import InputError
from crowdcount.inference.model import ImageTextModel
from crowdcount.models.image_text.captions import NUMBERS, find_number, numbers_in, replace_number
from crowdcount.models.image_text.network import ImageText
from tests.support.open_clip_models import PLAIN_TEXT, add_models

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 32},
    "text_cfg": PLAIN_TEXT,
}


@pytest.fixture(scope="module", autouse=True)
def models(tmp_path_factory):
    add_models(tmp_path_factory.mktemp("open_clip"), {"tiny-image-text": TINY})


@pytest.fixture
def network():
    torch.manual_seed(0)
    return ImageText("tiny-image-text", pretrained=None).eval()


@pytest.mark.parametrize(
    ("caption", "number"),
    [
        ("three dogs", 3),
        ("Ten kittens, often asleep", 10),
        ("kittens, often attend", None),  # "ten" inside of words
        ("someone in a sixties dress", None),
        ("THREE dogs", 3),
        ("a three-piece suit", 3),
        ("twenty-two dogs", None),
        ("two hundred people", None),
        ("nine dozen eggs", None),
        ("two dogs and three cats", None),
        ("two dogs and two cats", 2),
        ("one dog", None),
        ("3 dogs", None),
    ],
)
def test_a_caption_s_number_is_a_whole_word(caption, number):
    assert find_number(caption) == number


def test_only_the_number_is_replaced_in_its_letter_case():
    caption = "Ten of the TEN kittens often attend ten lessons with two dogs"
    assert replace_number(caption, 10, 3) == "Three of the THREE kittens often attend three lessons with two dogs"
    assert numbers_in(caption) == {2, 10}
    assert [replace_number("two dogs", 2, number).split()[0] for number in NUMBERS] == (
        "two three four five six seven eight nine ten".split()
    )


def test_an_image_becomes_the_tower_s_square(network):
    """Only the image counts, not its padding; "squash" keeps what "crop" cuts off."""
    image = torch.zeros(1, 3, 64, 96, dtype=torch.uint8)
    image[0, :, :40, 10:50] = 200  # the middle of the 40 x 60 pixels that are the image
    image[0, :, :40, 50:60] = 50
    inner = network.prepare(image, [(40, 60)])
    plain = network.normalize(torch.full((1, 3, 32, 32), 200, dtype=torch.uint8))
    torch.testing.assert_close(inner, plain)
    network.fit = "squash"
    squashed = network.prepare(image, [(40, 60)])
    assert squashed.shape == inner.shape and not torch.allclose(squashed, inner)


def test_features_have_unit_length(network):
    with torch.inference_mode():
        images, texts, _ = network(torch.rand(2, 3, 32, 32), network.tokenize(["two dogs", "three dogs"]))
    assert images.shape == texts.shape == (2, 16)
    torch.testing.assert_close(images.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize("log_scale", [10.0, 4.6052, 1.0], ids=["above", "OpenAI's", "below"])
def test_the_scale_is_limited_in_training_and_keeps_its_gradient(network, log_scale):
    parameter = network.train().clip.logit_scale
    with torch.no_grad():
        parameter.fill_(log_scale)
    _, _, scale = network(torch.rand(2, 3, 32, 32), network.tokenize(["two dogs", "three dogs"]))
    torch.testing.assert_close(scale, torch.tensor(log_scale).exp().clamp(max=100))
    (gradient,) = torch.autograd.grad(scale, parameter)
    torch.testing.assert_close(gradient, scale.detach())


def test_the_most_similar_of_nine_captions_is_chosen(network):
    """Compared with a loop over the captions, each by itself."""
    model = ImageTextModel(network, name="tiny")
    image = np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)
    found = model.choose(image, ["three dogs", "two cats and four dogs"], [None, 4])
    square = network.prepare(torch.from_numpy(image).permute(2, 0, 1)[None], [(50, 70)])
    for prediction, wording in zip(found, ("{} dogs", "two cats and {} dogs"), strict=True):
        similarities = []
        for word in "two three four five six seven eight nine ten".split():
            with torch.inference_mode():
                own, text, _ = network(square, network.tokenize([wording.format(word)]))
            similarities.append(float(own[0] @ text[0]))
        assert prediction.similarities == pytest.approx(similarities, abs=1e-5)
        assert prediction.count == 2 + int(np.argmax(similarities))
    with pytest.raises(InputError, match="'some dogs' says no number from two to ten"):
        model.choose(image, ["some dogs"])
    with pytest.raises(InputError, match=r"tiny chooses among captions .* finds no places"):
        model.predict_each(image, ["three dogs"])


def test_weights_of_a_local_file(network, tmp_path):
    torch.manual_seed(1)
    other = ImageText("tiny-image-text", pretrained=str(tmp_path / "weights.pt"))
    torch.save(network.clip.state_dict(), tmp_path / "weights.pt")
    other.load_pretrained()
    for key, value in network.state_dict().items():
        torch.testing.assert_close(other.state_dict()[key], value)
    third = ImageText("tiny-image-text", pretrained=None)
    third.load_published(network.clip.state_dict())
    torch.testing.assert_close(third.clip.visual.proj, network.clip.visual.proj)
