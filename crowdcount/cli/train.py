"""Train, validate or test a model from a configuration file.

    crowdcount train fit --config zoo_configs/quickstart.yaml
    crowdcount train fit --config zoo_configs/ebc/vgg19ae_sha.yaml --data.source.root data/ShanghaiTech
    crowdcount train test --config RUN/config.yaml --ckpt_path RUN/checkpoints/best.ckpt
    crowdcount train fit --config RUN/config.yaml --ckpt_path RUN/checkpoints/last.ckpt

--config takes a file, or a name in the zoo. Keys after it override the file: --data.batch_size 4
--trainer.max_epochs 10. The run's folder RUN gets the whole configuration (config.yaml, which replays the run),
metrics.csv, images and checkpoints. A configuration may name classes of crowdcount, torch.optim and Lightning, and of
the packages given by --import PACKAGE or the file's key `import:`, such as mymodels for mymodels.py in the current
folder; read that key before you run the file of somebody else.
"""

import argparse
import inspect
import json
import logging
import re
import sys
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import Any, Final, NoReturn, get_args, get_type_hints

import torch
import yaml
from jsonargparse import DefaultHelpFormatter, get_loader, set_loader
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import SIGTERMException

from crowdcount.class_paths import check_classes, closed_set, find_class
from crowdcount.cli.outside import KEY, add_current_folder, import_named
from crowdcount.cli.parser import Parser as CommandParser
from crowdcount.cli.parser import help_options
from crowdcount.config_errors import explain
from crowdcount.data.datamodule import CrowdData
from crowdcount.errors import InputError
from crowdcount.legacy import upgrade_config, upgrade_option
from crowdcount.signals import restored_sigterm
from crowdcount.training.base import MakeOptimizer, MakeSchedule, TrainingModule
from crowdcount.training.callbacks import PredictionPictures, SaveConfig
from crowdcount.training.checkpoint_file import check_checkpoint, check_resumable
from crowdcount.training.checkpoints import BestCheckpoint, LastCheckpoint
from crowdcount.training.failures import failure_message, last_checkpoint, resume_advice
from crowdcount.training.strategies import check_strategy
from crowdcount.training.termination import TERMINATED
from crowdcount.zoo.config import find_config, read_config_file

logger = logging.getLogger("crowdcount")

SUBCOMMANDS: Final = {
    name: {"description": text, "usage": f"crowdcount train {name} --config CONFIG [--KEY VALUE ...]"}
    for name, text in {
        "fit": "Train a model. With --ckpt_path continue a run.",
        "validate": "Measure a checkpoint on the validation images.",
        "test": "Measure a checkpoint on the test images.",
    }.items()
}
"""Help of the subcommands."""


class Formatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """jsonargparse's formatter, without reflowing the examples."""


