"""Contrastive terms of a configuration: where they take their pairs from, what they log, how they resume."""

import copy
import csv
import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import yaml
from lightning.pytorch import Trainer

from crowdcount.cli import train
from crowdcount.data import ReferringScenes
from crowdcount.data.datamodule import CrowdData
from crowdcount.data.dataset import Batch
from crowdcount.errors import InputError
from crowdcount.losses.contrastive import ContrastiveTerm
from crowdcount.models import Bins, ClipEbc, ClipZip, Ebc, ReferringDetector, Zip
from crowdcount.models.rec.loss import RecLoss
from crowdcount.models.rec.outputs import Phrases, PointDetections
from crowdcount.training import BlockwiseModule, ReferringModule, ZipModule
from crowdcount.training.contrastive import ContrastiveTerms
from crowdcount.training.contrastive_blocks import BlockFeatures, bin_pairs
from crowdcount.training.contrastive_tokens import logit_pairs, text_ids, token_pairs
from tests.support.tiny_rec import REC, SCENES

EBC = {
    "class_path": "crowdcount.training.BlockwiseModule",
    "init_args": {
        "network": {
            "class_path": "crowdcount.models.Ebc",
            "init_args": {"backbone": "test_resnet", "pretrained": False, "bins": {"intervals": [0, 1, "2+"]}},
        },
        "loss": {"count_loss": "mae"},
        "optimizer": {"class_path": "Adam", "init_args": {"lr": 0.001}},
    },
}
CROPS = {
    "source": {"class_path": "crowdcount.data.Synthetic", "init_args": {"train": 4, "val": 1, "test": 1}},
    "augment": {"crop": 64},
    "batch_size": 2,
    "num_workers": 0,
}


def fit(folder, model, data, terms, *words, epochs=1):
    """Train and return the rows of metrics.csv and the state dict of the last checkpoint."""
    logger = {
        "class_path": "lightning.pytorch.loggers.CSVLogger",
        "init_args": {"save_dir": str(folder), "name": "run"},
    }
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1}
    model = {**model, "init_args": {**model["init_args"], "contrastive": terms}}
    trainer = {"max_epochs": epochs, "accelerator": "cpu", "logger": logger, **quiet}
    folder.mkdir(exist_ok=True)
    config = {"trainer": trainer, "model": model, "data": data, "pictures": {"images": 0}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    train.main(["fit", "--config", str(folder / "config.yaml"), *words])
    run = folder / "run" / "version_0"
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    checkpoint = run / "checkpoints" / "last.ckpt"
    return rows, torch.load(checkpoint, weights_only=True)["state_dict"], checkpoint


STATEFUL = [
    {"loss": "isogclr", "at": "count_bins", "weight": 0.1},
    {"loss": "sbcl", "at": "count_bins", "max_anchors": 64},
    {"loss": "supcon", "at": "count_bins", "mix": "supremix", "ordinal": "weight"},
]


def test_a_resumed_state_is_the_uninterrupted_one(tmp_path):
    """Temperatures, banks, and the draws of blocks and mixtures go on where they were."""
    rows, whole, _ = fit(tmp_path / "whole", EBC, CROPS, STATEFUL, epochs=2)
    assert {f"train/count_bins_{name}" for name in ("isogclr", "sbcl", "supcon")} <= set(rows[0])
    assert {"contrastive.states.0.learned.temperature", "contrastive.states.1.bank"} <= set(whole)
    _, _, half = fit(tmp_path / "half", EBC, CROPS, STATEFUL, epochs=1)
    _, resumed, _ = fit(tmp_path / "rest", EBC, CROPS, STATEFUL, f"--ckpt_path={half}", epochs=2)
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert (whole["contrastive.states.0.learned.temperature"] != 0.1).any()
    assert whole["contrastive.states.1.filled"].sum() > 0


def test_terms_of_tokens_and_logits(tmp_path):
    terms = [
        {"loss": "supcon_in", "at": "rec_tokens", "weight": 0.01, "mix": "mochi"},
        {"loss": "isogclr", "at": "rec_tokens"},
        {"loss": "dcl", "at": "rec_logits", "weight": 0.3},
        {"loss": "soft_count", "at": "rec_logits"},
        {"loss": "mw", "at": "rec_logits", "start_step": 10**6},
    ]
    rows, state, _ = fit(tmp_path / "rec", REC, SCENES, terms)
    names = {f"train/{name}" for name in ("rec_tokens_supcon_in", "rec_logits_dcl", "rec_logits_soft_count")}
    assert names <= set(rows[0]) and "train/rec_logits_mw" not in rows[0]
    assert 0 < state["contrastive.states.1.slots.used"] <= 12


def test_a_head_waits_for_its_term_with_gradients_of_zero():
    """Several processes need a gradient of every parameter in every step."""
    network = ReferringDetector("tiny", pretrained=False, freeze=False, words=("person", "red"), projection=8)
    terms = (ContrastiveTerm("supcon", "rec_tokens", start_step=100),)
    module = ReferringModule(network, RecLoss(), torch.optim.SGD, contrastive=terms)
    scenes = ReferringScenes(train=1, val=0, test=1, size=96)
    found = []
    module.on_after_backward = lambda: found.extend(each.grad for each in network.projection.parameters())
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    data = CrowdData(scenes, None, batch_size=1, val_fraction=0, num_workers=0)
    Trainer(accelerator="cpu", max_steps=1, limit_val_batches=0, **quiet).fit(module, datamodule=data)
    assert found and all(gradient is not None and not gradient.any() for gradient in found)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([{"loss": "dcl", "at": "rec_tokens"}], "dcl at rec_tokens; this module has count_bins"),
        ([{"loss": "sbcl", "at": "rec_tokens"}], "sbcl has no meaning at rec_tokens"),
        ([{"loss": "supcone", "at": "count_bins"}], "supcone"),
        ([{"loss": "supcon", "at": "count_bins", "wight": 1}], "wight"),
        ([{"class_path": "os.system", "init_args": {"command": "touch exploded"}}], "contrastive"),
        (["os.system"], "contrastive"),
    ],
)
def test_bad_lines(tmp_path, capsys, monkeypatch, terms, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        fit(tmp_path / "bad", EBC, CROPS, terms)
    assert stopped.value.code == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "exploded").exists()


