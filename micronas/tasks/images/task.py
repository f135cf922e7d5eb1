"""The task ``vww``: visual wake words on COCO, or on one's own folders of images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from micronas.tasks.download import Archive
from micronas.tasks.images.settings import SMALLEST, VisualSettings
from micronas.tasks.task import Finding, Task

if TYPE_CHECKING:
    from micronas.data import DataSet

_COCO = "http://images.cocodataset.org"


class _Images(Task[VisualSettings]):
    settings = VisualSettings
    # COCO 2014 (images of various licences); the ETag and MD5 sums that several loaders state.
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

    def load(self, settings: VisualSettings) -> "DataSet":
        from micronas.tasks.images.load import load

        return load(settings)

    def reading(self, inputs: Sequence[tuple[int, int, int]]) -> Mapping[str, object]:
        heights, widths, channels = zip(*inputs, strict=True)
        size = max(SMALLEST, *heights, *widths)
        return {"size": size, "color": "gray" if max(channels) == 1 else "rgb"}

    def known_of(self, settings: VisualSettings) -> Mapping[str, object]:
        return {"features": "pixels", "fit": settings.fit}

    def check(self, settings: VisualSettings) -> list[Finding]:
        from micronas.tasks.images.check import check
        from micronas.tasks.images.load import open_listing

        return check(open_listing(settings))

    def sample(self, folder: Path, *, seed: int = 0) -> str:
        from micronas.tasks.images.synth import sample_images

        sample_images(folder, seed=seed)
        return "200 small crops of photographs, faces or not, for trying the tool"


TASK = _Images()
