"""Images as a data set: parts, copies, damaged files, augmentation, and the packaged sample."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import functional as reference

from micronas.data import divide
from micronas.errors import ConfigError, DataError
from micronas.runs.settings import load_run
from micronas.tasks.images.augment import augment, resample
from micronas.tasks.images.check import check
from micronas.tasks.images.folder import open_image_folder
from micronas.tasks.images.load import load
from micronas.tasks.images.settings import ImageSettings, VisualSettings
from micronas.tasks.images.synth import sample_grounds, sample_images
from micronas.tflite.metadata import describe
from micronas.train.loop import generator_for


def photo(seed: int) -> Image.Image:
    levels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3))
    return Image.fromarray(levels.astype(np.uint8))


def write(folder: Path, count: int, first: int = 0) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i}.png" for i in range(first, first + count)]
    for seed, path in enumerate(paths, first):
        photo(seed).save(path)
    return paths


def plain(path: Path, **more: Any) -> VisualSettings:
    return VisualSettings.model_validate({"path": path, "size": 32, **more})


def still(*, flip: bool = False, **more: Any) -> VisualSettings:
    """Settings that augment nothing, except what is named."""
    off = {"smallest_crop": 1.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0}
    augment = ("crop", "colour", *(["flip"] if flip else []))
    return VisualSettings.model_validate(
        {"path": ".", "size": 32, "augment": augment, **off, **more}
    )


def test_features_are_the_pixels(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        write(tmp_path / part / "person", 2)
        write(tmp_path / part / "non_person", 3, first=10)
    data = load(plain(tmp_path, color="rgb"))
    assert data.classes == ("non_person", "person")
    assert data.input == (32, 32, 3)
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1]
    assert data.test is not None
    features = data.validation.batch(torch.tensor([3, 0]), None)
    for feature, seed in zip(features, (0, 10), strict=True):
        expected = (np.asarray(photo(seed)).astype(np.float32) - 128) / 128
        assert np.array_equal(feature.numpy(), expected.transpose(2, 0, 1))
    assert data.meaning["mean"] == 128
    assert data.meaning["scale"] == 1 / 128
    describe(classes=data.classes, meaning=data.meaning)


def test_annotations_beside_another_folder_are_named(tmp_path: Path) -> None:
    listed = [{"id": 1, "file_name": "far/a.png", "width": 9, "height": 9}]
    known = {"images": listed, "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    (tmp_path / "a.json").write_text(json.dumps(known))
    with pytest.raises(
        DataError, match=r"none of 1 is; the first: an image must be a file .*far/a"
    ):
        load(plain(tmp_path, annotations=str(tmp_path / "a.json")))


def test_copies_stay_together(tmp_path: Path) -> None:
    paths = write(tmp_path / "person", 60) + write(tmp_path / "non_person", 60, first=100)
    for path in paths[::3]:
        path.with_name(f"copy_{path.name}").write_bytes(path.read_bytes())
    data = load(plain(tmp_path))
    assert data.test is not None
    digests = {
        int.from_bytes(hashlib.sha1(path.read_bytes()).digest()[:8], "big") for path in paths
    }
    expected = [
        sum(low <= digest / 2**64 < high for digest in digests)
        for low, high in ((0.2, 1.0), (0.0, 0.1), (0.1, 0.2))
    ]
    groups = [set(part.groups.tolist()) for part in (data.train, data.validation, data.test)]
    assert [len(group) for group in groups] == expected
    assert len(set.union(*groups)) == 120, "no group is in two parts"
    weights, gates = divide(data.train, (0.5, 0.5), torch.Generator().manual_seed(0))
    assert not set(weights.groups.tolist()) & set(gates.groups.tolist())


def test_classes_that_a_mirror_may_exchange_are_named(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for label in ("turn_left", "Right", "bright"):
            write(tmp_path / part / label, 1)
    summary = load(ImageSettings(path=tmp_path, size=32)).summary
    assert "mirrored, but of Right, turn_left a mirror image may be another class" in summary
    assert "mirrored" not in load(ImageSettings(path=tmp_path, size=32, augment=("crop",))).summary


def test_files_in_two_parts_or_classes_are_counted(tmp_path: Path) -> None:
    for part, first in (("train", 0), ("val", 20)):
        write(tmp_path / part / "person", 4, first=first)
        write(tmp_path / part / "non_person", 4, first=first + 10)
    summary = load(plain(tmp_path)).summary
    assert "two parts" not in summary
    assert "two classes" not in summary
    photo(1).save(tmp_path / "val/person/leak.png")
    photo(2).save(tmp_path / "train/non_person/both.png")
    summary = load(plain(tmp_path)).summary
    assert "1 files are in two parts: accuracy will look too good." in summary
    assert "1 files are under two classes." in summary
    assert "There is no test part." in summary


def test_damaged_files_are_left_out_and_named(tmp_path: Path) -> None:
    for label, level in (("dark", 30), ("light", 220)):
        for i in range(40):
            path = tmp_path / label / f"{i}.png"
            path.parent.mkdir(exist_ok=True)
            noise = np.random.default_rng(i).integers(-20, 20, (32, 32))
            Image.fromarray((level + noise).astype(np.uint8)).save(path)
    # 5 % of the files.
    (tmp_path / "dark/0.png").write_bytes(b"")
    (tmp_path / "dark/1.png").write_bytes((tmp_path / "dark/2.png").read_bytes()[:300])
    (tmp_path / "light/0.png").write_bytes(b"a text")
    photo(0).resize((8, 8)).save(tmp_path / "light/1.png")
    data = load(plain(tmp_path))
    assert "76 images" in data.summary
    assert "Left out: 4 files" in data.summary
    for name in ("dark/0.png", "dark/1.png", "light/0.png", "light/1.png"):
        assert name in data.summary
    found = {(each.kind, each.name) for each in check(open_image_folder(tmp_path))}
    assert found == {
        ("unreadable", "dark/0.png"),
        ("unreadable", "dark/1.png"),
        ("unreadable", "light/0.png"),
        ("short", "light/1.png"),
    }


def test_a_class_without_images_is_named(tmp_path: Path) -> None:
    write(tmp_path / "train/person", 3)
    write(tmp_path / "train/non_person", 3, first=10)
    write(tmp_path / "val/person", 3, first=20)
    (tmp_path / "val/non_person").mkdir()
    with pytest.raises(DataError, match=r"must have validation images, but non_person .*fraction"):
        load(plain(tmp_path))
    for path in (tmp_path / "val/person").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="there must be images for validation"):
        load(plain(tmp_path))


def test_cache_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "a/person", 30)
    write(tmp_path / "a/non_person", 30, first=100)
    index = torch.tensor([5, 0, 7])
    expected = load(plain(tmp_path / "a")).train.batch(index, generator_for(0, "x"))
    assert not (tmp_path / "a/.micronas").exists(), "small sets are kept in memory"
    for _ in range(2):
        cached = load(plain(tmp_path / "a", cache=tmp_path / "cache"))
        assert torch.equal(cached.train.batch(index, generator_for(0, "x")), expected)


SETTINGS = st.builds(
    still,
    smallest_crop=st.floats(0.05, 1),
    flip=st.booleans(),
    brightness=st.floats(0, 0.9),
    contrast=st.floats(0, 0.9),
    saturation=st.floats(0, 0.9),
)


@settings(max_examples=30)
@given(SETTINGS, st.sampled_from([1, 3]), st.integers(0, 99))
def test_augmentation_repeats_exactly_and_stays_in_range(
    chosen: VisualSettings, channels: int, seed: int
) -> None:
    pixels = torch.randint(256, (6, channels, 32, 32), generator=generator_for(seed, "p")).float()
    before = pixels.clone()
    first = augment(pixels, generator_for(seed, "a"), chosen)
    assert torch.equal(first, augment(pixels, generator_for(seed, "a"), chosen))
    assert torch.equal(pixels, before)
    assert first.shape == pixels.shape
    assert first.min() >= 0
    assert first.max() <= 255


def test_augmentation_switched_off_is_the_identity() -> None:
    pixels = torch.randint(256, (4, 3, 32, 32), generator=generator_for(0)).float()
    torch.testing.assert_close(
        augment(pixels, generator_for(1), still()), pixels, rtol=0, atol=1e-3
    )


def test_a_mirrored_half() -> None:
    pixels = torch.randint(256, (400, 1, 32, 32), generator=generator_for(0)).float()
    result = augment(pixels, generator_for(1), still(flip=True))
    mirrored = (result - pixels.flip(3)).abs().amax((1, 2, 3)) < 1e-3
    same = (result - pixels).abs().amax((1, 2, 3)) < 1e-3
    assert torch.equal(same, ~mirrored)
    # Five standard deviations of 400 fair draws.
    assert abs(int(mirrored.sum()) - 200) < 50


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_change_as_torchvisions(channels: int) -> None:
    pixels = torch.randint(256, (8, channels, 32, 32), generator=generator_for(0)).float()
    chosen = still(brightness=0.5, contrast=0.7, saturation=0.6)
    result = augment(pixels, generator_for(3), chosen)
    draws = torch.rand(8, 8, generator=generator_for(3))
    for i in range(8):
        brightness = 1 + 0.5 * (2 * draws[5, i].item() - 1)
        contrast = 1 + 0.7 * (2 * draws[6, i].item() - 1)
        expected = reference.adjust_contrast(
            reference.adjust_brightness(pixels[i] / 255, brightness), contrast
        )
        if channels == 3:
            saturation = 1 + 0.6 * (2 * draws[7, i].item() - 1)
            expected = reference.adjust_saturation(expected, saturation)
        # torchvision's luma weights are rounded to four digits.
        torch.testing.assert_close(result[i] / 255, expected, rtol=0, atol=1e-3)


def test_what_is_not_named_is_not_done() -> None:
    pixels = torch.randint(256, (4, 3, 32, 32), generator=generator_for(0)).float()
    for named in ((), "cutmix"):
        chosen = VisualSettings.model_validate({"path": ".", "augment": named})
        assert torch.equal(augment(pixels, generator_for(1), chosen), pixels)
    with pytest.raises(ConfigError, match="augment"):
        load_run("images_open", ["board=pico", "data.path=x", "data.augment=[turn]"])


@pytest.mark.parametrize("mirrored", [False, True])
def test_resampling_is_torchvisions(mirrored: bool) -> None:
    pixels = torch.rand(3, 2, 32, 32, generator=generator_for(0))
    boxes = torch.tensor([[4, 8, 16, 24], [0, 0, 32, 32], [7, 3, 20, 11]])
    result = resample(
        pixels,
        left=boxes[:, 0] / 32,
        top=boxes[:, 1] / 32,
        width=boxes[:, 2] / 32,
        height=boxes[:, 3] / 32,
        mirrored=torch.full((3,), mirrored),
    )
    for i, (left, top, width, height) in enumerate(boxes.tolist()):
        expected = reference.resized_crop(
            pixels[i], top, left, height, width, [32, 32], antialias=False
        )
        # At its very border ours sees what lies outside of the crop.
        inside = (slice(None), slice(3, -3), slice(3, -3))
        ours = result[i].flip(2) if mirrored else result[i]
        torch.testing.assert_close(ours[inside], expected[inside], rtol=0, atol=1e-4)


def test_crops_are_of_the_documented_size_and_inside() -> None:
    # Ramps across and down tell each crop's place and size from two of its pixels.
    ramp = torch.arange(32).float().expand(32, 32)
    pixels = torch.stack([ramp, ramp.T, torch.zeros(32, 32)]).expand(2000, 3, 32, 32)
    result = augment(pixels, generator_for(0), still(smallest_crop=0.35))
    width = (result[:, 0, 16, 21] - result[:, 0, 16, 11]) / 10
    height = (result[:, 1, 21, 16] - result[:, 1, 11, 16]) / 10
    area, aspect = width * height, width / height
    assert 0.35 - 1e-3 < area.min() < 0.36
    assert 0.98 < area.max() < 1 + 1e-3
    assert abs(area.mean() - 0.675) < 0.02
    assert 0.75 - 1e-2 < aspect.min() < 0.77
    assert 1.3 < aspect.max() < 4 / 3 + 1e-2
    centre = result[:, :2, 15:17, 15:17].mean((2, 3)) + 0.5
    for middle, side in zip(centre.T, (width, height), strict=True):
        assert (middle / 32 - side / 2).min() > -1e-3
        assert (middle / 32 + side / 2).max() < 1 + 1e-3


def test_sample_images(tmp_path: Path) -> None:
    folder = sample_images(tmp_path / "faces")
    data = load(plain(folder, size=50))
    assert data.classes == ("face", "no_face")
    assert data.test is not None
    for part, count in ((data.train, 60), (data.validation, 20), (data.test, 20)):
        assert torch.bincount(part.labels).tolist() == [count, count]
    assert check(open_image_folder(folder)) == []
    assert "two parts" not in data.summary
    assert "Labeled Faces in the Wild" in (folder / "README.txt").read_text()
    # faces are brighter in the middle than at the border; the backgrounds are not
    pixels = data.train.batch(torch.arange(120), None)
    middle = pixels[:, 0, 10:40, 10:40].mean((1, 2)) - pixels.mean((1, 2, 3))
    assert middle[data.train.labels == 0].mean() > middle[data.train.labels == 1].mean() + 0.05
    # another seed is another division, and replaces none
    with pytest.raises(DataError, match="free folder"):
        sample_images(folder, seed=1)
    names = {
        seed: sorted(
            path.name for path in sample_images(tmp_path / seed, seed=int(seed)).rglob("test/*/*")
        )
        for seed in ("0", "1")
    }
    assert names["0"] == sorted(path.name for path in folder.rglob("test/*/*"))
    assert names["0"] != names["1"]


@pytest.mark.long
def test_grounds_share_no_pixel_between_parts(tmp_path: Path) -> None:
    folder = sample_grounds(tmp_path / "grounds")
    data = load(ImageSettings(path=folder, size=64))
    assert data.classes == ("brick", "grass", "gravel")
    assert data.test is not None
    counts = [len(part.labels) for part in (data.train, data.validation, data.test)]
    assert counts == [3 * 112, 3 * 28, 3 * 42]
    assert check(open_image_folder(folder)) == []
    tiles = {}
    for part in ("train", "validation", "test"):
        rows = (Image.open(path) for path in sorted((folder / part / "gravel").iterdir()))
        tiles[part] = {np.asarray(tile)[y].tobytes()[:32] for tile in rows for y in range(64)}
    assert not tiles["train"] & (tiles["validation"] | tiles["test"])
    assert not tiles["validation"] & tiles["test"]


def test_a_csv_labels_images_anywhere(tmp_path: Path) -> None:
    write(tmp_path / "shots", 8)
    lines = ["file,label,split", *(f"shots/{i}.png,{'ab'[i % 2]}," for i in range(4))]
    lines += ["shots/4.png,a,val", "shots/5.png,b,val", "shots/6.png,,", "gone.png,a,train"]
    lines += ["shots/7.png,a,test", "shots/1.png,b,test"]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    data = load(ImageSettings(path=tmp_path / "labels.csv", size=32))
    assert data.classes == ("a", "b")
    assert data.train.labels.tolist() == [0, 1, 0, 1]
    assert data.validation.labels.tolist() == [0, 1]
    assert "Lines without a label: 1." in data.summary
    assert "Left out: 1 files" in data.summary
    assert "gone.png" in data.summary
    for text, said in (
        ("file,name\nx.png,a", "the columns file and label, separated by .* has file, name"),
        ("file,label\nx.png,a\nold,new.png,b", "line 3 has more; put names with commas in quotes"),
        ("file,label\nx.png,a", "at least two classes, but .* has a"),
        ("file,label\nx.png,a\ny.png,nan", "a label must not be missing, but .* has 'nan'"),
        ("file,label\nx.png,1\ny.png,1.0", "spelt one way as a label, but .* '1' and '1.0'"),
        ("file,label,part\nx.png,a,odd", "line 2 has 'odd'"),
        ("file,label,part\nx.png,a,test\ny.png,b,test", "must include images for training"),
        ("", "has none"),
        ("file,label\nx.png,a\ny.png," + 300 * "b", "at most 200 characters"),
        ("file,label\nx.png,a\n\0.png,b", "none of 2 is; the first"),
    ):
        (tmp_path / "labels.csv").write_text(text)
        with pytest.raises(DataError, match=said):
            load(ImageSettings(path=tmp_path / "labels.csv", size=32))
