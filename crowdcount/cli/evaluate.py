"""Measure a model on a data set: errors of counts and points, a table of the images, a report, submission files.

    crowdcount evaluate RUN/checkpoints/best.ckpt --data RUN/config.yaml --output results
    crowdcount evaluate ebc/vgg19ae_sha --weights best.ckpt --data CONFIG --data.source.root ~/ShanghaiTech
    crowdcount evaluate clip_ebc/rn50_sha.v1 --data zoo_configs/clip_ebc/rn50_sha.yaml --update-index
    crowdcount evaluate RUN/checkpoints/best.ckpt --data nwpu.yaml --submission counts.txt
    crowdcount evaluate image_text/vit_b32 --weights pretrained --data countbench.yaml
    torchrun --nproc_per_node 2 -m crowdcount evaluate RUN/checkpoints/best.ckpt --data RUN/config.yaml

CONFIG is a YAML file with a section `data:`, as for `crowdcount train`; --data.KEY VALUE overrides its keys. Only its
data set is used, and for --split val its rule of what is held out: size rule, windows and everything else that decides
about a count belong to the model, except what --ignore, --image-scale and --long-side say; people under the mask of
--ignore are left out of the true counts. A model of the family image_text (--weights pretrained: as open_clip published
it) is measured on images with captions, such as CountBench: it chooses among nine captions that differ in the number.
Images that are missing are named and left out. The figures are those that `crowdcount train test` logs, and with the
same OMP_NUM_THREADS (which torchrun sets to 1) bit for bit the same for any number of processes.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

import crowdcount
from crowdcount.cli.data_section import parse_words, read_data, split_records
from crowdcount.cli.interval_options import other_protocol
from crowdcount.cli.parser import MODEL, add_camera, add_device, add_weights, make_parser, reports_errors
from crowdcount.cli.predictors import for_camera
from crowdcount.cli.word_order import Values
from crowdcount.data import CrowdSource, Record
from crowdcount.errors import InputError
from crowdcount.evaluation.captions import (
    caption_summary,
    caption_text,
    captions_csv,
    evaluate_captions,
    left_out,
)
from crowdcount.evaluation.harness import ImageResult, Scoring, evaluate
from crowdcount.evaluation.index_record import (
    data_name,
    evaluation_header,
    index_key,
    measurement,
    require_published,
    update_index,
)
from crowdcount.evaluation.intervals import interval_summary
from crowdcount.evaluation.report import report_html
from crowdcount.evaluation.submission import check_ids, write_count_submission, write_localisation_submission
from crowdcount.evaluation.summary import Summary, Tables, summarise
from crowdcount.evaluation.table import results_csv
from crowdcount.evaluation.text import summary_text
from crowdcount.files import atomic_write
from crowdcount.inference.model import CrowdModel, ImageTextModel
from crowdcount.predictor import find_device
from crowdcount.weights.index import index_file
from crowdcount.zoo.config import find_config

logger = logging.getLogger("crowdcount")


@reports_errors("evaluate")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    args, overrides = parse_words(_parser(), words)
    _run(args, words, overrides)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        __doc__, "evaluate", "MODEL --data CONFIG [--data.KEY VALUE ...] [OPTIONS]", allow_abbrev=False
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help=MODEL)
    add_weights(parser)
    add("--data", required=True, metavar="CONFIG", help="YAML file with a section 'data:', or a name in the zoo")
    add("--split", choices=("val", "test"), default="test", help="part of the data set (default: %(default)s)")
    add("--output", type=Path, metavar="FOLDER", help="write summary.json, images.csv and report.html there")
    add("--worst", type=natural, default=6, metavar="N", help="images drawn in the report (default: %(default)s)")
    add("--submission", type=Path, metavar="FILE", help="write the counts for NWPU-Crowd's server")
    add("--localisation-submission", type=Path, metavar="FILE", help="write the points for that server")
    add("--radii", type=float, action=Values, default=[4, 8], metavar="PIXELS", help="of localisation (default: 4 8)")
    add(
        "--peak-threshold",
        type=float,
        default=0,
        metavar="PEOPLE",
        help="lowest peak taken for a point, per block (default: %(default)s)",
    )
    add(
        "--edges",
        type=int,
        action=Values,
        default=list(Tables.edges),
        metavar="COUNT",
        help="highest count of each crowd level but the last (default: 0 100 500 5000, NWPU-Crowd's levels)",
    )
    add(
        "--bootstrap",
        type=natural,
        default=1000,
        metavar="N",
        help="resamples for confidence intervals (default: %(default)s)",
    )
    add(
        "--interval",
        type=float,
        default=Scoring.level,
        metavar="LEVEL",
        help="level of the intervals of a calibrated model, whose coverage is measured (default: %(default)s)",
    )
    add(
        "--intervals",
        type=Path,
        metavar="FILE",
        help="intervals of `crowdcount calibrate` (default: beside the weights)",
    )
    add_camera(parser)
    add("--seed", type=int, default=0, help="of the bootstrap (default: %(default)s)")
    add_device(parser)
    add(
        "--update-index",
        type=_index,
        nargs="?",
        const=index_file(),
        metavar="FILE",
        help="record the figures of weights of the index in this .json file (default: weights_index.json)",
    )
    return parser


def _index(text: str) -> Path:
    """Return the path of an index; the ending tells it from a model."""
    if not text.endswith(".json"):
        raise argparse.ArgumentTypeError(f"{text!r} is no .json file")
    return Path(text)


def natural(text: str) -> int:
    """Return a number of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 0 or more")
    return int(text)


