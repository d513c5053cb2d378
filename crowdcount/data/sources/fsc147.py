"""FSC-147."""

from pathlib import Path
from typing import Any

from crowdcount.data.annotations.error_collection import read_each, report_error, report_left_out
from crowdcount.data.annotations.json_tables import entry_points, entry_text, get_entry, load_table
from crowdcount.data.annotations.locate import locate
from crowdcount.data.sample import CrowdSource, Expression, Record, Split
from crowdcount.errors import InputError

_ANNOTATIONS = "annotation_FSC147_384.json"
_SPLITS = "Train_Test_Val_FSC_147.json"
_CLASSES = "ImageClasses_FSC147.txt"
_DESCRIPTIONS = "FSC-147-D.json"
_IMAGES = "images_384_VarV2"
_SOURCE = "github.com/cvlab-stonybrook/LearningToCountEverything"
_IMAGES_SOURCE = "Google Drive, file 1ymDYrGs9DSRicfZbSCDiOu0ikGDh5k6S"


class Fsc147(CrowdSource):
    """FSC-147: 6135 images of 147 classes of objects, one class counted in each.

    Ranjan et al., "Learning To Count Everything", CVPR 2021. Splits: 3659 train, 1286 val, 1190 test. Each image has
    one expression: the name of its class, a plural such as "sea shells", or its description from FSC-147-D, such as
    "the sea shells" (Amini-Naieni et al., "Open-world Text-specified Object Counting", BMVC 2023).

    Layout: `images_384_VarV2` (images 384 pixels high, to which the points refer), `annotation_FSC147_384.json`,
    `Train_Test_Val_FSC_147.json`, `ImageClasses_FSC147.txt` and, for descriptions, `FSC-147-D.json`.

    Args:
        root: folder of these files, or one up to two levels above it.
        descriptions: whether to use the descriptions as expressions instead of the class names.
    """

    published = True

    def __init__(self, root: Path | str, descriptions: bool = False) -> None:
        self.root = Path(root)
        self.descriptions = descriptions

    @property
    def _home(self) -> Path:
        return locate(self.root, lambda path: (path / _SPLITS).is_file())

    def records(self, split: Split) -> list[Record]:
        """Return the records of a split in the order of its list; names are file names."""
        names = self._names(split)
        annotations, classes = self._table(_ANNOTATIONS), self._classes()
        descriptions = self._table(_DESCRIPTIONS) if self.descriptions else None

        def read(name: str) -> Record:
            expression = self._expression(name, annotations, classes, descriptions)
            return Record.referring(name, self._home / _IMAGES / name, [expression])

        return read_each(read, self._present(names))

    def _names(self, split: Split) -> list[str]:
        path, table = self._home / _SPLITS, self._table(_SPLITS)
        if split not in table:
            raise InputError(f"{path}: has no split {split!r}, only {', '.join(table) or 'nothing'}")
        names = table[split]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f"{path}: split {split!r} is not a list of file names; copy it again from {_SOURCE}")
        return names

    def _table(self, name: str) -> dict[str, Any]:
        source = "github.com/niki-amini-naieni/CounTX" if name == _DESCRIPTIONS else _SOURCE
        return load_table(
            self._home / name, f"expected the files of FSC-147 in {self._home}; download it from {source}"
        )

    def _classes(self) -> dict[str, str]:
        path = self._home / _CLASSES
        if not path.is_file():
            raise InputError(f"{path}: no such file; download it from {_SOURCE}")
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        columns = (line.partition("\t") for line in lines if line.strip())
        return {name.strip(): category.strip() for name, _, category in columns}

    def _present(self, names: list[str]) -> list[str]:
        """Return the images that exist and report the others, with one listing of the folder for speed."""
        folder = self._home / _IMAGES
        present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        lists = [each for each in self._table(_SPLITS).values() if isinstance(each, list)]
        unlisted = present.difference(*(map(str, each) for each in lists))
        others = sorted(folder / name for name in unlisted if name[0] != ".")
        report_left_out(folder, others, f"not named by {_SPLITS}")
        missing = [name for name in names if name not in present]
        for name in missing:
            problem = f"no such image, nor {len(missing) - 1} others of {len(names)}"
            remedy = f"unpack the images of FSC-147 ({_IMAGES_SOURCE}) in {self._home}"
            report_error(InputError(f"{folder / name}: {problem}; {remedy}", folder / name))
        return [name for name in names if name in present]

    def _expression(
        self, name: str, annotations: dict[str, Any], classes: dict[str, str], descriptions: dict[str, Any] | None
    ) -> Expression:
        path = self._home / _ANNOTATIONS
        points = entry_points(path, get_entry(path, annotations, name, f"image {name!r}"), f"image {name!r}")
        category = text = classes.get(name, "")
        if not category:
            raise InputError(
                f"{self._home / _CLASSES}: gives no class for image {name!r}; copy it again from {_SOURCE}"
            )
        if descriptions is not None:
            text = self._description(name, descriptions)
        return Expression(text, points, category=category)

    def _description(self, name: str, descriptions: dict[str, Any]) -> str:
        path, owner = self._home / _DESCRIPTIONS, f"image {name!r}"
        text = entry_text(path, get_entry(path, descriptions, name, owner), "text_description", owner)
        if not text.strip():
            raise InputError(f"{path}: has no text_description for {owner}; copy the file again from its archive")
        return text
