"""Model cards in the form of the Hugging Face hub: https://huggingface.co/docs/hub/model-cards."""

import json
from collections.abc import Sequence
from typing import Any, Final

import yaml

from crowdcount.inference.model import CrowdModel
from crowdcount.inference.preprocessing import preprocessing
from crowdcount.intervals.calibration import Calibration

_NO_INTERVALS: Final = (
    "None: these weights were not calibrated. `crowdcount calibrate` makes intervals for images like yours."
)


def model_card(model: CrowdModel, name: str, address: str, intervals: bool = True) -> str:
    """Return a model card: a YAML header, then usage, figures, intervals, preprocessing and terms.

    Args:
        model: the model.
        name: its name.
        address: what `crowdcount.load_model` is given in the example.
        intervals: whether its intervals go with it.
    """
    origin = model.origin
    sections = {
        **({"Adapted": _adapted(origin["adapted"])} if "adapted" in origin else {}),
        "Figures": _figures(origin),
        "Intervals": _intervals(model) if intervals else _NO_INTERVALS,
        "Preprocessing": f"```json\n{json.dumps(preprocessing(model), indent=2)}\n```",
        "Terms": _terms(origin),
        "Where they come from": f"```json\n{json.dumps(origin, indent=2)}\n```",
    }
    text = [f"# {name}", _purpose(model), _usage(model, address)]
    text += [f"## {title}\n\n{part}" for title, part in sections.items()]
    return f"---\n{yaml.safe_dump(_head(origin, name), sort_keys=False)}---\n\n" + "\n\n".join(text) + "\n"


def _head(origin: dict[str, Any], name: str) -> dict[str, Any]:
    # the hub reads this as the licence of the weights, not of the code
    licence = origin.get("weights_license")
    stated = {"license": licence.lower()} if licence else {"license": "other", "license_name": "see-terms-below"}
    results = [_result(each) for each in origin.get("measured", ())]  # the hub shows them as results of this very model
    index = {"model-index": [{"name": name, "results": results}]} if results else {}
    return {"library_name": "crowdcount", **stated, "tags": ["crowd-counting", "pytorch"], **index}


def _result(measured: dict[str, Any]) -> dict[str, Any]:
    data, _, split = measured["data"].partition("/")
    return {
        "task": {"type": "crowd-counting"},
        "dataset": {"type": data, "name": measured["data"], **({"split": split} if split else {})},
        "metrics": [{"type": key, "value": measured[key]} for key in ("mae", "rmse")],
    }


def _purpose(model: CrowdModel) -> str:
    arguments = _network(model).get("init_args", {})
    backbone = arguments.get("backbone") or arguments.get("detector")
    base = f" on `{backbone}`" if backbone else ""
    outside = _outside_package(model)
    beside = f" and with `{outside}`, which has the network" if outside else ""
    return (
        f"Counts {model.subject} in images; the network is `{_class_path(model)}`{base}. It runs with the Python "
        "package `crowdcount` of the distribution `crowdcount-zoo` (`crowdcount` on PyPI is another project)"
        f"{beside}:"
    )


def _network(model: CrowdModel) -> dict[str, Any]:
    """Return class path and arguments of the network, as far as the model was built from a configuration."""
    network: dict[str, Any] = model.config.get("model", {}).get("init_args", {}).get("network", {})
    return network


def _class_path(model: CrowdModel) -> str:
    own = type(model.network)
    return str(_network(model).get("class_path", f"{own.__module__}.{own.__name__}"))


def _outside_package(model: CrowdModel) -> str | None:
    """Return the package, not ours, that has to be imported before the model can be loaded."""
    package = _class_path(model).split(".")[0]
    return None if package == "crowdcount" else package


def _usage(model: CrowdModel, address: str) -> str:
    outside = _outside_package(model)
    imports = "import crowdcount\n" + (f"import {outside}\n" if outside else "")
    return (
        f"```python\n{imports}from crowdcount.data import read_image\n\n"
        f'model = crowdcount.load_model("{address}")\nmodel.{model.example}\n```'
    )


def _adapted(about: dict[str, Any]) -> str:
    """Return what a model was adapted from, and the errors of all levels on how many frames."""
    text = (
        f"From `{about['from']}` to {about['frames']} frames with {about['labels']} of `{about['data']}`, by "
        f"`crowdcount adapt`: level `{about['level']}` ({about['changed']}). Errors of the counts of those frames, "
        f"held out in {about['parts']} parts: each was counted by a model that learned from the other parts."
    )
    if "protocol" in about:
        text += f" Images were counted so: {about['protocol']}."
    rows = [f"| {level} | {each['mae']:.2f} | {each['bias']:+.2f} |" for level, each in about["held_out"].items()]
    return "\n".join([text, "", "| level | MAE | mean of predicted - true |", "|---|--:|--:|", *rows])


def _figures(origin: dict[str, Any]) -> str:
    """Return the figures; those of publications are of weights like these, the measured ones of these very weights."""
    reported = [(each, each["source"]) for each in origin.get("reported", ())]
    measured = [(each, f"`{each['command']}`") for each in origin.get("measured", ())]
    parts = [
        _table("Reported by a publication, not measured here:", "source", reported),
        _table("Measured with these weights:", "command", measured),
        *(f"Its training validated {name} as {value:.2f}." for name, value in origin.get("validation", {}).items()),
    ]
    return "\n\n".join(filter(None, parts)) or "None are known."


def _table(title: str, source: str, rows: Sequence[tuple[dict[str, Any], str]]) -> str:
    lines = [f"| {each['data']} | {_shown(each['mae'])} | {_shown(each['rmse'])} | {where} |" for each, where in rows]
    return "\n".join([title, "", f"| data | MAE | RMSE | {source} |", "|---|---|---|---|", *lines]) if lines else ""


def _intervals(model: CrowdModel) -> str:
    found = model.intervals
    if found is None:
        return _NO_INTERVALS
    parts: dict[str, Calibration | None] = {"an image": found.image, "zones": found.zones, "a window": found.window}
    known = ", ".join(f"of {part} from {each.images} images" for part, each in parts.items() if each is not None)
    guessed = any(each.approximate for each in parts.values() if each is not None)
    kind = "approximate" if guessed else "calibrated"
    return (
        f"`model.intervals.json` holds {kind} intervals of the counts {known}, of {found.data} ({found.about}). They "
        "hold for images of that kind alone, with the size rule of this model."
        + (" Their level is approximate: the same images chose the model." if guessed else "")
    )


def _terms(origin: dict[str, Any]) -> str:
    """Return licences and data terms; what is not known is said to be, as those who publish weights must state it."""
    code = origin.get("code_license")
    lines = [
        *([f"Licence of the authors' code: {_shown(code)}"] if "code_license" in origin else []),
        f"Licence of the weights: {_shown(origin.get('weights_license'))}",
        *([f"Trained on `{origin['trained_on']}`"] if origin.get("trained_on") else []),
        f"Terms of the data they were trained on: {_shown(origin.get('data_terms'))}",
        *([origin["notes"]] if origin.get("notes") else []),
    ]
    text = "\n".join(f"- {line}" for line in lines)
    if origin.get("weights_license"):
        return text
    return f"{text}\n\nBefore you publish these weights, state their licence and the terms of the data."


def _shown(value: object) -> str:
    if isinstance(value, float):
        return str(round(value, 2))
    return "not known" if value is None else "none is stated" if value == "NONE" else str(value)
