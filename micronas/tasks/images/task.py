"""The tasks ``images``, pictures of any classes, and ``vww``, visual wake words on COCO."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from micronas.tasks.download import Archive
from micronas.tasks.images.settings import SMALLEST, ImageSettings, VisualSettings
from micronas.tasks.task import Finding, Task

if TYPE_CHECKING:
    from micronas.data import DataSet

Kind = TypeVar("Kind", ImageSettings, VisualSettings)
_COCO = "http://images.cocodataset.org"


class _Pictures(Task[Kind]):
    def load(self, settings: Kind) -> "DataSet":
        from micronas.tasks.images.load import load

        return load(settings)

    def input(
        self, settings: Kind, inputs: Sequence[tuple[int, int, int]]
    ) -> tuple[int, int, int] | None:
        asked = self.reading(inputs)
        if (settings.size, settings.color) == (asked["size"], asked["color"]):
            return None
        return settings.size, settings.size, 1 if settings.color == "gray" else 3

    def reading(self, inputs: Sequence[tuple[int, int, int]]) -> Mapping[str, object]:
        heights, widths, channels = zip(*inputs, strict=True)
        size = max(SMALLEST, *heights, *widths)
        return {"size": size, "color": "gray" if max(channels) == 1 else "rgb"}

    def known_of(self, settings: Kind) -> Mapping[str, object]:
        return {"features": "pixels", "fit": settings.fit}

    def check(self, settings: Kind) -> list[Finding]:
        from micronas.tasks.images.check import check
        from micronas.tasks.images.load import open_listing

        return check(open_listing(settings))


class _Images(_Pictures[ImageSettings]):
    settings = ImageSettings

    def sample(self, folder: Path, *, seed: int = 0) -> str:
        from micronas.tasks.images.synth import sample_grounds

        sample_grounds(folder, seed=seed)
        return "tiles of photographs of brick, grass and gravel, for trying the tool"


class _WakeWords(_Pictures[VisualSettings]):
    settings = VisualSettings
    # COCO 2014 (images of various licences); ETag and MD5 sums as in several loaders
    archives = (
        Archive(
            f"{_COCO}/annotations/annotations_trainval2014.zip",
            252_872_794,
            "md5:0a379cfc70b0e71301e0f377548639bd",
            "annotations",
            1_000_000_000,
        ),
        Archive(
            f"{_COCO}/zips/val2014.zip",
            6_645_013_297,
            "md5:a3d79f5ed8d289b7a7554ce06a5782b3",
            "val2014",
            6_900_000_000,
        ),
        Archive(
            f"{_COCO}/zips/train2014.zip",
            13_510_573_713,
            "md5:0da8c0bd3d6becc4dcb32757491aca88",
            "train2014",
            14_000_000_000,
        ),
    )

    def sample(self, folder: Path, *, seed: int = 0) -> str:
        from micronas.tasks.images.synth import sample_images

        sample_images(folder, seed=seed)
        return "200 small crops of photographs, faces or not, for trying the tool"


TASK = _Images()
WAKE_WORDS = _WakeWords()