def _run(args: argparse.Namespace, words: Sequence[str], overrides: Sequence[str]) -> None:
    scoring = Scoring(tuple(args.radii), args.peak_threshold, args.interval)
    tables = Tables(tuple(args.edges), args.bootstrap, args.seed)
    data = read_data(find_config(args.data), overrides, getattr(args, "packages", ()))
    records = split_records(data, args.split)
    if args.update_index is not None:
        require_published(data.source)
    _check_outputs(args, records)  # before minutes of counting
    model = for_camera(crowdcount.load_model(args.model, weights=args.weights, intervals=args.intervals), args)
    _check_intervals(args, model)
    key = None if args.update_index is None else index_key(args.update_index, model)
    rank = _join_processes()
    model.network.to(_device(args.device))
    if isinstance(model, ImageTextModel):
        _run_captions(args, model, records, data.source)
        return
    results = evaluate(model, records, scoring)
    if rank == 0:
        name = data_name(data.source, args.split)
        summary = {**evaluation_header(model, args.model, name), "arguments": words, **summarise(results, tables)}
        if coverage := interval_summary(results, model.intervals, scoring.level, tables.edges):
            summary["calibrated_intervals"] = coverage
        print(f"{args.model} on {name}: {summary['protocol']}\n{summary_text(summary)}")
        _write(args, model, records, results, summary)
        if key is not None:
            _update(args.update_index, key, measurement(summary, words))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _check_intervals(args: argparse.Namespace, model: CrowdModel) -> None:
    """Say where the intervals of a model are for another way of counting, so that their coverage is not measured.

    Raises:
        InputError: they are those of --intervals.
    """
    other = other_protocol(model)
    if other and args.intervals is not None:
        raise InputError(f"--intervals: {other}")
    if other:
        logger.warning("%s; the coverage of its intervals is not measured", other)


def _run_captions(
    args: argparse.Namespace, model: ImageTextModel, records: Sequence[Record], source: CrowdSource
) -> None:
    """Measure an image-text model on captions.

    Raises:
        InputError: an option asks for what such a model does not give, or there are several processes.
    """
    for option in ("submission", "localisation_submission", "update_index", "ignore"):
        if getattr(args, option) is not None:
            raise InputError(f"--{option.replace('_', '-')}: {model.label} chooses among captions; leave it out")
    if torch.distributed.is_initialized():
        raise InputError(f"{model.label} is measured in one process; start the command without torchrun")
    results = evaluate_captions(model, records)
    measured = caption_summary(results, left_out(source, args.split, records))
    name = data_name(source, args.split)
    print(f"{args.model} on {name}: {model.protocol}\n{caption_text(measured)}")
    if args.output is not None:
        summary = {**evaluation_header(model, args.model, name), **measured}
        atomic_write(args.output / "images.csv", captions_csv(results))
        atomic_write(args.output / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")


def _check_outputs(args: argparse.Namespace, records: Sequence[Record]) -> None:
    """Refuse what could not be written in the end.

    Raises:
        InputError: names the option.
    """
    submissions = {"--submission": args.submission, "--localisation-submission": args.localisation_submission}
    for option, path in {"--output": args.output, **submissions}.items():
        if path is None:
            continue
        folder = path if option == "--output" else path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{option}: {folder} cannot be made ({error.strerror}); give another place") from error
        if option != "--output" and path.is_dir():
            raise InputError(f"{option}: {path} is a folder; give a file")
    if any(path is not None for path in submissions.values()):
        check_ids([record.name for record in records])


def _join_processes() -> int:
    """Join the processes that torchrun started, and return this one's rank."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        torch.distributed.init_process_group("gloo")
        return torch.distributed.get_rank()
    return 0


def _device(name: str) -> torch.device:
    """Return a device; of the processes that torchrun started, each takes a GPU of its own."""
    if name == "auto" and torch.cuda.is_available():
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    try:
        return find_device(name)
    except InputError as error:
        raise InputError(f"--{error}") from error


def _write(
    args: argparse.Namespace,
    model: CrowdModel,
    records: Sequence[Record],
    results: Sequence[ImageResult],
    summary: Summary,
) -> None:
    if args.output is not None:
        atomic_write(args.output / "images.csv", results_csv(results))
        atomic_write(args.output / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
        atomic_write(args.output / "report.html", report_html(model, records, results, summary, args.worst))
    if args.submission is not None:
        write_count_submission(args.submission, results)
    if args.localisation_submission is not None:
        write_localisation_submission(args.localisation_submission, results)


def _update(path: Path, key: str, measured: Summary) -> None:
    if measured["commit"] is None:
        note = "this is no git clone; the index does not say which code gave the figures"
        print(f"crowdcount evaluate: {note}", file=sys.stderr)
    update_index(path, key, measured)


if __name__ == "__main__":
    sys.exit(main())
