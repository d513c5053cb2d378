"""List, download, verify and publish weights.

    crowdcount weights list "clip_ebc/*"
    crowdcount weights get clip_ebc/rn50_sha rec/swin_t
    crowdcount weights get hmode/vgg16bn_sha_released --from best_model.pth --allow-unverified
    crowdcount weights verify
    crowdcount weights remove "clip_ebc/*"
    crowdcount weights table --write docs/weights.md
    crowdcount weights push RUN/checkpoints/best.ckpt OWNER/NAME --license MIT --data-terms "own images"

Files are kept in $CROWDCOUNT_CACHE, or crowdcount in $XDG_CACHE_HOME or ~/.cache. Proxies are those of the environment;
HF_ENDPOINT replaces huggingface.co. The exit status is 1 where `verify` found damage, 2 where something could not be
done, 130 after Ctrl-C.
"""

import argparse
import json
import logging
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

import crowdcount
from crowdcount.cli.parser import MODEL, add_unverified, make_parser, reports_errors
from crowdcount.errors import InputError
from crowdcount.files import atomic_write
from crowdcount.weights.cache import TOOL, cache_folder, ensure_downloaded, file_path, import_file, remove, state
from crowdcount.weights.hub import HubAddress
from crowdcount.weights.index import Measured, Reported, WeightEntry, find_entry, list_weights, read_index, terms

UNKNOWN = "\N{EN DASH}"
MARKS = "<!-- zoo table -->\n", "<!-- end of the zoo table -->\n"


