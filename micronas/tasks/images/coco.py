"""Turn COCO annotations into visual wake words: images with and without a large enough person."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from micronas.errors import DataError
from micronas.files import regular
from micronas.tasks.images.folder import ImageListing, LabelledImage
from micronas.tasks.images.settings import VisualSettings
from micronas.tasks.parts import Part


def open_coco(settings: VisualSettings) -> ImageListing:
    """List the images of COCO annotation files with their labels; opens no image.

    An image shows the category if one of its annotations of it (crowds too) covers more than
    `smallest` of the image. As in pyvww and in TensorFlow's script, it is the annotation's ``area``
    that counts, which in COCO is that of the outline and not of the box; the box stands in where
    there is no ``area``. All other images, those with smaller persons too, do not show it: none is
    left out.

    Images are looked for in `path`, and in its subfolder named like the end of the annotation file
    (``train2014`` for ``instances_train2014.json``). A file with ``val`` or ``test`` in its name is
    that part, others are for training. With `minival` the listed images are for validation and all
    others for training. Parts that this leaves out are cut by a hash of the files' contents:
    validation, and test too where there is a single kind of file.

    Raises
    ------
    DataError
        If a file cannot be read, is laid out in another way, lacks the category, or all are for
        validation or test.

    References
    ----------
    A. Chowdhery et al., "Visual Wake Words Dataset", arXiv 1906.05721; ``pyvww`` by M. Bonnaerens.
    """
    minival = _read_ids(settings.minival) if settings.minival else None
    classes = (f"non_{settings.category}", settings.category)
    images: dict[int, LabelledImage] = {}
    present: set[Part] = set()
    for file in settings.annotations:
        part = _part_of(file)
        for identity, (name, shown) in _read_labels(file, settings).items():
            assigned = part
            if minival is not None:
                assigned = "validation" if identity in minival else "training"
            present.add(assigned)
            path = _find_image(settings.path, file, name)
            images.setdefault(identity, LabelledImage(path, name, classes[shown], assigned))
    if "training" not in present:
        raise DataError(
            "annotations must include images for training, but "
            f"{', '.join(file.name for file in settings.annotations)} do not; name "
            "instances_train2014.json too"
        )
    cut: tuple[Part, ...] = ()
    if "validation" not in present:
        cut = ("validation",) if "testing" in present else ("validation", "testing")
    return ImageListing(
        root=settings.path,
        classes=classes,
        images=tuple(
            LabelledImage(image.path, image.name, image.label, None)
            if cut and image.part == "training"
            else image
            for image in images.values()
        ),
        cut=cut,
        notes=(
            f"Labels: {settings.category} where one covers more than {settings.smallest:.2%} of "
            f"the image, by {', '.join(file.name for file in settings.annotations)}.",
        ),
    )


def _read_labels(file: Path, settings: VisualSettings) -> dict[int, tuple[str, bool]]:
    """Return file name, and whether the category is shown, for each image's id."""
    content = _read_json(file)
    try:
        categories = {each["name"]: each["id"] for each in content["categories"]}
        images = {int(each["id"]): each for each in content["images"]}
        shown: set[int] = set()
        if settings.category not in categories:
            raise DataError(
                f"the category must be one of the annotations' own, but {file} has no "
                f"{settings.category}; it has {', '.join(sorted(categories))}"
            )
        for annotation in content["annotations"]:
            image = images.get(annotation["image_id"])
            if image is None or annotation["category_id"] != categories[settings.category]:
                continue
            whole = float(image["height"]) * float(image["width"])
            if _area(annotation) / whole > settings.smallest:
                shown.add(int(image["id"]))
        return {each: (str(image["file_name"]), each in shown) for each, image in images.items()}
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise DataError(
            "annotations must have COCO's images, annotations and categories, but "
            f"{file} differs ({type(error).__name__}: {error}); name an instances_*.json"
        ) from error


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
