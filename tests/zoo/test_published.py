"""Checkpoints under the names and shapes of the published files: from the index to the recorded outputs.

The numbers in them follow from a formula (golden/fill.py), as in the recorded runs of the published networks.
"""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

import crowdcount
from crowdcount.cli import weights as tool
from crowdcount.inference.release import save_release
from crowdcount.models.rec import network as rec_network
from crowdcount.models.rec.outputs import Phrases
from crowdcount.weights.download import file_sha256
from tests.golden.fill import det_image, det_tensor, make_image
from tests.support.hmode_checkpoint import published_weights
from tests.support.rec_checkpoint import as_released, original_keys

ROOT = Path(__file__).resolve().parents[2]


def same(actual, expected, tolerance=1e-5):
    torch.testing.assert_close(actual, torch.from_numpy(np.asarray(expected)), atol=tolerance, rtol=0)


def released(model, folder):
    """Write the model as a release and read it back from the file alone."""
    return crowdcount.load_model(save_release(model, folder, "a model"))


@pytest.mark.parametrize(
    ("case", "name", "tag"),
    [("clip_resnet50", "clip_ebc/rn50_sha", "v1"), ("clip_vit_b_16", "clip_ebc/vit_b16_sha", "authors")],
)
def test_clip_ebc(shared, tmp_path, local_index, case, name, tag):
    golden = np.load(shared / "golden" / f"clip_ebc_full_{case}.npz")
    recorded = json.loads((shared / "golden" / f"clip_ebc_full_{case}_state.json").read_text())
    file = tmp_path / "best_mae.pth"
    torch.save(
        {key: torch.from_numpy(np.asarray(det_tensor(key, shape))) for key, shape in recorded["keys"].items()}, file
    )
    if tag == "authors":  # released as an archive
        with tarfile.open(tmp_path / "release.tgz", "w") as archive:
            archive.add(file, "best_mae.pth")
        file = tmp_path / "release.tgz"
    local_index({f"{name}.{tag}": {"sha256": file_sha256(file), "bytes": None}})
    assert tool.main(["get", f"{name}.{tag}", "--from", str(file)]) == 0
    network = crowdcount.create_model(name, weights=tag).to(memory_format=torch.channels_last)
    parameters = list(network.parameters())
    assert sum(p.numel() for p in parameters) == recorded["n_params"]
    assert sum(p.numel() for p in parameters if p.requires_grad) == recorded["n_trainable"]
    assert np.array_equal(network.tokens, golden["tokens"])
    same(network.text_features, golden["text_features"] / np.linalg.norm(golden["text_features"], axis=1)[:, None])
    again = released(crowdcount.load_model(name), tmp_path / "release").network
    for part in ("224", "rect"):
        image = torch.from_numpy(det_image(tuple(golden[f"{part}/shape"]), int(golden[f"{part}/x_seed"])))
        with torch.inference_mode():
            output = network(image)
            assert torch.equal(again(image).logits, output.logits)
        same(output.logits, golden[f"{part}/logits"])
        same(output.density, golden[f"{part}/density"])


def test_hmode(golden, tmp_path, local_index):
    recorded = np.load(golden / "hmode_eval.npz")
    name = "hmode/vgg16bn_sha_released"
    torch.save({"model": published_weights(), "best_mae": np.float64(54.0)}, tmp_path / "best_model.pth")
    local_index({f"{name}.authors": {}})
    assert tool.main(["get", name, "--from", str(tmp_path / "best_model.pth"), "--allow-unverified"]) == 0
    network = crowdcount.create_model(name, weights="authors").to(memory_format=torch.channels_last)
    again = released(crowdcount.load_model(name), tmp_path / "release").network
    image = torch.from_numpy(make_image("eval", *(json.loads(str(recorded["recipe"]))["shape"][i] for i in (0, 2, 3))))
    with torch.inference_mode():
        density = network(image.float()).density
        assert torch.equal(again(image.float()).density, density)
    count = torch.from_numpy(recorded["count/Eout"])
    torch.testing.assert_close(density.sum(dim=(1, 2, 3)), count.to(density.dtype), atol=0, rtol=1e-5)


def test_referring_detector(shared, tmp_path, local_index, monkeypatch):
    from transformers import GroundingDinoConfig, GroundingDinoForObjectDetection

    recorded = np.load(shared / "golden" / "rec_model_tiny.npz")
    config = GroundingDinoConfig(**json.loads(str(recorded["config"])))
    monkeypatch.setattr(rec_network, "_build", lambda _name, _words: GroundingDinoForObjectDetection(config))
    hub = {key[3:]: torch.from_numpy(recorded[key]) for key in recorded.files if key.startswith("w::")}
    file = tmp_path / "rec_model.pth"
    torch.save(as_released(hub, original_keys([1, 1, 2, 1], 2, 2, 2)), file)
    name = "rec/grounding_rec_swint_rec8k"
    local_index({f"{name}.authors": {"sha256": file_sha256(file)}})
    assert tool.main(["get", name, "--from", str(file)]) == 0
    network = crowdcount.create_model(name, weights="authors")
    again = released(crowdcount.load_model(name), tmp_path / "release").network
    image = torch.from_numpy(recorded["pixel_values"])
    inside = torch.ones(1, *image.shape[-2:], dtype=torch.bool)
    for i in range(2):
        ids = torch.from_numpy(recorded[f"c{i}_ids"])
        tokens = ids > 0
        phrases = Phrases(ids, tokens, tokens, tokens, tokens)
        with torch.inference_mode():
            found, other = (
                each(image, inside, phrases, torch.zeros(1, dtype=torch.int64)) for each in (network, again)
            )
        same(torch.cat([found.points, found.sizes], dim=-1), recorded[f"c{i}_boxes"])
        same(found.logits, recorded[f"c{i}_logits"][..., : ids.shape[1]], 1e-4)
        assert torch.equal(other.logits, found.logits)
