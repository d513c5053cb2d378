"""Count-CLIP's training on captions of generated images: from the command line, resumed, measured."""

import csv
import json

import cv2
import numpy as np
import pytest
import torch
import yaml

import crowdcount
from crowdcount.cli import convert, dataset, evaluate, train
from crowdcount.data import Augment, Captions, Synthetic
from crowdcount.data.datamodule import CrowdData
from crowdcount.errors import InputError
from crowdcount.losses.count import counterfactual_loss
from crowdcount.models.clip.number_words import number_words
from crowdcount.models.image_text.network import ImageText
from crowdcount.training.image_text import ImageTextModule, clip_loss
from crowdcount.weights import download
from crowdcount.zoo import config as zoo_config
from tests.support.open_clip_models import PLAIN_TEXT, add_models
from tests.support.server import serving

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"layers": 1, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32},
    "text_cfg": {**PLAIN_TEXT, "context_length": 16},
}


@pytest.fixture(scope="module", autouse=True)
def models(tmp_path_factory):
    add_models(tmp_path_factory.mktemp("open_clip"), {"tiny-count-clip": TINY})


def write_image(path, number, rng):
    """Write an image of `number` white squares."""
    image = np.zeros((32, 32, 3), np.uint8)
    for cell in rng.permutation(16)[:number]:
        row, column = divmod(int(cell), 4)
        image[8 * row + 2 : 8 * row + 7, 8 * column + 2 : 8 * column + 7] = 255
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), image)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("captions"), np.random.default_rng(0)
    rows = []
    for index in range(24):
        number = 2 + index % 9
        write_image(root / "photos" / f"{index}.png", number, rng)
        caption = "a few squares" if index == 5 else f"{number_words(number)} squares"
        split = "test" if index >= 20 else "val" if index >= 16 else "train"
        rows.append({"image": f"photos/{index}.png", "text": caption, "split": split})
    (root / "captions.json").write_text(json.dumps(rows))
    return root


def config(folder, runs, **module):
    return {
        "seed_everything": 0,
        "trainer": {
            "max_epochs": 2,
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "log_every_n_steps": 1,
            "logger": {
                "class_path": "lightning.pytorch.loggers.CSVLogger",
                "init_args": {"save_dir": str(runs), "name": "r"},
            },
        },
        "model": {
            "class_path": "crowdcount.training.ImageTextModule",
            "init_args": {
                "network": {
                    "class_path": "crowdcount.models.ImageText",
                    "init_args": {"backbone": "tiny-count-clip", "pretrained": None},
                },
                "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 1e-3}},
                **module,
            },
        },
        "data": {
            "source": {"class_path": "crowdcount.data.Captions", "init_args": {"root": str(folder)}},
            "augment": None,
            "batch_size": 4,
            "num_workers": 0,
        },
    }


def fit(folder, runs, *words, **module):
    runs.mkdir(exist_ok=True)
    (runs / "config.yaml").write_text(yaml.safe_dump(config(folder, runs, **module)))
    train.main(["fit", "--config", str(runs / "config.yaml"), *words])
    return sorted((runs / "r").glob("version_*"))[-1]


def weights(run, name="last.ckpt"):
    return torch.load(run / "checkpoints" / name, weights_only=True)["state_dict"]


