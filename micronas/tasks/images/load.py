"""Pictures as a data set: folders of classes, a CSV of labels, or COCO."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from micronas.data import DataSet, Split
from micronas.errors import DataError
from micronas.tasks.images.augment import augment
from micronas.tasks.images.coco import open_boxes, open_wake
from micronas.tasks.images.files import ReadImages, read_images
from micronas.tasks.images.folder import ImageListing, LabelledImage, hashed_part, open_image_folder
from micronas.tasks.images.front_end import MIDDLE, features
from micronas.tasks.images.labels import open_labels
from micronas.tasks.images.settings import ImageSettings, PictureSettings, VisualSettings
from micronas.tasks.images.statistics import statistics
from micronas.tasks.parts import PARTS, Part, in_two
from micronas.tasks.rows import Rows
from micronas.tasks.spelling import same_but_for_case
from micronas.text import listed
from micronas.views import Pixels

_LARGE = 256 * 2**20
_SIDES = {"left", "right"}
_MORE = (
    "add images, divide them into the folders train, validation and test, or, where a hash divides "
    "them, raise data.validation_fraction or data.test_fraction"
)


class _ImageSplit(Split):
    """One part: pixels in memory or mapped from disk, turned into features batch by batch.

    Pixels are uint8 [M, channels, size, size]; `rows` int64 [N] are those of the examples, and
    `labels` and `groups` int64 [N]: copies of a file are one group.
    """

    def __init__(
        self,
        pixels: Rows,
        *,
        rows: Tensor,
        labels: Tensor,
        groups: Tensor,
        settings: PictureSettings,
    ) -> None:
        self.labels = labels
        self.groups = groups
        self._pixels = pixels
        self._rows = rows
        self._settings = settings
        self.cutmix = "cutmix" in settings.augment

    def batch(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return features as float32 [n, channels, size, size] in [-1, 1]; see `augment`."""
        pixels = self._pixels[self._rows[index]].float()
        if generator is not None:
            pixels = augment(pixels, generator, self._settings)
        return features(pixels)


def load(settings: ImageSettings | VisualSettings) -> DataSet:
    """Read folders of images, images labelled by a CSV file, or COCO's with their annotations.

    See `micronas.tasks.images.folder.open_image_folder`, `micronas.tasks.images.labels.open_labels`
    and `micronas.tasks.images.coco` for finding, labelling and dividing files, and
    `micronas.tasks.images.files` for decoding and resizing. Files that cannot be decoded or are
    smaller than 16 pixels per side are left out and named in the summary. A feature is (pixel -
    128) / 128; inputs are size x size x 1 or 3. The test part is None where parts are given without
    one. Raises DataError if the data is missing or has another layout, or a class has no image in a
    part.
    """
    listing = open_listing(settings)
    read = read_images(
        [image.path for image in listing.images],
        boxes=[image.box for image in listing.images],
        size=settings.size,
        color=settings.color,
        fit=settings.fit,
        cache=_cache_folder(settings, len(listing.images)),
    )
    rows: dict[Part, list[int]] = {part: [] for part in PARTS}
    for row, image in enumerate(listing.images):
        if not read.problems[row]:
            rows[_part(image, read.digests[row], listing, settings)].append(row)
    if all(read.problems):
        raise DataError(
            f"pictures must be readable, but none of {len(read.problems):,} is; "
            f"the first: {read.problems[0]}"
        )
    if not rows["validation"]:
        raise DataError(
            f"there must be images for validation, but {listing.root} has none that can be read; "
            f"{_MORE}"
        )
    label = {name: i for i, name in enumerate(listing.classes)}
    group = {digest: i for i, digest in enumerate(dict.fromkeys(read.digests))}
    pixels = Rows(read.pixels)

    def split(part: Part) -> _ImageSplit:
        labels = [label[listing.images[row].label] for row in rows[part]]
        empty = [name for name, i in label.items() if i not in labels]
        if empty:
            raise DataError(
                f"every class must have {part} images, but {', '.join(empty)} has none that can "
                f"be read in {listing.root}; {_MORE}"
            )
        return _ImageSplit(
            pixels,
            rows=torch.tensor(rows[part]),
            labels=torch.tensor(labels),
            groups=torch.tensor([group[read.digests[row]] for row in rows[part]]),
            settings=settings,
        )

    channels = 1 if settings.color == "gray" else 3
    return DataSet(
        train=split("training"),
        validation=split("validation"),
        test=split("testing") if rows["testing"] else None,
        classes=listing.classes,
        input=(settings.size, settings.size, channels),
        meaning={
            "features": "pixels",
            "color": settings.color,
            "fit": settings.fit,
            "mean": MIDDLE,
            "scale": 1 / MIDDLE,
        },
        summary=_summarise(listing, read, rows, settings),
        statistics=statistics,
        view=Pixels(),
    )


