"""Pages of the site that are made of files outside of docs, and links to these files.

A family of the zoo is a page: its configurations with what their heads say, and a model card for each file of weights
in the index.
"""

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
ZOO = ROOT / "zoo_configs"
OUTSIDE = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}
PLACES = {
    **OUTSIDE,
    "README.md": "index.md",
    "weights_index.json": "weights.md",
    "zoo_configs/quickstart.yaml": "quick_start.md",
}
TITLES = {
    "clip_ebc": "CLIP-EBC",
    "ebc": "EBC",
    "hmode": "HMoDE",
    "image_text": "Image-text models",
    "rec": "Referring expressions",
    "zip": "ZIP",
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give pages that the menu in mkdocs.yml does not list a place at its end."""
    listed = set(re.findall(r"[\w/]+\.md", json.dumps(config.nav)))
    more = sorted(path.name for path in Path(config.docs_dir).glob("*.md") if path.name not in listed)
    if more and config.nav is not None:
        config.nav.append({"More": more})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for source, target in OUTSIDE.items():
        files.append(File.generated(config, target, content=_from_root((ROOT / source).read_text(encoding="utf-8"))))
    for folder in sorted(path for path in ZOO.iterdir() if path.is_dir()):
        files.append(File.generated(config, f"families/{folder.name}.md", content=family_page(folder.name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to files outside of docs lead to the pages made of them."""
    up = "../" * page.file.src_uri.count("/")
    return re.sub(r"\]\(\.\./([^)\s#]+)", lambda match: f"]({up}{_place(match[1])}", markdown)


def family_page(family: str) -> str:
    """Return the page of a family as Markdown."""
    entries = json.loads((ROOT / "weights_index.json").read_text(encoding="utf-8"))["weights"]
    parts = [
        f"# {TITLES.get(family, family)}",
        f"::: crowdcount.models.{family}.network",
    ]
    for path in sorted((ZOO / family).glob("*.yaml")):
        name = f"{family}/{path.stem}"
        weights = {key: each for key, each in entries.items() if key.rpartition(".")[0] == name}
        parts += [f"## {path.stem}", *_config(path), *(_card(key, each) for key, each in weights.items())]
    return "\n\n".join(parts) + "\n"


def _config(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    head = re.match(r"((?:#.*\n)*)", text)
    assert head is not None
    words = "\n".join(line.removeprefix("#").removeprefix(" ") for line in head[1].splitlines())
    code = "\n".join(f"    {line}" for line in text[head.end() :].splitlines())
    return [f"```text\n{words}\n```", f'??? note "{path.name}"\n\n    ```yaml\n{code}\n    ```']


def _card(name: str, entry: dict[str, Any]) -> str:
    """Return a model card: what the index knows of a file of weights."""
    facts = {
        "page": f"<{entry['page']}>" if entry["page"] else None,
        "SHA-256": f"`{entry['sha256']}`" if entry["sha256"] else None,
        "licence of the code": entry["code_license"],
        "licence of the weights": entry["weights_license"],
        "terms of the training data": entry["data_terms"],
        "paper": entry["paper"],
        "notes": entry["notes"],
    }
    figures = [_figure(kind, each) for kind in ("reported", "measured") for each in entry[kind]]
    head = ["| | data | MAE | RMSE | source |", "|---|---|---|---|---|"]
    table = "\n".join([*head, *figures]) if figures else "No figures are known."
    lines = "\n".join(f"- {key}: {_shown(value)}" for key, value in facts.items())
    return f"### {name}\n\n{table}\n\n{lines}"


def _figure(kind: str, figure: dict[str, Any]) -> str:
    source = figure["source"] if kind == "reported" else f"`{figure['command']}`"
    return f"| {kind} | {figure['data']} | {_shown(figure['mae'])} | {_shown(figure['rmse'])} | {source} |"


def _shown(value: object) -> str:
    if isinstance(value, float):
        return str(round(value, 2))
    return "not known" if value is None else "none is stated" if value == "NONE" else str(value)


def _place(path: str) -> str:
    """Return the page for a file or folder outside of docs."""
    match = re.fullmatch(r"zoo_configs/(\w+)(?:/(\w+)\.yaml)?", path)
    if match and path not in PLACES:
        return f"families/{match[1]}.md" + (f"#{match[2]}" if match[2] else "")
    return PLACES.get(path, f"../{path}")  # a link that leads nowhere ends a strict build


def _from_root(markdown: str) -> str:
    """Return a page of the repository's root with its links as from docs."""
    markdown = re.sub(r"\]\(docs/", "](", markdown)
    return re.sub(r"\]\(((?:zoo_configs|[A-Z]+\.md)[^)\s#]*)", r"](../\1", markdown)