class Parser(LightningArgumentParser):
    """A parser whose errors fit on a few lines: the key, the value, the nearest right key."""

    def parse_args(  # type: ignore[override]
        self, args: list[str] | None = None, *arguments: Any, **options: Any
    ) -> Any:
        """Parse, with null for null: jsonargparse hands an argument of a nested class on as the text None."""
        nested = args is not None and not self.exit_on_error
        args = [re.sub("=None$", "=null", word) for word in args or []] if nested else args
        return super().parse_args(args, *arguments, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print what is wrong with the configuration and exit with status 2."""
        if not self.exit_on_error:  # a nested parser: the outermost one reports
            super().error(message, ex)
        options = [action.dest for action in getattr(ex, "subcommand_parser", self)._actions]
        _fail(explain(str(message), options))


class TrainCLI(LightningCLI):
    """LightningCLI with a checkpoint of the best and the last epoch, pictures, and a test after the training."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Offer what has a meaning here: a prediction is the business of other tools."""
        return {name: skip for name, skip in LightningCLI.subcommands().items() if name != "predict"}

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Return a parser; that of all subcommands has this module's docstring as its help."""
        if "description" in kwargs:  # of a subcommand
            return super().init_parser(**kwargs)
        usage = "crowdcount train {fit,validate,test} --config CONFIG [--KEY VALUE ...]"
        return super().init_parser(**kwargs, **help_options(__doc__, "train"), usage=usage, formatter_class=Formatter)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the words given; the inherited method warns where the process has words as well."""
        self.config = parser.parse_args(args)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what every run has beside the trainer, the model and the data."""
        parser.add_argument(
            f"--{KEY}",
            type=str | list[str],
            default=[],
            help="Packages, or modules in the current folder, with models, data sets and losses of your own.",
        )
        parser.add_argument(
            "--test_after_fit", type=bool, default=False, help="Test the best checkpoint when the training ends."
        )
        parser.add_lightning_class_args(BestCheckpoint, "best")
        parser.add_lightning_class_args(LastCheckpoint, "last")
        parser.add_lightning_class_args(PredictionPictures, "pictures")

    def after_fit(self) -> None:
        """Say where the run is; test the best checkpoint where the configuration asks for it."""
        if last_checkpoint(self.trainer).termination.agreed(self.trainer):
            raise SystemExit(TERMINATED)
        best = next(each for each in self.trainer.checkpoint_callbacks if isinstance(each, BestCheckpoint))
        if not best.best_model_path:
            logger.warning(
                "no epoch was validated with a finite %s (trainer.check_val_every_n_epoch), so that there is no best "
                "checkpoint",
                best.monitor,
            )
        score = "none" if best.best_model_score is None else f"{best.best_model_score.item():.2f}"
        logger.info("run: %s, best %s: %s", self.trainer.log_dir, best.monitor, score)
        if self.config["fit"]["test_after_fit"]:
            self.trainer.test(self.model, datamodule=self.datamodule, ckpt_path=best.best_model_path or None)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer, which SIGTERM ends; an argument it refuses is the user's to correct."""
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except (ValueError, TypeError, ImportError) as error:
            raise InputError(f"trainer: {error}") from error
        last_checkpoint(trainer).termination.install(trainer)
        return trainer

    def _set_seed(self) -> None:
        """Seed the random streams; the number may be out of their range."""
        try:
            super()._set_seed()
        except ValueError as error:
            raise InputError(f"seed_everything: {error}") from error

    def _run_subcommand(self, subcommand: str) -> None:
        """Run a subcommand; whatever ends a training early carries the advice how to go on."""
        try:
            super()._run_subcommand(subcommand)
        except BaseException as error:
            advice = resume_advice(self.trainer, self.config[subcommand]["ckpt_path"])
            if advice is not None:
                error.add_note(advice)
            if isinstance(error, OSError) and error.filename is None:  # such as of a full disk
                error.filename = self.trainer.log_dir
            # also where a worker process ended first, or another one of the training
            if last_checkpoint(self.trainer).termination.received:
                raise SystemExit(TERMINATED) from error
            raise

    def before_instantiate_classes(self) -> None:
        """Refuse functions for classes, null for a group of settings (the default is no key), and sharded weights."""
        check_classes(self.config[self.subcommand].as_dict())
        check_strategy(self.config[self.subcommand]["trainer"]["strategy"])
        model = self.config[self.subcommand]["model"]
        types = get_type_hints(find_class(model.class_path).__init__)
        for name, value in model.init_args.items():
            if inspect.isroutine(value) and types.get(name) in (MakeOptimizer, MakeSchedule, MakeSchedule | None):
                raise InputError(
                    f"model.{name}: {value.__name__} is a function; name a class of optimizers or schedules"
                )
            if value is None and NoneType not in get_args(types.get(name, None | Any)):
                raise InputError(f"model.{name}: null is no setting; leave the key out for the defaults")

    def before_validate(self) -> None:
        """Refuse to evaluate what was never trained, on images that are not there."""
        self._require_checkpoint("validate")
        if not self.datamodule.splits[1]:
            raise InputError("data.val_fraction: 0 leaves no image to validate on")

    def before_test(self) -> None:
        """Refuse to evaluate what was never trained."""
        self._require_checkpoint("test")

    def before_fit(self) -> None:
        """Refuse to continue from a file that is not there, and to promise a test on images that are not there."""
        if self.config["fit"]["test_after_fit"]:
            self.datamodule.test_dataloader()
        if self.config["fit"]["ckpt_path"] is not None:
            path, checkpoint = self._require_checkpoint("fit")
            made = self.model.configure_optimizers()
            check_resumable(path, checkpoint, made["optimizer"] if isinstance(made, dict) else made)

    def _require_checkpoint(self, subcommand: str) -> tuple[Path, dict[str, Any]]:
        path = self.config[subcommand]["ckpt_path"]
        if path is None:
            raise InputError(f"--ckpt_path: {subcommand} needs a checkpoint, such as RUN/checkpoints/best.ckpt")
        return Path(path), check_checkpoint(Path(path), self.model)

    def _parse_ckpt_path(self) -> None:
        """Read nothing from the checkpoint at this point: ours hold a configuration, not hyper-parameters."""


def _require_config(words: Sequence[str]) -> None:
    """Refuse a command without any setting; jsonargparse would ask for its keys one by one.

    Raises:
        InputError: there is no subcommand, or nothing behind it.
    """
    example = "--config FILE, or a name in the zoo such as quickstart"
    if not words:
        raise InputError(f"give fit, validate or test, and a configuration: crowdcount train fit {example}")
    if words[-1] in ("fit", "validate", "test") and words[-1] == words[0]:
        raise InputError(f"{words[0]} needs a configuration: {example}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Raises:
        SystemExit: with status 2, for bad input.
    """
    add_current_folder()  # a configuration may name the user's own classes
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    _quieten()
    words = [upgrade_option(word) for word in (sys.argv[1:] if argv is None else argv)]
    set_loader("yaml", _load_yaml, (yaml.YAMLError,))
    try:
        _require_config(words)
        prepared, packages = _prepared(words)
        with closed_set(packages), restored_sigterm():
            TrainCLI(
                TrainingModule,
                CrowdData,
                subclass_mode_model=True,
                parser_class=Parser,
                parser_kwargs={"allow_abbrev": False, **SUBCOMMANDS},
                auto_configure_optimizers=False,
                seed_everything_default=0,
                save_config_callback=SaveConfig,
                save_config_kwargs={"overwrite": True},
                trainer_defaults={
                    "logger": {
                        "class_path": "lightning.pytorch.loggers.CSVLogger",
                        "init_args": {"save_dir": "runs", "name": "crowdcount"},
                    }
                },
                args=prepared,
            )
    except Exception as error:
        message = failure_message(error)
        if message is None:
            raise
        _fail("\n".join([message, *_notes(error)]))
    except SystemExit as end:
        _end(end)
    _leave_group()
    return 0


def _leave_group() -> None:
    """End the communication of several processes; its threads would abort an interpreter that ends before them."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


_load = get_loader("yaml")


def _load_yaml(text: str) -> Any:
    """Read YAML as jsonargparse does, with keys of earlier versions under their present names."""
    return upgrade_config(_load(text))


def _prepared(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Import the packages that the command line and its configurations name.

    Returns:
        The words for LightningCLI, in which the configurations are files and all packages are one list, so that the
        run's config.yaml has them; and the packages.

    Raises:
        InputError: a file is no configuration, or a package cannot be imported.
    """
    outside = CommandParser(prog="crowdcount train", add_help=False, allow_abbrev=False)
    # the words of LightningCLI keep their order
    args, words = argparse.ArgumentParser.parse_known_args(outside, list(words), None)
    given = [part for word in words for part in (word.split("=", 1) if re.match("(-c|--config)=", word) else [word])]
    prepared, packages = [], []
    for flag, word in pairwise(["", *given]):
        path = find_config(word) if flag in ("-c", "--config") else None
        packages += [] if path is None else import_named(read_config_file(path), path)
        prepared.append(word if path is None else str(path))
    packages += getattr(args, "packages", ())
    packages = list(dict.fromkeys(packages))
    return [*prepared, *([f"--{KEY}={json.dumps(packages)}"] if packages else [])], packages


def _notes(error: BaseException | None) -> list[str]:
    """Return the notes on an error or on what caused it."""
    while error is not None and not hasattr(error, "__notes__"):
        error = error.__cause__ or error.__context__
    return list(error.__notes__) if error is not None else []


def _end(end: SystemExit) -> NoReturn:
    """End the process after SIGTERM, Ctrl-C or an error that has been reported."""
    if end.code == TERMINATED or isinstance(end, SIGTERMException):
        sys.stderr.write("\n".join(["crowdcount train: ended by SIGTERM", *_notes(end)]) + "\n")
        _leave_group()
        raise SystemExit(TERMINATED) from end
    for note in _notes(end):
        sys.stderr.write(f"{note}\n")
    raise end


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"crowdcount train: {message}\n")
    sys.exit(2)


def _quieten() -> None:
    """Drop advertisements, and warnings that do not apply here."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(lambda r: "Tip:" not in r.getMessage())
    for message in (
        ".*sync_dist=True.*",  # the errors of an evaluation are gathered before they are logged
        ".*using `DistributedSampler` with the dataloaders.*",  # ours does not count an image twice
        ".*does not have many workers.*",
        ".*isinstance\\(treespec, LeafSpec\\).*",  # Lightning's own business
    ):
        warnings.filterwarnings("ignore", message=message)


if __name__ == "__main__":
    sys.exit(main())