def test_a_state_is_learned_in_one_process():
    several = ContrastiveTerms([ContrastiveTerm(**line) for line in STATEFUL], ["count_bins"], 3, 8)
    several.check_processes(1)
    with pytest.raises(InputError, match="isogclr learns its state from the images of one process, and there are 2"):
        several.check_processes(2)
    ContrastiveTerms([ContrastiveTerm("dcl", "count_bins")], ["count_bins"], 3, 8).check_processes(2)


def test_terms_of_one_name_have_two_values():
    terms = ContrastiveTerms([ContrastiveTerm("dcl", "count_bins", weight=w) for w in (1, 2, 0)], ["count_bins"])
    z, labels = torch.randn(12, 4), torch.arange(12) % 3
    features, classes = z.T.reshape(1, 4, 3, 4), labels.reshape(1, 3, 4)
    values = terms({"count_bins": lambda number: bin_pairs(features, classes, torch.arange(3.0), number)}, 0)
    assert list(values) == ["count_bins_dcl", "count_bins_dcl_"]
    torch.testing.assert_close(values["count_bins_dcl_"], 2 * values["count_bins_dcl"])


def test_as_many_blocks_of_each_bin():
    features = torch.arange(96.0).reshape(2, 3, 4, 4)
    classes = torch.zeros(2, 4, 4, dtype=torch.long)
    classes[1, 2, 3], classes[0, 0, 1], classes[0, 0, 2] = 2, 1, 1
    pairs = bin_pairs(features, classes, torch.tensor([0.0, 1, 5]), 6)
    assert pairs.labels.sort().values.tolist() == [0, 0, 1, 1, 2]
    last = pairs.z_anchor[pairs.labels == 2][0]
    assert last.tolist() == features[1, :, 2, 3].tolist()
    assert pairs.delta[pairs.labels == 0][:, pairs.labels == 2].unique().tolist() == [5]


def test_features_of_evaluations_are_not_held():
    network = Ebc("test_resnet", Bins([0, "1+"]), pretrained=False)
    module = BlockwiseModule(network, loss=None, contrastive=(ContrastiveTerm("dcl", "count_bins"),))
    image = torch.zeros(2, 3, 64, 64)
    module.eval()
    network(image)
    assert module.contrastive._features._last is None
    module.train()
    network(image)
    assert module.contrastive._features.take().shape == (2, network.feature_channels, 8, 8)
    twin = copy.deepcopy(module)
    twin.network(image)
    assert twin.contrastive._features._last is not None and module.contrastive._features._last is None


@pytest.fixture(scope="module")
def _tiny_clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("open_clip")
    recorded = Path(__file__).parents[1] / "golden/zip/zip_tiny.json"
    for name, config in json.loads(recorded.read_text())["open_clip_configs"].items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)


BINS = Bins([0, 1, "2+"])
NETWORKS = {
    "ebc": lambda: Ebc("test_resnet", BINS, pretrained=False),
    "clip_ebc": lambda: ClipEbc("tiny-vit", BINS, pretrained=None, vpt=2, reduction=16),
    "zip": lambda: Zip("mobilenetv4_conv_small_035", BINS, pretrained=False),
    "clip_zip": lambda: ClipZip("tiny-vit", BINS, 32, None, vpt=2),
}