def test_training_resumes_exactly_and_the_result_is_measured(folder, tmp_path, capsys):
    whole = fit(folder, tmp_path / "whole", wrong_numbers=3)
    half = fit(folder, tmp_path / "half", "--trainer.max_epochs=1", wrong_numbers=3)
    rest = fit(folder, tmp_path / "half", f"--ckpt_path={half / 'checkpoints' / 'last.ckpt'}", wrong_numbers=3)
    for key, value in weights(whole).items():
        torch.testing.assert_close(weights(rest)[key], value, atol=0, rtol=0)
    with (whole / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {"train/clip", "train/count", "val/mae", "val/accuracy"} <= rows[0].keys()
    best = whole / "checkpoints" / "best.ckpt"
    evaluate.main([str(best), "--data", str(whole / "config.yaml"), "--output", str(tmp_path / "out")])
    assert "images      4" in capsys.readouterr().out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    table = list(csv.DictReader((tmp_path / "out" / "images.csv").open()))
    right = [row["true"] == row["predicted"] for row in table]
    assert summary["accuracy"] == sum(right) / 4 and summary["left_out"] == {}
    assert convert.main([str(best), "--output", str(tmp_path / "released")]) == 0
    assert 'model.choose(read_image("photo.jpg"), ["three dogs' in (tmp_path / "released" / "README.md").read_text()
    image, texts = cv2.imread(str(folder / "photos" / "20.png")), ["three squares"]
    models = [crowdcount.load_model(source) for source in (best, tmp_path / "released")]
    assert models[0].choose(image, texts) == models[1].choose(image, texts)


def test_the_loss_is_clip_s_and_that_of_counterfactual_captions(folder):
    torch.manual_seed(0)
    module = ImageTextModule(ImageText("tiny-count-clip", pretrained=None), count_weight=0.5, wrong_numbers=8)
    data = CrowdData(Captions(folder), None, batch_size=16, num_workers=0)
    batch = next(iter(data.train_dataloader()))
    loss = module.training_step(batch, 0)
    images = module.network.prepare(batch.images, batch.sizes)
    similarities, right, wrong = [], [], []
    for image, expressions in zip(images, batch.expressions, strict=True):
        texts = [each[0].text for each in batch.expressions]
        own, features, scale = module.network(image[None], module.network.tokenize(texts))
        similarities.append(scale * (features @ own[0]))
        caption, word = expressions[0].text, expressions[0].attribute
        if word:
            others = [caption.replace(word, number_words(n)) for n in range(2, 11) if number_words(n) != word]
            own, features, _ = module.network(image[None], module.network.tokenize([caption, *others]))
            right.append(features[0] @ own[0])
            wrong.append(features[1:] @ own[0])
    logits = torch.stack(similarities)
    rows, columns = logits.log_softmax(dim=1).diagonal(), logits.log_softmax(dim=0).diagonal()
    clip = -(rows.mean() + columns.mean()) / 2
    torch.testing.assert_close(clip_loss(logits), clip)
    count = 0.5 * counterfactual_loss(torch.stack(right), torch.stack(wrong))
    assert len(right) == 15
    logged = {"train/clip": clip.item(), "train/count": count.item(), "train/loss": loss.item()}
    assert module.averages.compute() == pytest.approx(logged, rel=1e-5)  # they resume inside an epoch
    torch.testing.assert_close(loss, clip + count)
    loss.backward()
    assert [key for key, value in module.named_parameters() if value.requires_grad and value.grad is None] == []


def test_a_loss_that_is_not_finite_ends_the_training(folder, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        fit(folder, tmp_path, "--model.init_args.optimizer.init_args.lr=1e30")
    assert stopped.value.code == 2 and "step 2: the loss is not finite (clip is nan" in capsys.readouterr().err


def test_data_that_do_not_suit_are_refused(folder):
    module = ImageTextModule(ImageText("tiny-count-clip", pretrained=None))
    with pytest.raises(InputError, match=r"data\.augment"):
        module.check_data(CrowdData(Captions(folder), Augment(crop=32)))
    with pytest.raises(InputError, match=r"has no caption; take crowdcount\.data\.Captions"):
        module.check_data(CrowdData(Synthetic(train=2), None))
    with pytest.raises(InputError, match=r"model\.wrong_numbers: 9"):
        ImageTextModule(module.network, wrong_numbers=9)


@pytest.fixture
def countbench(tmp_path, monkeypatch):
    """A table like CountBench.json; one address is dead, one gives a page in place of its image."""
    monkeypatch.setattr(download, "BACKOFF", 0.0)
    image = cv2.imencode(".png", np.full((40, 40, 3), 90, np.uint8))[1].tobytes()
    root = tmp_path / "bench"
    root.mkdir()
    with serving(image) as server, serving(b"<html>gone</html>") as page:
        rows = [
            {"image_url": server.url, "text": "Three dogs", "number": 3},
            {"image_url": server.url + ".png", "text": "kittens attend two lessons", "number": 2},
            {"image_url": "http://127.0.0.1:9/dead.jpg", "text": "four cats", "number": 4},
            {"image_url": page.url, "text": "five cats", "number": 5},
            {"image_url": server.url, "text": "kittens attend", "number": 10},
        ]
        (root / "CountBench.json").write_text(json.dumps(rows))
        yield root


def test_countbench_is_downloaded_and_what_is_missing_is_named(countbench, tmp_path, capsys):
    assert dataset.main(["download", str(countbench), "--table", "CountBench.json"]) == 1
    out = capsys.readouterr().out
    assert "3 of 5 images with an address are there, 2 missing" in out
    assert "0002: " in out and "0003: " in out and "not a readable image" in out
    assert sorted(path.name for path in (countbench / "images").iterdir()) == ["0000.jpg", "0001.png", "0004.jpg"]
    source = {"class_path": "crowdcount.data.Captions"}
    source["init_args"] = {"root": str(countbench), "table": "CountBench.json", "split": "test"}
    settings = config(countbench, tmp_path)
    settings["data"]["source"] = source
    (tmp_path / "bench.yaml").write_text(yaml.safe_dump(settings))
    torch.manual_seed(0)
    network = ImageText("tiny-count-clip", pretrained=None)
    state = {f"network.{key}": value for key, value in network.state_dict().items()}
    torch.save({"state_dict": state, "config": yaml.safe_dump(settings)}, tmp_path / "model.ckpt")
    assert evaluate.main([str(tmp_path / "model.ckpt"), "--data", str(tmp_path / "bench.yaml")]) == 0
    out = capsys.readouterr().out
    assert "images      2" in out and "left out    3 images" in out
    assert "image missing, 2: 0002 0003" in out and "caption without its number, 1: 0004" in out
    for words in (["--submission", str(tmp_path / "x.txt")], ["--split", "val"]):
        assert evaluate.main([str(tmp_path / "model.ckpt"), "--data", str(tmp_path / "bench.yaml"), *words]) == 2


def test_pretrained_weights_count_as_they_are(folder, tmp_path, monkeypatch):
    """Of a name in the zoo, without a training."""
    torch.manual_seed(3)
    published = ImageText("tiny-count-clip", pretrained=None)
    torch.save(published.clip.state_dict(), tmp_path / "published.pt")
    settings = config(folder, tmp_path)
    settings["model"]["init_args"]["network"]["init_args"]["pretrained"] = str(tmp_path / "published.pt")
    (tmp_path / "zoo" / "image_text").mkdir(parents=True)
    (tmp_path / "zoo" / "image_text" / "tiny.yaml").write_text(yaml.safe_dump(settings))
    with monkeypatch.context() as patch:
        patch.setattr(zoo_config, "configs_folder", lambda: tmp_path / "zoo")
        model = crowdcount.load_model("image_text/tiny", weights="pretrained")
    torch.testing.assert_close(model.network.state_dict(), published.state_dict())
    with pytest.raises(InputError, match="ebc/vgg19ae_sha does not count with pretrained weights alone"):
        crowdcount.load_model("ebc/vgg19ae_sha", weights="pretrained")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "two dogs"}, "row 0: needs a text, and either image or image_url"),
        ({"image": "a.png", "text": 3}, "row 0: text is '3', expected text"),
        ({"image": "a.png", "text": "x", "split": "dev"}, "row 0: split 'dev' is none of train, val, test"),
        ({"image": "a.png", "text": "x", "number": "many"}, "row 0: number 'many' is no whole number"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, row, message):
    (tmp_path / "captions.json").write_text(json.dumps([row]))
    with pytest.raises(InputError, match=rf"captions\.json: {message}"):
        Captions(tmp_path).records("train")


def test_a_csv_table_and_a_missing_image(tmp_path, caplog):
    write_image(tmp_path / "images" / "a.png", 3, np.random.default_rng(0))
    (tmp_path / "captions.csv").write_text('image,text,number\nimages/a.png,"three\nsquares",3\nb.png,two dogs,\n')
    source = Captions(tmp_path, "captions.csv")
    (record,) = source.records("train")
    assert (record.texts, record.expressions[0].attribute, record.read().shape) == (
        ["three\nsquares"],
        "three",
        (32, 32, 3),
    )
    assert source.missing("train") == ["b.png"] and "1 of 2 images are missing and left out: b.png" in caplog.text
