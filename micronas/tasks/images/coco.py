"""Turn COCO annotations into examples: the boxes of any categories, or visual wake words."""

import json
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from micronas.errors import DataError
from micronas.files import regular
from micronas.tasks.images.folder import ImageListing, LabelledImage, divided
from micronas.tasks.images.settings import ImageSettings, VisualSettings
from micronas.tasks.parts import Part


def open_boxes(settings: ImageSettings) -> ImageListing:
    """List the boxes of COCO annotation files, each an example of its category; opens no image.

    Crowds are left out. Classes are `categories`, in that order, or all with a box, sorted. Images
    are found and divided as in `open_wake`; boxes of one image stay together. Raises DataError as
    for `open_wake`, or if fewer than two categories have a box.
    """
    found: list[LabelledImage] = []
    # of earlier files, by path: many tools number images anew in each file
    seen: set[Path] = set()
    again: set[Path] = set()
    for file in settings.annotations:
        own: set[Path] = set()
        with _as_coco(file) as content:
            names = {each["id"]: str(each["name"]) for each in content["categories"]}
            _check_categories(settings.categories, names.values(), file)
            images = {each["id"]: each for each in content["images"]}
            for annotation in content["annotations"]:
                identity, label = annotation["image_id"], names[annotation["category_id"]]
                wanted = not settings.categories or label in settings.categories
                if identity in images and wanted and not annotation.get("iscrowd"):
                    name = str(images[identity]["file_name"])
                    path = _find_image(settings.path, file, name)
                    own.add(path)
                    left, top, width, height = map(float, annotation["bbox"])
                    if not math.isfinite(left + top + width + height):
                        raise ValueError(f"a box is {annotation['bbox']}")
                    if path not in seen:
                        size = [float(images[identity].get(s) or 0) for s in ("width", "height")]
                        box = (left, top, left + width, top + height, *(size if all(size) else ()))
                        found.append(LabelledImage(path, name, label, _part_of(file), box))
        again |= seen & own
        seen |= own
    counts = Counter(each.label for each in found)
    if len(counts) < 2:
        raise DataError(
            "annotations must have boxes of at least two categories, but "
            f"{_names(settings.annotations)} have those of {', '.join(counts) or 'none'}; name "
            "others in data.categories"
        )
    classes = settings.categories or tuple(sorted(counts))
    notes = (f"Each box of {_names(settings.annotations)} is an example.", *_repeated(again))
    # boxes of a file in a row: it is decoded once
    return divided(settings.path, classes, sorted(found, key=lambda each: each.path), notes)


def open_wake(settings: VisualSettings) -> ImageListing:
    """List the images of COCO annotation files, with and without a person; opens no image.

    An image shows the category if one of its annotations of it (crowds too) covers more than
    `smallest` of the image. As in pyvww and in TensorFlow's script, the annotation's ``area``
    counts, in COCO that of the outline; without ``area``, that of the box. All other images, those
    with smaller persons included, do not show it: none is left out.

    Images are searched in `path`, and in its subfolder named like the end of the annotation file
    (``train2014`` for ``instances_train2014.json``). An annotation file with ``val`` or ``test`` in
    its name is for that part, others are for training. With `minival` the listed images are for
    validation and all others for training. A missing validation part, and a test part where neither
    is given, are cut by a hash of the files' contents. Raises DataError if a file cannot be read,
    has another layout, lacks the category, or all are for validation or test. Source: A. Chowdhery
    et al., "Visual Wake Words Dataset", arXiv 1906.05721; ``pyvww`` by M. Bonnaerens.
    """
    minival = _read_ids(settings.minival) if settings.minival else None
    classes = (f"non_{settings.category}", settings.category)
    images: dict[Path, LabelledImage] = {}
    again: set[Path] = set()
    for file in settings.annotations:
        for identity, (name, shown) in _read_labels(file, settings).items():
            part = _part_of(file)
            if minival is not None:
                part = "validation" if identity in minival else "training"
            path = _find_image(settings.path, file, name)
            if path in images:
                again.add(path)
            else:
                images[path] = LabelledImage(path, name, classes[shown], part)
    if minival and not any(image.part == "validation" for image in images.values()):
        raise DataError(
            f"minival must list ids of the annotations, but {settings.minival} has none of "
            f"{_names(settings.annotations)}; name another file"
        )
    note = (
        f"Labels: {settings.category} where one covers more than {settings.smallest:.2%} of "
        f"the image, by {_names(settings.annotations)}."
    )
    return divided(settings.path, classes, [*images.values()], (note, *_repeated(again)))


def _repeated(images: Collection[Path]) -> list[str]:
    return (
        [f"Images of two annotation files, of which the first counts: {len(images)}."]
        if images
        else []
    )


def _names(files: Sequence[Path]) -> str:
    return ", ".join(file.name for file in files)


def _check_categories(wanted: Sequence[str], known: Collection[str], file: Path) -> None:
    missing = [name for name in wanted if name not in known]
    if missing:
        raise DataError(
            f"the category must be one of the annotations' own, but {file} has no {missing[0]}; "
            f"it has {', '.join(sorted(known))}"
        )


@contextmanager
def _as_coco(file: Path) -> Iterator[Any]:
    """Yield the contents of an annotation file; DataError where reading finds another layout."""
    content = _read_json(file)
    try:
        yield content
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise DataError(
            "annotations must have COCO's images, annotations and categories, but "
            f"{file} differs ({type(error).__name__}: {error}); name an instances_*.json"
        ) from error


def _read_labels(file: Path, settings: VisualSettings) -> dict[int, tuple[str, bool]]:
    """Return the file name of each image by its id, and whether it shows the category."""
    with _as_coco(file) as content:
        categories = {each["name"]: each["id"] for each in content["categories"]}
        images = {int(each["id"]): each for each in content["images"]}
        shown: set[int] = set()
        _check_categories([settings.category], categories, file)
        for annotation in content["annotations"]:
            image = images.get(annotation["image_id"])
            if image is None or annotation["category_id"] != categories[settings.category]:
                continue
            whole = float(image["height"]) * float(image["width"])
            if _area(annotation) / whole > settings.smallest:
                shown.add(int(image["id"]))
        return {each: (str(image["file_name"]), each in shown) for each, image in images.items()}


def _area(annotation: Mapping[str, Any]) -> float:
    if "area" in annotation:
        return float(annotation["area"])
    _, _, width, height = annotation["bbox"]
    return float(width) * float(height)


def _read_json(file: Path) -> Any:
    try:
        return json.loads(regular(file).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"annotations must be a JSON file that can be read, but {file} is not ({error}); "
            "download it again"
        ) from error


def _read_ids(file: Path) -> frozenset[int]:
    try:
        return frozenset(int(line) for line in regular(file).read_text(encoding="utf-8").split())
    except (OSError, ValueError) as error:
        raise DataError(
            f"minival must be a text file of one image id a line, but {file} is not ({error}); "
            "name mscoco_minival_ids.txt"
        ) from error


def _part_of(file: Path) -> Part:
    name = file.stem.lower()
    return "validation" if "val" in name else "testing" if "test" in name else "training"


def _find_image(folder: Path, annotations: Path, name: str) -> Path:
    nested = folder / annotations.stem.rpartition("_")[2] / name
    return nested if nested.exists() else folder / name