def open_listing(settings: ImageSettings | VisualSettings) -> ImageListing:
    """List the images of a source; raises like `open_image_folder`."""
    if settings.annotations:
        if isinstance(settings, VisualSettings):
            return open_wake(settings)
        return open_boxes(settings)
    if settings.path.suffix.lower() == ".csv":
        return open_labels(settings.path)
    return open_image_folder(settings.path)


def _cache_folder(settings: PictureSettings, images: int) -> Path | None:
    if settings.cache == "off":
        return None
    if isinstance(settings.cache, Path):
        return settings.cache
    large = images * settings.size**2 * (1 if settings.color == "gray" else 3) > _LARGE
    folder = settings.path if settings.path.is_dir() else settings.path.parent
    return folder / ".micronas" if large and os.access(folder, os.W_OK) else None


def _part(
    image: LabelledImage, digest: str, listing: ImageListing, settings: PictureSettings
) -> Part:
    if image.part is not None:
        return image.part
    return hashed_part(
        digest, listing.cut, validation=settings.validation_fraction, test=settings.test_fraction
    )


def _summarise(
    listing: ImageListing, read: ReadImages, rows: dict[Part, list[int]], settings: PictureSettings
) -> str:
    """Return one paragraph on the images read, their division, and those left out."""
    names = np.array([image.label for image in listing.images])
    counts = [
        f"{len(rows[part])} for {part} ("
        + ", ".join(f"{(names[rows[part]] == each).sum()} {each}" for each in listing.classes)
        + ")"
        for part in PARTS
        if rows[part]
    ]
    how = "as given"
    if listing.cut:
        how = f"{' and '.join(listing.cut)} cut by a hash of the files' contents"
    said = [
        f"{sum(map(len, rows.values()))} images in {listing.root}: {'; '.join(counts)}; {how}.",
        f"{settings.size}x{settings.size} {settings.color}, {settings.fit}.",
        *listing.notes,
        *same_but_for_case(listing.classes),
    ]
    if not rows["testing"]:
        said.append("There is no test part.")
    sided = [name for name in listing.classes if _SIDES & {*re.split("[^a-z]+", name.lower())}]
    if sided and "flip" in settings.augment:
        said.append(
            f"Half of the training images are mirrored, but of {listed(sided)} a mirror image may "
            "be another class: leave flip out of data.augment."
        )
    if shared := in_two(*({read.digests[row] for row in rows[part]} for part in PARTS)):
        said.append(f"{shared} files are in two parts: accuracy will look too good.")
    kept = [row for part in PARTS for row in rows[part]]
    shown = [(read.digests[row], listing.images[row].box) for row in kept]
    labels = (listing.images[row].label for row in kept)
    ambiguous = len(set(zip(shown, labels, strict=True))) - len(set(shown))
    if ambiguous:
        said.append(f"{ambiguous} files are under two classes.")
    said.extend(_problems(read.problems))
    return " ".join(said)


def _problems(problems: Sequence[str]) -> list[str]:
    found = [problem for problem in problems if problem]
    if not found:
        return []
    first = "; ".join([*found[:5], *(["..."] if len(found) > 5 else [])])
    return [f"Left out: {len(found)} files ({first})."]
