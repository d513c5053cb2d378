"""Write docs/losses.md from the docstrings of the losses and the measurements in docs/losses.json.

    python -m benchmarks.loss_page
    python -m benchmarks.loss_page --cost cost.json --runs runs/contrastive

The second form first takes over the rows of `crowdcount benchmark contrastive --json` and the runs of the benchmark
`contrastive_table`.
"""

import inspect
import json
import re
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.contrastive_table import BASELINE, COMPARED, METRICS, PLACES, differences, read_runs, summary
from crowdcount.cli.parser import make_parser, reports_errors
from crowdcount.files import atomic_write
from crowdcount.losses.contrastive import softmax
from crowdcount.losses.contrastive.recipes import RECIPES, Recipe
from crowdcount.losses.contrastive.term import ContrastiveTerm

DOCS: Final = Path(__file__).parents[1] / "docs"
PAGE, MEASURED = DOCS / "losses.md", DOCS / "losses.json"

Measured = dict[str, list[dict[str, Any]]]

INTRODUCTION: Final = """\
# Contrastive and counting losses

Beside the loss of its family, a model may be trained with any number of further terms, one line each:

```yaml
model:
  class_path: crowdcount.training.BlockwiseModule
  init_args:
    contrastive:
      - {loss: supcon, at: count_bins, ordinal: weight, weight: 0.1}
```

They are functions of scores and masks (`crowdcount.losses.contrastive`). What is random or has a state, such as
mining, mixtures, temperatures and clusters, makes scores, masks or temperatures for them. Draws come from torch's
random stream and states are in the checkpoint, so that a resumed training is the uninterrupted one. A loss with a
state is refused in several processes; the others contrast the images of each process with themselves.

**What nobody has shown.** C-REX, whose contrast is reconstructed here (`supcon_in`), was evaluated on referring
expression counting, the counting losses on counts up to ten or on generated images, not on crowds. The authors of the
others evaluated none of them on counting. Whatever is called ours below is in no paper. The tables at the end are of
tiny models on generated scenes, with no setting tuned for any loss: they show what a loss imposes, not what it is
worth on real images.

This page is written by `python -m benchmarks.loss_page` from the docstrings and from `docs/losses.json`.
"""

METRIC_WORDS: Final = """\
`mae`: count error on the test scenes. `label_order`: rank correlation of the similarity of bins with the nearness of
their counts, over ten pairs of bins, so that it moves in steps. `auc`: scores of all expressions pooled, objects
against other queries; `sibling_auc`: objects of an expression against those of the image's other expressions.
`alignment` is the lower, the more alike the embeddings of a class are, `uniformity` the more they spread. Mean and
standard deviation over seeds. `trainer.callbacks: [crowdcount.training.EmbeddingMetrics]` logs all but the first in
trainings of these modules.
"""

TABLE_WORDS: Final = {
    "blocks": "Count bins: `resnet18` up to its second stage, blocks of 16 pixels, on generated crowds.",
    "rec": "Referring expressions: the detector `tiny` of `zoo_configs/rec/tiny_scenes.yaml`, on generated scenes.",
}


@reports_errors("benchmark")
def main(argv: Sequence[str] | None = None) -> int:
    """Write the page and return the exit status."""
    parser = make_parser(__doc__, "benchmark")
    parser.add_argument("--cost", type=Path, metavar="FILE", help="rows of the benchmark to take over")
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="runs of the tables to take over")
    arguments = parser.parse_args(argv)
    measured = read_measured()
    if arguments.cost:
        measured["cost"] = json.loads(arguments.cost.read_text())
    for at in PLACES if arguments.runs else ():
        measured[at] = read_runs(arguments.runs, at)
    lines = ",\n".join(
        f'"{key}": [\n' + ",\n".join(json.dumps(row) for row in rows) + "\n]" for key, rows in measured.items()
    )
    atomic_write(MEASURED, "{\n" + lines + "\n}\n")
    atomic_write(PAGE, page(measured))
    return 0


def read_measured() -> Measured:
    """Return the measurements, empty tables where there are none yet."""
    found: Measured = json.loads(MEASURED.read_text()) if MEASURED.is_file() else {}
    return {key: found.get(key, []) for key in ("cost", *PLACES)}


def page(measured: Measured) -> str:
    """Return the text of the page."""
    cost = {row["loss"]: row for row in measured["cost"]}
    parts = [INTRODUCTION, "## The line\n", described(ContrastiveTerm, arguments=True), "## The softmax contrast\n"]
    parts += [code(inspect.getdoc(softmax) or ""), described(softmax.contrast), "## Losses with a place\n"]
    parts += [overview(cost)]
    parts += [section(name, recipe) for name, recipe in RECIPES.items() if recipe.places]
    parts += ["## Functions without a place\n"]
    parts += [section(name, recipe) for name, recipe in RECIPES.items() if not recipe.places]
    parts += ["## What they did here\n", METRIC_WORDS]
    parts += [results(at, measured[at]) for at in PLACES]
    return "\n".join(parts)


