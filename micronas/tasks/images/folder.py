"""List the images of a folder with their classes and parts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from micronas.errors import DataError
from micronas.tasks.images.files import Box
from micronas.tasks.images.settings import SUFFIXES
from micronas.tasks.parts import PARTS_BY_NAME, Part, require_folder

_LONGEST_NAME = 200


@dataclass(frozen=True)
class LabelledImage:
    """One file and its label."""

    path: Path
    name: str
    """Path from the root, with slashes."""
    label: str
    part: Part | None
    """Part of the data set; None where `hashed_part` decides."""
    box: Box | None = None
    """Box of the example in the image; by default the whole image."""


@dataclass(frozen=True)
class ImageListing:
    """The images of a data set, before any is opened."""

    root: Path
    classes: tuple[str, ...]
    images: tuple[LabelledImage, ...]
    cut: tuple[Part, ...]
    """Parts that are cut from images without a part."""
    notes: tuple[str, ...]
    """Sentences for the summary."""


def open_image_folder(path: Path) -> ImageListing:
    """List ``<class>/*``, ``<part>/<class>/*`` or ``<class>/<part>/*``; opens no file.

    They are in `path` or its only subfolder. Classes are the folders' names, sorted. Parts are
    folders called ``train``, ``validation`` (or ``val``) and ``test``. Without them, or with
    ``train`` alone, validation and test parts are cut by a hash of each file's contents; with
    ``train`` and ``test`` alone, a validation part. Files without an image's suffix, files that
    start with ``.``, and folders that start with ``.`` or ``_``, are ignored; cameras begin names
    of files with ``_``. Raises DataError if there is no such folder, fewer than two classes, or no
    image.
    """
    require_folder(path, "image data must be a folder", "the folder of the classes")
    root = _find_root(path)
    given: list[tuple[Path, Part | None]] = [
        (folder, PARTS_BY_NAME[folder.name.lower()])
        for folder in _folders(root)
        if folder.name.lower() in PARTS_BY_NAME and _folders(folder)
    ]
    images, others, classes, hidden = [], 0, set(), set()
    for folder, part in given or [(root, None)]:
        hidden |= {each.name for each in folder.iterdir() if each.is_dir() and each.name[0] == "_"}
        for class_folder in _folders(folder):
            classes.add(class_folder.name)
            for file in _files(class_folder):
                if file.suffix.lower() not in SUFFIXES:
                    others += 1
                    continue
                name = file.relative_to(root).as_posix()
                inner = PARTS_BY_NAME.get(file.parts[len(class_folder.parts)].lower())
                images.append(LabelledImage(file, name, class_folder.name, part or inner))
    if len(classes) < 2 or not images:
        raise DataError(
            f"images must be laid out as <class>/* with at least two classes, but {root} has "
            f"{len(classes)} classes and {len(images)} images; name the folder that holds the "
            "folders of the classes"
        )
    notes = [f"Files that are no images by their name: {others}."] if others else []
    beside = [each.name for each in _folders(root) if given and each not in dict(given)]
    if beside:
        notes.append(f"Folders beside the parts, not read: {', '.join(beside)}.")
    if hidden:
        notes.append(f"Folders hidden by an underscore: {', '.join(sorted(hidden))}.")
    return divided(root, tuple(sorted(classes)), images, tuple(notes))


def divided(
    root: Path, classes: tuple[str, ...], images: Sequence[LabelledImage], notes: tuple[str, ...]
) -> ImageListing:
    """Return a listing with the parts that will be cut from images without one.

    Without validation and test, both are cut; with test alone, validation; with validation, none.
    Parts are cut from images for training and from those without a part. Raises DataError if all
    images are for validation or test, or a class's name is too long or not printable.
    """
    odd = [name for name in classes if not (name.isprintable() and len(name) <= _LONGEST_NAME)]
    if odd:
        raise DataError(
            f"classes must have names of at most {_LONGEST_NAME} characters that can be printed, "
            f"but {root} has {odd[0]!r:.60}; rename it"
        )
    given = {image.part for image in images if image.part}
    cut: tuple[Part, ...] = ()
    if "validation" not in given:
        cut = ("validation",) if "testing" in given else ("validation", "testing")
    left: Part | None = None if cut else "training"
    images = [
        replace(image, part=left) if image.part in (None, "training") else image for image in images
    ]
    if all(image.part in ("validation", "testing") for image in images):
        raise DataError(
            f"a data set divided into parts must include images for training, but {root} has only "
            f"those of {' and '.join(sorted(given))}; add them"
        )
    return ImageListing(root, classes, tuple(images), cut, notes)


def hashed_part(digest: str, cut: tuple[Part, ...], validation: float, test: float) -> Part:
    """Return the part of a file by the SHA-1 of its bytes, so that copies stay together.

    The first 16 of its 40 hexadecimal digits, as a fraction of 2^64, are compared with the shares
    of the parts to `cut` besides training.
    """
    position = int(digest[:16], 16) / 2.0**64
    if position < validation:
        return "validation" if "validation" in cut else "training"
    if position < validation + test:
        return "testing" if "testing" in cut else "training"
    return "training"


def _find_root(path: Path) -> Path:
    inside = _folders(path)
    if len(inside) == 1 and inside[0].name.lower() not in PARTS_BY_NAME and _folders(inside[0]):
        return inside[0]
    return path


def _folders(path: Path) -> list[Path]:
    return sorted(each for each in path.iterdir() if each.is_dir() and not _hidden(each.name))


def _files(path: Path) -> list[Path]:
    return sorted(
        each
        for each in path.rglob("*")
        if each.is_file()
        and not each.name.startswith(".")
        and not any(map(_hidden, each.relative_to(path).parts[:-1]))
    )


def _hidden(folder: str) -> bool:
    """Whether a folder's name hides it: thumbnails, checkpoints, an archive's extras."""
    return folder.startswith((".", "_"))
