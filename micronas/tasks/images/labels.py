"""List the images of a CSV file of labels."""

import csv
from pathlib import Path

from micronas.errors import DataError
from micronas.files import regular
from micronas.tasks.images.folder import ImageListing, LabelledImage, divided
from micronas.tasks.parts import PARTS_BY_NAME
from micronas.tasks.spelling import check_numbers

_FILES = ("file", "filename", "image", "path")
_LABELS = ("label", "class", "category")
_PARTS = ("part", "split", "set")


def open_labels(path: Path) -> ImageListing:
    """List the images of a CSV file, one per line; opens no image.

    Columns are found by name: ``file`` (relative to the CSV's folder), ``label`` and, optionally,
    ``part`` (``train``, ``validation`` or ``test``). Lines without a label are left out. Missing
    parts are cut as in `micronas.tasks.images.folder.open_image_folder`. Raises DataError if the
    file cannot be read, lacks a column, or has a line with more values, another part, fewer than
    two classes or one number in two spellings.
    """
    try:
        with regular(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = {str(name).strip().lower(): name for name in reader.fieldnames or ()}
            lines = [(reader.line_num, line) for line in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(
            f"labels must be a CSV file that can be read, but {path} is not ({error}); save it "
            "anew, in UTF-8"
        ) from error

    def column(names: tuple[str, ...]) -> str | None:
        return next((columns[name] for name in names if name in columns), None)

    file_column, label_column, part_column = map(column, (_FILES, _LABELS, _PARTS))
    if file_column is None or label_column is None:
        raise DataError(
            f"labels must have the columns file and label, separated by commas, but {path} has "
            f"{', '.join(columns) or 'none'}; name them so"
        )
    images, unlabelled = [], 0
    for number, line in lines:
        if None in line:
            raise DataError(
                f"a line must have a value for each of {len(columns)} columns, but {path} line "
                f"{number} has more; put names with commas in quotes"
            )
        name, label = (str(line[each] or "").strip() for each in (file_column, label_column))
        said = "" if part_column is None else str(line[part_column] or "").strip().lower()
        if not name or not label:
            unlabelled += 1
            continue
        if said and said not in PARTS_BY_NAME:
            raise DataError(
                f"a part must be train, validation or test, but {path} line {number} has {said!r}; "
                "correct it"
            )
        part = PARTS_BY_NAME[said] if said else None
        images.append(LabelledImage(path.parent / name, name, label, part))
    classes = tuple(sorted({image.label for image in images}))
    if len(classes) < 2:
        raise DataError(
            f"labels must be of at least two classes, but {path} has {', '.join(classes) or 'none'}"
        )
    check_numbers(classes, path)
    notes = (f"Lines without a label: {unlabelled}.",) if unlabelled else ()
    return divided(path.parent, classes, images, notes)