@reports_errors("weights")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        status: int = args.run(args)
    except KeyboardInterrupt:
        print("crowdcount weights: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return status


def list_command(args: argparse.Namespace) -> int:
    """Print the entries that match; all that is known of them with --json, or if there is only one."""
    index = read_index()
    names = [name for pattern in args.patterns or ["*"] for name in _matching(pattern)]
    entries = [index[name] for name in dict.fromkeys(names)]
    if args.json:
        print(
            json.dumps(
                {entry.name: {**asdict(entry), "cached": file_path(entry).is_file()} for entry in entries}, indent=2
            )
        )
    elif len(entries) == 1:
        print(_described(entries[0]))
    else:
        print("\n".join(_aligned([_HEAD, *(_row(entry) for entry in entries)])))
    return 0


def get_command(args: argparse.Namespace) -> int:
    """Bring entries into the cache and print where they are and what may be done with them."""
    if args.offline:
        os.environ["CROWDCOUNT_OFFLINE"] = "1"
    entries = _chosen(args.names)
    if args.from_ is not None and len(entries) != 1:
        raise InputError(f"--from: {args.from_} is the file of one entry, and {len(entries)} are asked for")
    failed = False
    for entry in entries:
        try:
            if args.from_ is not None:
                path = import_file(entry, args.from_, args.allow_unverified)
            else:
                path = ensure_downloaded(entry, args.allow_unverified)
        except InputError as error:
            failed = True
            print(f"crowdcount weights: {error}", file=sys.stderr)
            continue
        print(f"{entry.name}: {path}\n  {terms(entry)}" + (f"\n  {entry.notes}" if entry.notes else ""))
    return 2 * failed


def verify_command(_args: argparse.Namespace) -> int:
    """Hash every cached file again."""
    own = [entry for entry in read_index().values() if entry.packaged is None]
    entries = [entry for entry in own if file_path(entry).is_file()]
    states = [(entry, state(entry)) for entry in tqdm(entries, unit="file", leave=False)]
    for entry, found in states:
        print(f"{found:12}  {entry.name}")
    wrong = [entry for entry, found in states if found != "right"]
    size = sum(file_path(entry).stat().st_size for entry in entries)
    print(
        f"{len(states) - len(wrong)} of {len(states)} files in {cache_folder()} are right ({size / 1e6:.0f} MB in all)"
    )
    for entry in wrong:
        by_hand, unknown = "" if entry.urls else " --from FILE", "" if entry.sha256 else " --allow-unverified"
        print(f"fetch it again: {TOOL} get {entry.name}{by_hand}{unknown}")
    return int(bool(wrong))


def remove_command(args: argparse.Namespace) -> int:
    """Remove cached files, and what is recorded of them."""
    for entry in _chosen(args.names):
        print(f"{entry.name}: {'removed' if remove(entry) else 'was not in the cache'}")
    return 0


def push_command(args: argparse.Namespace) -> int:
    """Upload a model to the Hugging Face hub, and print how to load it."""
    model = crowdcount.load_model(args.model)
    stated = {"license": args.license, "data_terms": args.data_terms}
    page = model.push_to_hub(
        args.repository,
        commit_message=args.message,
        private=args.private or None,
        branch=args.branch,
        create_pr=args.create_pr,
        half=args.half,
        **{key: value for key, value in stated.items() if value is not None},
    )
    print(page)
    if not args.create_pr:
        print(f"Count with it: crowdcount predict photo.jpg --model {HubAddress(args.repository, args.branch)}")
    return 0


def table_command(args: argparse.Namespace) -> int:
    """Print the table of the zoo, or put it between its marks in a file."""
    if args.write is None:
        print(zoo_table(), end="")
        return 0
    text = args.write.read_text(encoding="utf-8")
    if not all(text.count(mark) == 1 for mark in MARKS):
        raise InputError(f"{args.write}: needs the lines {MARKS[0].strip()} and {MARKS[1].strip()}, once each")
    atomic_write(args.write, with_table(text))
    return 0


def with_table(text: str) -> str:
    """Return a text with the present table between its marks."""
    before, _, rest = text.partition(MARKS[0])
    return before + MARKS[0] + zoo_table() + MARKS[1] + rest.partition(MARKS[1])[2]


def zoo_table() -> str:
    """Return a Markdown table of the models with published weights, one row each."""
    rows = [
        "| model | weights | reported MAE / RMSE | measured MAE / RMSE | size | licence of the code |",
        "|---|---|---|---|---|---|",
    ]
    entries = [entry for entry in read_index().values() if entry.config]
    for model in dict.fromkeys(entry.model for entry in entries):
        own = [entry for entry in entries if entry.model == model]
        tags = " ".join(f"`{entry.tag}`" + _mark(entry) for entry in own)
        columns = (
            f"[`{model}`](../zoo_configs/{model}.yaml)",
            tags,
            "; ".join(f"`{entry.tag}` {_figures(entry.reported)}" for entry in own if entry.reported) or UNKNOWN,
            "; ".join(f"`{entry.tag}` {_figures(entry.measured)}" for entry in own if entry.measured) or UNKNOWN,
            _size(own[0]),
            _licence(own[0]),
        )
        rows.append(f"| {' | '.join(columns)} |")
    return "\n".join(rows) + "\n"


_HEAD = ["name", "size", "SHA-256", "cached", "code", "reported"]


def _row(entry: WeightEntry) -> list[str]:
    known = "known" if entry.sha256 else "unverified"
    return [
        entry.name,
        _size(entry),
        known if entry.urls else "by hand",
        "yes" if file_path(entry).is_file() else "no",
        _licence(entry),
        _figures(entry.reported),
    ]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _described(entry: WeightEntry) -> str:
    facts = {**asdict(entry), "urls": " ".join(entry.urls), "cached": file_path(entry).is_file()}
    facts |= {key: "; ".join(map(_figure, getattr(entry, key))) for key in ("reported", "measured")}
    return "\n".join(f"{key:15} {value if value not in (None, '') else UNKNOWN}" for key, value in facts.items())


def _licence(entry: WeightEntry) -> str:
    return "none stated" if entry.code_license == "NONE" else entry.code_license or UNKNOWN


def _mark(entry: WeightEntry) -> str:
    if entry.packaged is not None:
        return " (in the package)"
    return "" if entry.sha256 else " (unverified)" if entry.urls else " (by hand)"


def _size(entry: WeightEntry) -> str:
    return f"{entry.bytes / 1e6:.0f} MB" if entry.bytes else UNKNOWN


def _figures(figures: Sequence[Reported | Measured]) -> str:
    return "; ".join(map(_figure, figures)) or UNKNOWN


def _figure(figure: Reported | Measured) -> str:
    mae, rmse = (UNKNOWN if value is None else f"{value:.1f}" for value in (figure.mae, figure.rmse))
    return f"{figure.data} {mae} / {rmse}"


def _matching(pattern: str) -> list[str]:
    names = list_weights(pattern) or [name for name in list_weights() if name.startswith(f"{pattern}.")]
    return names or [find_entry(pattern).name]


def _chosen(names: Sequence[str]) -> list[WeightEntry]:
    """Return the entries that names mean; a model's name without a tag means its first one."""
    entries = []
    for name in names:
        pattern = re.search(r"[*?[]", name)
        found = list_weights(name) if pattern else [find_entry(name).name]
        if not found:
            raise InputError(f"{name}: the index has no weights of such a name; `list` shows what there is")
        entries += found
    return [find_entry(name) for name in dict.fromkeys(entries)]


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__, "weights")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    add = commands.add_parser("list", help="list the weights, or all that is known of one")
    add.add_argument("patterns", nargs="*", metavar="PATTERN", help='such as "clip_ebc/*"; by default everything')
    add.add_argument("--json", action="store_true", help="print all that is known, as JSON")
    add.set_defaults(run=list_command)

    get = commands.add_parser("get", help="download weights into the cache")
    get.add_argument("names", nargs="+", metavar="NAME", help="NAME.TAG, NAME for its first tag, or a pattern")
    get.add_argument("--from", dest="from_", type=Path, metavar="FILE", help="take a file downloaded by hand")
    add_unverified(get)
    get.add_argument("--offline", action="store_true", help="download nothing")
    get.set_defaults(run=get_command)

    check = commands.add_parser("verify", help="hash the cached files again and report damage")
    check.set_defaults(run=verify_command)

    out = commands.add_parser("remove", help="remove cached files")
    out.add_argument("names", nargs="+", metavar="NAME", help="as with get")
    out.set_defaults(run=remove_command)

    push = commands.add_parser("push", help="upload a model to the Hugging Face hub, with a model card")
    push.add_argument("model", metavar="MODEL", help=MODEL)
    push.add_argument("repository", metavar="OWNER/NAME", help="repository; created if missing")
    push.add_argument("--license", metavar="SPDX", help="licence of the weights, such as MIT or CC-BY-NC-4.0")
    push.add_argument("--data-terms", metavar="TEXT", help="terms of the data they were trained on")
    push.add_argument("--private", action="store_true", help="make a new repository private; refuse a public one")
    push.add_argument("--branch", metavar="NAME", help="branch, created if missing (default: the main one)")
    push.add_argument("--create-pr", action="store_true", help="propose the commit as a pull request")
    push.add_argument("--message", default="Add a model of crowdcount", metavar="TEXT", help="message of the commit")
    push.add_argument("--half", action="store_true", help="store the weights as float16: half the size, rounded")
    push.set_defaults(run=push_command)

    table = commands.add_parser("table", help="print the table of docs/weights.md")
    table.add_argument("--write", type=Path, metavar="FILE", help="replace it in this file, between its marks")
    table.set_defaults(run=table_command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
