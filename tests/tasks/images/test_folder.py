"""Which image is of which class and part, and what `check` finds."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from micronas.errors import DataError
from micronas.tasks.images.check import check
from micronas.tasks.images.folder import hashed_part, open_image_folder


def write(path: Path, seed: int, size: tuple[int, int] = (20, 20)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng(seed).integers(0, 256, size).astype(np.uint8)
    Image.fromarray(levels).save(path)


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def parts(root: Path) -> dict[str, tuple[str, str | None]]:
    return {each.name: (each.label, each.part) for each in open_image_folder(root).images}


def test_folders_are_classes(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *("person/_DSC1.JPG", "person/deep/a.png", "non_person/c.jpeg", "empty/x.txt"),
        *("_notes/d.png", ".git/e.png", "person/._b.jpg", "person/Thumbs.db"),
        *("person/.ipynb_checkpoints/b-checkpoint.png", "person/deep/_old/a.png"),
    )
    listing = open_image_folder(tmp_path)
    assert listing.classes == ("empty", "non_person", "person")
    assert listing.cut == ("validation", "testing")
    assert parts(tmp_path) == {
        "non_person/c.jpeg": ("non_person", None),
        "person/_DSC1.JPG": ("person", None),
        "person/deep/a.png": ("person", None),
    }
    assert listing.notes == (
        "Files that are no images by their name: 2.",
        "Folders hidden by an underscore: _notes.",
    )


def test_only_subfolder_is_the_root(tmp_path: Path) -> None:
    touch(tmp_path, "archive/train/cat/a.png", "archive/train/dog/b.png")
    listing = open_image_folder(tmp_path)
    assert listing.root == tmp_path / "archive"
    assert listing.cut == ("validation", "testing")


@pytest.mark.parametrize(
    ("folders", "expected", "cut"),
    [
        (("train", "val", "test"), ("training", "validation", "testing"), ()),
        (("train", "validation"), ("training", "validation"), ()),
        (("Train", "test"), (None, "testing"), ("validation",)),
        (("training",), (None,), ("validation", "testing")),
    ],
)
def test_parts(tmp_path: Path, folders: tuple, expected: tuple, cut: tuple) -> None:
    for folder in folders:
        touch(tmp_path, f"{folder}/cat/a.png", f"{folder}/dog/b.png")
    found = parts(tmp_path)
    for folder, part in zip(folders, expected, strict=True):
        assert found[f"{folder}/cat/a.png"] == ("cat", part)
    assert open_image_folder(tmp_path).cut == cut


def test_parts_may_stand_below_classes(tmp_path: Path) -> None:
    """Pictures that a user kept for test were divided by their hash, into training too."""
    touch(tmp_path, "cat/Train/a.png", "cat/test/b.png", "dog/train/a/c.png", "dog/test.png")
    assert parts(tmp_path) == {
        "cat/Train/a.png": ("cat", None),  # validation is cut from training
        "cat/test/b.png": ("cat", "testing"),
        "dog/train/a/c.png": ("dog", None),
        "dog/test.png": ("dog", None),
    }
    assert open_image_folder(tmp_path).cut == ("validation",)


def test_a_class_beside_the_parts_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/a.png", "train/dog/b.png", "bird/c.png", "_notes/x.png")
    listing = open_image_folder(tmp_path)
    assert listing.classes == ("cat", "dog")
    assert listing.notes == ("Folders beside the parts, not read: bird.",)


def test_not_a_folder_of_classes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        open_image_folder(tmp_path / "gone")
    touch(tmp_path, "a/person/x.png", "b.png")
    with pytest.raises(DataError, match="1 classes and 1 images"):
        open_image_folder(tmp_path / "a")
    with pytest.raises(DataError, match=r"b\.png is a file"):
        open_image_folder(tmp_path / "b.png")
    touch(tmp_path / "c", "val/cat/x.png", "val/dog/x.png", "test/cat/x.png")
    with pytest.raises(DataError, match="must include images for training"):
        open_image_folder(tmp_path / "c")


@given(st.binary(), st.floats(0.05, 0.4), st.floats(0.05, 0.4))
def test_hash_decides_alone(content: bytes, validation: float, test: float) -> None:
    digest = hashlib.sha1(content).hexdigest()
    part = hashed_part(digest, ("validation", "testing"), validation, test)
    share = int.from_bytes(hashlib.sha1(content).digest()[:8], "big") / 2**64
    if share < validation:
        assert part == "validation"
    else:
        assert part == ("testing" if share < validation + test else "training")
    # A part that is not cut leaves its images for training, the others where they are.
    assert (hashed_part(digest, ("validation",), validation, test) == "validation") == (
        part == "validation"
    )
    assert hashed_part(digest, (), validation, test) == "training"


def test_check_finds_it_all(tmp_path: Path) -> None:
    for i in range(23):
        write(tmp_path / f"train/cat/{i}.png", i)
    write(tmp_path / "train/dog/0.png", 100)
    write(tmp_path / "train/dog/1.png", 101)
    write(tmp_path / "train/dog/tiny.png", 102, (15, 40))
    (tmp_path / "train/dog/none.png").touch()
    (tmp_path / "train/dog/half.png").write_bytes((tmp_path / "train/dog/0.png").read_bytes()[:200])
    (tmp_path / "train/bird").mkdir()
    for name in ("cat", "dog", "bird"):
        write(tmp_path / f"val/{name}/0.png", 200 + len(name))
    write(tmp_path / "val/cat/leak.png", 5)
    write(tmp_path / "val/cat/again.png", 203)
    write(tmp_path / "val/dog/cat.png", 203)
    found = sorted((each.kind, each.name, each.text) for each in check(open_image_folder(tmp_path)))
    texts = {name: text for _, name, text in found}
    assert [(kind, name) for kind, name, _ in found] == [
        ("duplicate", "val/cat/leak.png"),
        ("empty", "bird"),
        ("imbalance", "dog"),
        ("mislabelled", "val/dog/0.png"),
        ("mislabelled", "val/dog/cat.png"),
        ("short", "train/dog/tiny.png"),
        ("unreadable", "train/dog/half.png"),
        ("unreadable", "train/dog/none.png"),
    ]
    assert texts["val/cat/leak.png"] == "in cat for validation, same as train/cat/5.png"
    assert texts["val/dog/cat.png"] == "in dog for validation, same as val/cat/0.png"
    assert texts["bird"] == "no readable image for training"
    assert texts["dog"] == "2 images for training against 23 of cat, more than 1:10"
    assert "40x15" in texts["train/dog/tiny.png"]


def test_levels_of_twelve_bits_in_sixteen_are_found(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 4096, (20, 20)).astype(np.uint16)
    for name, factor in (("cat", 1), ("dog", 16)):
        (tmp_path / name).mkdir()
        Image.fromarray(levels * np.uint16(factor)).save(tmp_path / name / "a.png")
    (found,) = check(open_image_folder(tmp_path))
    assert (found.kind, found.name) == ("flat", "cat/a.png")


def test_classes_spelt_in_two_ways_are_found(tmp_path: Path) -> None:
    for i, label in enumerate(("cat", "Cat", "dog")):
        write(tmp_path / label / "0.png", i)
    (found,) = check(open_image_folder(tmp_path))
    assert (found.kind, found.text) == (
        "spelling",
        "Classes that differ in spelling only: Cat and cat.",
    )


def test_check_is_silent_on_good_data(tmp_path: Path) -> None:
    for i in range(10):
        write(tmp_path / f"cat/{i}.png", i)
    write(tmp_path / "dog/0.png", 100)
    # Ten to one is still fine, and so is a copy beside its original.
    write(tmp_path / "dog/copy.png", 100)
    assert check(open_image_folder(tmp_path)) == []
