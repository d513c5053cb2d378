"""Train, validate or test a model from a configuration file.

    python tools/train.py fit --config zoo_configs/quickstart.yaml
    python tools/train.py fit --config zoo_configs/ebc/vgg19ae_sha.yaml --data.source.root data/ShanghaiTech
    python tools/train.py test --config RUN/config.yaml --ckpt_path RUN/checkpoints/best.ckpt
    python tools/train.py fit --config RUN/config.yaml --ckpt_path RUN/checkpoints/last.ckpt

Keys after --config override the file: --data.batch_size 4 --trainer.max_epochs 10. The run's folder RUN gets the whole
configuration (config.yaml, which replays the run), metrics.csv, pictures and checkpoints.
"""

import logging
import sys
import warnings
from typing import Any, NoReturn

from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from crowdcount.callbacks import PredictionPictures, SaveConfig
from crowdcount.config_errors import explain
from crowdcount.data.datamodule import CrowdData
from crowdcount.errors import InputError
from crowdcount.module import CountingModule


class Parser(LightningArgumentParser):
    """A parser whose errors fit on a few lines: the key, the value, the nearest right key."""

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
        """Return the parser, with this file's purpose on the first line of --help."""
        return super().init_parser(**{**kwargs, "description": "Train, validate or test a model from a file."})

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what every run has beside the trainer, the model and the data."""
        parser.add_argument(
            "--test_after_fit", type=bool, default=False, help="Test the best checkpoint when the training ends."
        )
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults(
            {
                "checkpoint.filename": "best",
                "checkpoint.monitor": "val/mae",
                "checkpoint.save_last": True,
                "checkpoint.enable_version_counter": False,
            }
        )
        parser.add_lightning_class_args(PredictionPictures, "pictures")

    def after_fit(self) -> None:
        """Test the best checkpoint where the configuration asks for it."""
        if self.config["fit"]["test_after_fit"]:
            best = self.trainer.checkpoint_callback
            assert isinstance(best, ModelCheckpoint)
            self.trainer.test(self.model, datamodule=self.datamodule, ckpt_path=best.best_model_path or None)


def main(args: list[str] | None = None) -> None:
    """Run the command line."""
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    _quieten()
    try:
        TrainCLI(
            CountingModule,
            CrowdData,
            subclass_mode_model=True,
            parser_class=Parser,
            parser_kwargs={"allow_abbrev": False},
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
            args=args,
        )
    except ValueError as error:
        mistake = _input_error(error)
        if mistake is None:
            raise
        # a worker process hands its error over with the whole traceback; the last part is the message
        _fail(str(mistake).rsplit("InputError: ", 1)[-1].strip())


def _input_error(error: BaseException | None) -> InputError | None:
    """Find what a user did wrong behind an exception: jsonargparse wraps those of constructors."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    return error


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"error: {message}\n")
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
    main()