def section(name: str, recipe: Recipe) -> str:
    """Return what a loss is."""
    texts = [described(each) for each in recipe.functions if each is not softmax.contrast]
    if softmax.contrast in recipe.functions:
        texts.insert(0, "`contrast`, see above.\n")
    note = f"{recipe.note}\n" if recipe.note else ""
    return "\n".join([f"### {recipe.title}: `{name}`\n", *texts, note]).rstrip("\n") + "\n"


def described(member: Callable[..., Any], *, arguments: bool = False) -> str:
    """Return the name of a function or class and its docstring, up to its arguments or with them."""
    text = inspect.getdoc(member) or ""
    text = re.split(r"\n\n?(?:Raises|Returns|Attributes):\n", text)[0]
    body, _, listed = text.partition("\nArgs:\n")
    result = f"**`{member.__name__}`** {body.strip()}\n"
    if arguments:
        result += "\n" + re.sub(r"(?m)^    (\w+): ", r"- `\1`: ", listed).replace("\n        ", "\n  ") + "\n"
    return result


def code(text: str) -> str:
    """Return text with its indented lines, formulas, as a block."""
    return re.sub(r"\n\n((?:    .*\n?|\n)+)", lambda match: f"\n\n```text\n{match[1].rstrip()}\n```", text) + "\n"


def overview(cost: dict[str, dict[str, Any]]) -> str:
    """Return the table of lines and their costs."""
    sizes = sorted({(row["anchors"], row["references"]) for row in cost.values()}, reverse=True)
    where = f"{sizes[0][0]} anchors and {sizes[0][1]} references" if sizes else "no size yet"
    rows = [
        f"Milliseconds of processor time and mebibytes above the inputs, forward and backward, one thread, {where} of "
        "256 numbers (`crowdcount benchmark contrastive`); `sbcl` with its anchors as references.\n",
        "| loss | options | at | ms | MiB |",
        "|---|---|---|--:|--:|",
    ]
    for name, recipe in RECIPES.items():
        if recipe.places:
            options = ", ".join(f"{key}: {value}" for key, value in (recipe.options or {}).items())
            found = cost.get(name)
            numbers = f"{found['ms']:.0f} | {found['peak MiB']:.0f}" if found else "- | -"
            rows.append(f"| {name} | `{options}` | {', '.join(recipe.places)} | {numbers} |")
    return "\n".join(rows) + "\n"


def results(at: str, runs: list[dict[str, Any]]) -> str:
    """Return the table of the runs at a place."""
    text = [f"**{TABLE_WORDS[at]}** `crowdcount benchmark contrastive_table --at {at}`"]
    if not runs:
        return text[0] + " has not been run.\n"
    seeds = sorted({run["seed"] for run in runs})
    run = runs[0]
    text[0] += (
        f": {run['warm steps']} steps without a contrast, the same for all losses of a seed, then {run['steps']} with "
        f"each loss at weight {run['weight']:g}; seeds {', '.join(map(str, seeds))}.\n"
    )
    columns = ("loss", "seeds", *METRICS[at], *(f"MAE below {title}" for title in COMPARED))
    text += ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    text += ["| " + " | ".join(str(row[name]) for name in columns) + " |" for row in summary(at, runs)]
    return "\n".join([*text, "", verdict(at, runs)])


def verdict(at: str, runs: list[dict[str, Any]]) -> str:
    """Return which losses moved a metric in the same direction for every seed, and how many would by chance."""
    lines = sorted({run["loss"] for run in runs} - {BASELINE})
    seeds = min((len(differences(runs, "mae", line, BASELINE)) for line in lines), default=0)
    if seeds < 3:
        return "With fewer than three seeds nothing follows.\n"
    chance = len(lines) / 2**seeds
    parts = [
        f"Against none, for every seed, with mean changes in brackets. Of {len(lines)} losses without any effect, each "
        f"list would hold {chance:.1f} on average, or fewer where values are equal; as all are compared with the same "
        "runs of none, chance moves many of them together.\n"
    ]
    for metric in [name for name in METRICS[at] if name not in ("alignment", "uniformity")]:
        changes = {line: differences(runs, metric, line, BASELINE) for line in lines}
        parts += [f"- `{metric}` lower: {_named(changes, -1)}; higher: {_named(changes, 1)}."]
    return "\n".join(parts) + "\n"


def _named(changes: dict[str, list[float]], sign: int) -> str:
    moved = [line for line, found in changes.items() if all(sign * change > 0 for change in found)]
    return ", ".join(f"{line} ({statistics.mean(changes[line]):+.3f})" for line in moved) or "no loss"


if __name__ == "__main__":
    sys.exit(main())
