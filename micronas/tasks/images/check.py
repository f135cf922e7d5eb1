"""Check a folder of images for faults."""

import hashlib
import io
from collections import Counter

import numpy as np
from PIL import Image

from micronas.errors import DataError
from micronas.tasks.images.files import Box, cut_out, decode, read_file, refuse_another_size
from micronas.tasks.images.folder import ImageListing, LabelledImage
from micronas.tasks.parts import Part
from micronas.tasks.spelling import same_but_for_case
from micronas.tasks.task import Finding

_IMBALANCE = 10
"""Ratio of the images of two classes above which `check` reports an imbalance."""
_FEWEST_LEVELS = 20
_FLAT = f"spans under {_FEWEST_LEVELS} of 256 levels; spread those of 10 to 14 bits over 16"


def check(listing: ImageListing) -> list[Finding]:
    """Find faults of a set of images, each once for all boxes of an image; decodes every file.

    Kinds: ``unreadable`` (cannot be decoded, or is not as large as its annotations say), ``short``
    (under 16 pixels on a side), ``flat`` (16 bits without contrast), ``mislabelled`` (the same file
    under two classes), ``duplicate`` (the same file in two parts), ``spelling`` (classes that
    differ in case or spaces), ``empty`` (a class without a readable image in a part) and
    ``imbalance`` (a class with less than a tenth of the images that another has in the part).
    """
    findings: list[Finding] = []
    first: dict[tuple[str, Box | None], LabelledImage] = {}
    readable: Counter[tuple[Part | None, str]] = Counter()
    for image in listing.images:
        try:
            data = read_file(image.path)
            decoded = decode(data, image.path)
            refuse_another_size(decoded, image.box, image.path)
        except DataError as error:
            findings.append(Finding("unreadable", image.name, str(error)))
            continue
        try:
            cut_out(decoded, image.box, image.path)
        except DataError as error:
            # a file of boxes has thousands of small ones
            text = str(error) if image.box is None else "has smaller boxes than 16x16: left out"
            findings.append(Finding("short", image.name, text))
            continue
        with Image.open(io.BytesIO(data)) as opened:
            if opened.mode.startswith("I") and np.ptp(np.asarray(decoded)) < _FEWEST_LEVELS:
                findings.append(Finding("flat", image.name, _FLAT))
        readable[image.part, image.label] += 1
        digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        other = first.setdefault((digest, image.box), image)
        where = f"in {image.label}{_within(image.part)}, same as {other.name}"
        if other.label != image.label:
            findings.append(Finding("mislabelled", image.name, where))
        elif other.part != image.part:
            findings.append(Finding("duplicate", image.name, where))
    findings += [
        Finding("spelling", listing.root.name, line) for line in same_but_for_case(listing.classes)
    ]
    for part in dict.fromkeys(image.part for image in listing.images):
        most = max(listing.classes, key=lambda label: readable[part, label])
        for label in listing.classes:
            count, within = readable[part, label], _within(part)
            if count == 0:
                findings.append(Finding("empty", label, f"no readable image{within}"))
            elif _IMBALANCE * count < readable[part, most]:
                text = f"{count} images{within} against {readable[part, most]} of {most}"
                findings.append(Finding("imbalance", label, f"{text}, more than 1:{_IMBALANCE}"))
    return [*dict.fromkeys(findings)]


def _within(part: Part | None) -> str:
    return f" for {part}" if part else ""