@pytest.mark.parametrize("family", NETWORKS)
@pytest.mark.usefixtures("_tiny_clip")
def test_every_blockwise_family_names_its_features(family):
    network = NETWORKS[family]()
    kept = BlockFeatures(network, in_training=False)
    density = network(torch.rand(2, 3, 128, 128)).density
    assert kept.take().shape == (2, network.feature_channels, *density.shape[2:])


def test_zip_is_trained_with_a_term():
    module = ZipModule(NETWORKS["zip"](), contrastive=(ContrastiveTerm("supcon", "count_bins"),))
    images, points = torch.rand(2, 3, 64, 64), [np.array([[3.0, 4.0], [40.0, 40.0]]), np.zeros((0, 2))]
    output = module.network(images)
    values = module.losses(output, Batch(images, [(64, 64)] * 2, points, [2, 0], ["a", "b"], [(), ()], ["", ""]))
    assert values["count_bins_supcon"] > 0 and values["count_bins_supcon"].requires_grad


def test_a_network_without_a_named_layer_is_refused():
    class Unnamed(Ebc):
        feature_layer = ""

    network = Unnamed("test_resnet", Bins([0, "1+"]), pretrained=False)
    with pytest.raises(InputError, match="Unnamed does not name the layer"):
        BlockwiseModule(network, loss=None, contrastive=(ContrastiveTerm("dcl", "count_bins"),))


def detections():
    """Two images: expressions 0 and 1 in the first, 2 in the second; six queries at x = 0, 0.1, ... 0.5."""
    points = torch.stack([torch.arange(6) / 10, torch.zeros(6)], dim=1).expand(3, 6, 2)
    labels = torch.tensor([[1, 1, 0], [1, 1, 0], [1, 1, 1]], dtype=torch.bool)
    phrases = Phrases(torch.zeros(3, 3, dtype=torch.long), labels, labels, labels, labels)
    logits = torch.arange(54.0).reshape(3, 6, 3).sin()
    logits[:2, :, 2] = -torch.inf  # padding
    queries = torch.randn(3, 6, 4)
    return PointDetections(logits, points, points, queries, queries[:, :3], phrases, torch.tensor([0, 0, 1]))


TARGETS = [torch.tensor([[0.0, 0], [0.1, 0]]), torch.tensor([[0.1, 0], [0.4, 0], [0.5, 0]]), torch.tensor([[0.2, 0]])]
MATCHES = [
    (torch.tensor([0, 1]), torch.tensor([0, 1])),
    (torch.tensor([1, 4, 5]), torch.tensor([0, 1, 2])),
    (torch.tensor([2]), torch.tensor([0])),
]


def test_a_head_that_no_term_trains_is_refused():
    network = ReferringDetector("tiny", pretrained=False, freeze=False, words=("person",), projection=8)
    ReferringModule(network, contrastive=(ContrastiveTerm("dcl", "rec_tokens"),))
    with pytest.raises(InputError, match=r"model\.network\.projection"):
        ReferringModule(network, contrastive=(ContrastiveTerm("dcl", "rec_tokens", weight=0),))


def test_pairs_of_tokens():
    found = detections()
    pairs = token_pairs(found, TARGETS, MATCHES, found.queries, torch.tensor([7, 8, 9]), 512)
    assert pairs.group.tolist() == [0, 0, 1, 1, 1, 2] and pairs.ids.tolist() == [7, 7, 8, 8, 8, 9]
    pos = [row.nonzero()[:, 0].tolist() for row in pairs.pos]
    assert pos == [[1], [0], [10, 11], [7, 11], [7, 10], []]
    neg = [row.nonzero()[:, 0].tolist() for row in pairs.neg]
    own = [2, 3, 4, 5]
    # the object that belongs to both expressions is ignored, as are the other image and another pass
    assert neg[0] == [*own, 10, 11] and neg[2] == [0, 6, 8, 9] and neg[5] == [12, 13, 15, 16, 17]
    few = token_pairs(found, TARGETS, MATCHES, found.queries, torch.arange(3), 4)
    assert few.scores.shape == (4, 18)


def test_pairs_of_logits():
    found = detections()
    pairs = logit_pairs(found, MATCHES, torch.arange(3))
    assert pairs.pos.sum(dim=1).tolist() == [2, 3, 1] and (pairs.neg == ~pairs.pos).all()
    torch.testing.assert_close(pairs.scores[0], found.logits[0, :, :2].amin(dim=1))
    torch.testing.assert_close(pairs.scores[2], found.logits[2].amin(dim=1))


def test_ids_of_texts_are_the_same_everywhere():
    ids = text_ids(["person in red", "person in blue", "person in red"], torch.device("cpu"))
    assert ids[0] == ids[2] != ids[1]
    assert ids[0] == -276407131617488907
