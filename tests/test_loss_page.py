"""docs/losses.md is what its generator writes, and says something about every loss."""

import inspect
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import __main__ as benchmark
from benchmarks import contrastive, contrastive_table, loss_page
from crowdcount.data import ReferringScenes, Synthetic
from crowdcount.data.augment import Augment
from crowdcount.data.datamodule import CrowdData
from crowdcount.losses import contrastive as package
from crowdcount.losses import count
from crowdcount.losses.contrastive.recipes import RECIPES
from crowdcount.losses.contrastive.term import FORMS, PLACES

ROOT = Path(__file__).resolve().parents[1]


def test_the_page_is_up_to_date():
    written = loss_page.page(loss_page.read_measured())
    assert (ROOT / "docs/losses.md").read_text() == written, "run python -m benchmarks.loss_page"


def test_every_loss_is_on_the_page():
    text = loss_page.page({"cost": [], "blocks": [], "rec": []})
    assert {recipe.options["loss"] for recipe in RECIPES.values() if recipe.options} == set(PLACES) >= set(FORMS)
    for name in RECIPES:
        assert f": `{name}`\n" in text
    losses = set(package.__all__) - {"Pairs", "Mixtures", "IdSlots", "class_pairs", "draw_per_class", "ContrastiveLoss"}
    losses -= {"SupCon", "supcon_floor", "cosines", "euclidean", "mixture", "auc", "mean_gap", "tolerance"}
    losses -= {"distance_shares", "cosine_kmeans"}  # parts of those that are named
    for name in losses:
        assert f"**`{name}`**" in text, name
    for name, member in inspect.getmembers(count, inspect.isfunction):
        assert member.__module__ != count.__name__ or f"**`{name}`**" in text, name


def test_docstrings_with_formulas_and_arguments():
    text = loss_page.page({"cost": [], "blocks": [], "rec": []})
    assert "```text\n    mean of the logs:" in text
    assert "- `hard_fraction`: share of each anchor's negatives" in text
    assert not re.search(r"(?m)^(Args|Raises|Attributes):", text)


RUNS = [
    {"loss": "count_bins:supcon", "seed": 0, "mae": 2.0},
    {"loss": "count_bins:supcon", "seed": 1, "mae": 4.0},
    {"loss": "none", "seed": 0, "mae": 3.0},
    {"loss": "count_bins:dcl", "seed": 0, "mae": 1.0},
    {"loss": "count_bins:dcl", "seed": 1, "mae": 5.0},
]


def test_rows_have_mean_and_spread():
    rest = dict.fromkeys(("label_order", "alignment", "uniformity"), 0.5)
    rows = contrastive_table.summary("blocks", [run | rest for run in RUNS])
    assert [row["loss"] for row in rows] == ["none", "count_bins:supcon", "count_bins:dcl"]
    assert [row["mae"] for row in rows] == ["3.000", "3.000 +- 1.414", "3.000 +- 2.828"]
    assert [row["MAE below SupCon's"] for row in rows] == ["0 of 1", "0 of 2", "1 of 2"]
    assert [row["MAE below none's"] for row in rows] == ["0 of 1", "1 of 1", "1 of 1"]
    assert loss_page.verdict("blocks", RUNS) == "With fewer than three seeds nothing follows.\n"


def test_what_every_seed_shows_is_listed():
    runs = [{"loss": "none", "seed": seed, "mae": 3.0, "label_order": 0.5} for seed in range(3)]
    for name, errors in (("better", (1, 2, 2.5)), ("mixed", (1, 2, 4)), ("equal", (3, 3, 3))):
        runs += [{"loss": name, "seed": seed, "mae": mae, "label_order": 0.6} for seed, mae in enumerate(errors)]
    text = loss_page.verdict("blocks", runs)
    assert "Of 3 losses without any effect, each list would hold 0.4 on average" in text
    assert "- `mae` lower: better (-1.167); higher: no loss." in text
    assert "`label_order` lower: no loss; higher: better (+0.100), equal (+0.100), mixed (+0.100)." in text


def test_a_loss_is_measured():
    row = contrastive.measured("supremix", (20, 50, 8), 1, 1)
    assert row["ms"] > 0 and row["loss"] == "supremix" and row["references"] == 50
    assert contrastive.measured("sbcl", (20, 50, 8), 1, 1)["references"] == 20
    assert set(contrastive.named()) == {name for name, recipe in RECIPES.items() if recipe.places}


def test_every_line_of_the_tables_is_a_term():
    for at, places in contrastive_table.PLACES.items():
        lines = contrastive_table.all_lines(at)
        assert lines[0] == "none" and len(lines) == len(set(lines)) > 10
        for line in lines[1:]:
            term = contrastive_table.term_of(line, 0.2)
            assert term.at in places and term.weight == 0.2


SMALL = {
    "blocks": lambda seed: CrowdData(
        Synthetic(train=8, val=0, test=2), Augment(crop=64), val_fraction=0, seed=seed, num_workers=0
    ),
    "rec": lambda seed: CrowdData(
        ReferringScenes(train=4, val=0, test=2), None, batch_size=2, val_fraction=0, seed=seed, num_workers=0
    ),
}


@pytest.mark.parametrize(("at", "line"), [("blocks", "count_bins:sbcl"), ("rec", "rec_logits:mw")])
def test_a_table_is_trained_once(at, line, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(contrastive_table, "STEPS", {at: (1, 2)})
    monkeypatch.setattr(contrastive_table, "data_of", lambda at, seed: SMALL[at](seed))
    words = ["contrastive_table", "--at", at, "--seeds", "1", "--loss", "none", "--loss", line, "--runs", str(tmp_path)]
    assert benchmark.main(words) == 0
    first = capsys.readouterr().out
    assert line in first and "none" in first
    runs = contrastive_table.read_runs(tmp_path, at)
    assert [run["steps"] for run in runs] == [2, 2] and all(run["mae"] >= 0 for run in runs)
    monkeypatch.setattr(contrastive_table, "fitted", None)  # would fail
    assert benchmark.main(words) == 0 and capsys.readouterr().out == first
    text = loss_page.results(at, runs)
    assert "seeds 0." in text and f"| {line} | 1 |" in text


def test_a_folder_without_runs_is_named(tmp_path, capsys):
    assert benchmark.main(["contrastive_table", "--show", "--runs", str(tmp_path)]) == 2
    assert f"{tmp_path}: no runs at blocks" in capsys.readouterr().err
