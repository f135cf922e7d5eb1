"""The visual wake words rule, and boxes as examples, on annotations written by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from micronas.errors import DataError
from micronas.tasks.images.check import check
from micronas.tasks.images.coco import open_boxes, open_wake
from micronas.tasks.images.files import cut_out, read_images
from micronas.tasks.images.load import load
from micronas.tasks.images.settings import ImageSettings, VisualSettings

PERSON, DOG = 1, 18


def image(identity: int) -> dict[str, Any]:
    return {"id": identity, "file_name": f"{identity}.png", "width": 200, "height": 100}


def annotation(identity: int, area: float | None, category: int = PERSON, **more: Any) -> dict:
    entry = {"image_id": identity, "category_id": category, "bbox": [0, 0, 20, 10], **more}
    return entry if area is None else {**entry, "area": area}


def write(path: Path, images: list[dict], annotations: list[dict]) -> Path:
    categories = [{"id": PERSON, "name": "person"}, {"id": DOG, "name": "dog"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def labels(settings: VisualSettings) -> dict[str, str]:
    return {each.name: each.label for each in open_wake(settings).images}


def test_rule(tmp_path: Path) -> None:
    # 0.5 % of 200 x 100 is 100 square pixels.
    annotations = [
        annotation(1, 100.0),
        annotation(2, 100.5),
        annotation(3, 60.0),
        annotation(3, 60.0),
        annotation(4, 9000.0, DOG),
        annotation(5, 50.0),
        annotation(5, 500.0, iscrowd=1),
        annotation(6, 50.0, bbox=[0, 0, 200, 100]),
        annotation(7, None),
        annotation(99, 5000.0),
    ]
    file = write(
        tmp_path / "instances_train2014.json", [image(i) for i in range(1, 9)], annotations
    )
    assert labels(VisualSettings(path=tmp_path, annotations=(file,))) == {
        "1.png": "non_person",  # exactly at the threshold
        "2.png": "person",
        "3.png": "non_person",  # areas do not add up
        "4.png": "non_person",  # a large dog
        "5.png": "person",  # a crowd counts
        "6.png": "non_person",  # the outline counts, not the box
        "7.png": "person",  # without an outline the box of 20 x 10 does
        "8.png": "non_person",  # no annotation at all
    }
    dogs = labels(VisualSettings(path=tmp_path, annotations=(file,), category="dog"))
    assert [name for name, label in dogs.items() if label == "dog"] == ["4.png"]
    strict = labels(VisualSettings(path=tmp_path, annotations=(file,), smallest=0.006))
    assert [name for name, label in strict.items() if label == "person"] == ["5.png", "7.png"]


def test_parts(tmp_path: Path) -> None:
    train = write(tmp_path / "instances_train2014.json", [image(1), image(2)], [])
    val = write(tmp_path / "instances_val2014.json", [image(3), image(4)], [])
    ids = tmp_path / "mscoco_minival_ids.txt"
    ids.write_text("2\n4\n")

    def parts(*files: Path, minival: Path | None = None) -> dict[str, str | None]:
        settings = VisualSettings(path=tmp_path, annotations=files, minival=minival)
        return {each.name[0]: each.part for each in open_wake(settings).images}

    assert parts(train, val) == {
        "1": "training",
        "2": "training",
        "3": "validation",
        "4": "validation",
    }
    assert parts(train, val, minival=ids) == {
        "1": "training",
        "2": "validation",
        "3": "training",
        "4": "validation",
    }
    assert parts(train) == {"1": None, "2": None}
    with pytest.raises(DataError, match=r"ids\.txt has none of instances_other\.json"):
        parts(write(tmp_path / "instances_other.json", [image(9)], []), minival=ids)
    with pytest.raises(DataError, match="must include images for training"):
        parts(val)


def test_load_from_the_folder_named_like_the_file(tmp_path: Path) -> None:
    for part, first in (("train2014", 0), ("val2014", 10)):
        (tmp_path / part).mkdir()
        for i in range(first, first + 4):
            pixels = np.full((100, 200, 3), i, np.uint8)
            Image.fromarray(pixels).save(tmp_path / part / f"{i}.png")
        seen = [image(i) for i in range(first, first + 5)]
        write(tmp_path / f"a/instances_{part}.json", seen, [annotation(first, 1000.0)])
    files = tuple(sorted((tmp_path / "a").glob("*.json")))
    data = load(VisualSettings(path=tmp_path, annotations=files, size=32))
    assert data.classes == ("non_person", "person")
    assert data.train.labels.tolist() == [1, 0, 0, 0]
    assert data.validation.labels.tolist() == [1, 0, 0, 0]
    assert data.test is None
    assert "Left out: 2 files" in data.summary
    assert "4.png" in data.summary
    assert "person where one covers more than 0.50% of the image" in data.summary


def test_boxes_are_cut_out(tmp_path: Path) -> None:
    """Each image is dark to the left and light to the right: what a box holds is its colour."""
    for i in range(12):
        pixels = np.full((100, 200), 40 + i, np.uint8)
        pixels[:, 100:] = 200 + i
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    boxes = [
        *(annotation(i, 1.0, PERSON, bbox=[10, 5, 60, 90]) for i in range(12)),
        *(annotation(i, 1.0, DOG, bbox=[120, 50, 300, 300]) for i in range(12)),  # cut off
        annotation(0, 1.0, DOG, bbox=[120, 0, 8, 8]),  # too small to show anything
        annotation(1, 1.0, PERSON, iscrowd=1, bbox=[0, 0, 200, 100]),
        annotation(99, 1.0, PERSON),
    ]
    file = write(tmp_path / "instances.json", [image(i) for i in range(12)], boxes)
    listing = open_boxes(ImageSettings(path=tmp_path, annotations=(file,)))
    assert len(listing.images) == 25
    assert listing.cut == ("validation", "testing")
    settings = ImageSettings(
        path=tmp_path,
        annotations=(file,),
        size=32,
        augment=(),
        validation_fraction=0.3,
        test_fraction=0.2,
    )
    data = load(settings)
    assert data.classes == ("dog", "person")
    assert "Left out: 1 files" in data.summary
    assert "two classes" not in data.summary
    groups = [set(part.groups.tolist()) for part in (data.train, data.validation)]
    assert not groups[0] & groups[1], "boxes of an image stay together"
    seen = data.train.batch(torch.arange(len(data.train.labels)), None)
    levels = seen.amin((1, 2, 3)) * 128 + 128
    assert torch.equal(levels >= 200, data.train.labels == 0)
    assert torch.equal(seen.amin((1, 2, 3)), seen.amax((1, 2, 3))), "nothing else is seen"
    assert [str(each) for each in check(listing)] == [
        "short: 0.png: has smaller boxes than 16x16: left out"
    ]
    dogs = settings.model_copy(update={"categories": ("dog",)})
    with pytest.raises(DataError, match=r"at least two categories, but .* have those of dog"):
        open_boxes(dogs)
    with pytest.raises(DataError, match=r"has no cat; it has dog, person"):
        open_boxes(settings.model_copy(update={"categories": ("cat", "dog")}))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"images": [], "annotations": [], "categories": []}',
        b'{"images": [1], "annotations": [], "categories": [{"name": "person", "id": 1}]}',
        b'{"images": [{"id": 1, "file_name": "a", "width": 0, "height": 5}], "categories": '
        b'[{"name": "person", "id": 1}], "annotations": '
        b'[{"image_id": 1, "category_id": 1, "area": 5}]}',
        b'{"images": [{"id": 1, "file_name": "a", "width": 5, "height": 5}], "categories": '
        b'[{"name": "person", "id": 1}], "annotations": '
        b'[{"image_id": 1, "category_id": 1, "area": "large"}]}',
        b"\xff\xfe" * 50,
        b"[" * 100_000,
    ],
)
def test_damaged_annotations_are_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "instances_train2014.json"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"instances_train2014\.json") as caught:
        open_wake(VisualSettings(path=tmp_path, annotations=(file,)))
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError):
        open_boxes(ImageSettings(path=tmp_path, annotations=(file,)))


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ([float("nan"), 0, 20, 20], "a box is"),
        ([0, 0, float("inf"), 20], "a box is"),
        (["a", 0, 20, 20], "could not convert"),
        ([0, 0, 20], "not enough values"),
    ],
)
def test_boxes_that_are_none_are_named(tmp_path: Path, box: list[Any], said: str) -> None:
    file = write(tmp_path / "instances.json", [image(1)], [annotation(1, 1.0, bbox=box)])
    with pytest.raises(DataError, match=said):
        open_boxes(ImageSettings(path=tmp_path, annotations=(file,)))


@pytest.mark.parametrize(
    ("box", "size"),
    [
        ((10, 20, 30, 60), (20, 40)),
        ((-5, -5, 1e12, 1e12), (200, 100)),
        ((10, 20, 30, 60, 200.0, 100.0), (20, 40)),
    ],
)
def test_boxes_are_cut_off_at_the_border(box: tuple[float, ...], size: tuple[int, int]) -> None:
    assert cut_out(Image.new("L", (200, 100)), box, "a.png").size == size


@pytest.mark.parametrize(
    ("box", "at"), [((1e12, 1e12, 1e13, 1e13), "199, 99"), ((50, 50, 20, 20), "50, 50")]
)
def test_an_empty_box_is_named_with_its_place(box: tuple[float, ...], at: str) -> None:
    with pytest.raises(DataError, match=rf"the box at {at} of a\.png is 1x1"):
        cut_out(Image.new("L", (200, 100)), box, "a.png")


def test_numbers_of_images_may_begin_anew_in_each_file(tmp_path: Path) -> None:
    files = []
    for part in ("train", "val"):
        (tmp_path / part).mkdir()
        for i in range(3):
            Image.new("L", (200, 100)).save(tmp_path / part / f"{i}.png")
        seen = [annotation(i, 1e4, kind, bbox=[0, 0, 50, 50]) for i in range(3) for kind in (1, 18)]
        images = [image(i) for i in range(3)]
        files.append(write(tmp_path / f"instances_{part}.json", images, seen))
    for listing in (
        open_boxes(ImageSettings(path=tmp_path, annotations=tuple(files))),
        open_wake(VisualSettings(path=tmp_path, annotations=tuple(files))),
    ):
        parts = {(each.path.parent.name, each.part, each.name) for each in listing.images}
        assert parts == {
            (folder, part, f"{i}.png")
            for folder, part in (("train", "training"), ("val", "validation"))
            for i in range(3)
        }


def test_images_of_two_files_are_counted(tmp_path: Path) -> None:
    files = []
    for part, numbers in (("train", (0, 1)), ("val", (1, 2))):
        seen = [annotation(i, 1e4, kind) for i in numbers for kind in (1, 18)]
        files.append(write(tmp_path / f"{part}.json", [image(i) for i in numbers], seen))
    for listing in (
        open_boxes(ImageSettings(path=tmp_path, annotations=tuple(files))),
        open_wake(VisualSettings(path=tmp_path, annotations=tuple(files))),
    ):
        assert listing.notes[1:] == (
            "Images of two annotation files, of which the first counts: 1.",
        )
        parts = {each.name: each.part for each in listing.images}
        assert parts == {"0.png": "training", "1.png": "training", "2.png": "validation"}


def test_boxes_of_an_image_of_another_size_are_refused(tmp_path: Path) -> None:
    """Such as pictures that were scaled down, or turned by the camera, after labelling."""
    for i, size in enumerate([(200, 100), (100, 50), (100, 200)]):
        Image.new("L", size).save(tmp_path / f"{i}.png")
    boxes = [annotation(i, 1.0, kind, bbox=[0, 0, 40, 40]) for i in range(3) for kind in (1, 18)]
    images = [image(0), image(1), {"id": 2, "file_name": "2.png", "width": None}]
    file = write(tmp_path / "instances.json", images, boxes)
    listing = open_boxes(ImageSettings(path=tmp_path, annotations=(file,)))
    unreadable = {each.name for each in check(listing) if each.kind == "unreadable"}
    assert unreadable == {"1.png"}
    paths, seen = [each.path for each in listing.images], [each.box for each in listing.images]
    problems = read_images(paths, boxes=seen, size=32, color="gray", fit="stretch").problems
    assert [bool(problem) for problem in problems] == [False, False, True, True, False, False]
    assert "must be as large as its annotations say, 200x100, but" in problems[2]
    assert "1.png is 100x50; scale the boxes, or name the original images" in problems[2]


def test_damaged_minival(tmp_path: Path) -> None:
    file = write(tmp_path / "instances_train2014.json", [image(1)], [])
    ids = tmp_path / "ids.txt"
    ids.write_text("1\ntwo\n")
    with pytest.raises(DataError, match="one image id a line"):
        open_wake(VisualSettings(path=tmp_path, annotations=(file,), minival=ids))
