"""The keyword data set on small corpora made here, whose samples tell where they come from."""

import os
import resource
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from micronas.data import DataSet
from micronas.errors import DataError
from micronas.runs.settings import load_run
from micronas.tasks.keywords.folder import STANDARD_KEYWORDS
from micronas.tasks.keywords.front_end import LIMIT, mfcc
from micronas.tasks.keywords.load import load
from micronas.tasks.keywords.settings import KeywordSettings, MfccSettings
from micronas.tasks.keywords.split import KeywordSplit
from tests.tasks.keywords.corpus import PARTS, generator, level, make, settings, split_of, write


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("corpus") / "words")


@pytest.fixture
def corpus(made: Path, tmp_path: Path) -> Path:
    """Files of the corpus that a test may replace or take away: links to the same content."""
    return shutil.copytree(made, tmp_path / "corpus", copy_function=os.link)


def test_parts_classes_and_sizes(corpus: Path) -> None:
    data = load(settings(corpus, silence_fraction=0.25, unknown_fraction=0.5))
    assert data.classes == ("a", "b", "silence", "unknown")
    assert data.input == (49, 10, 1)
    assert torch.bincount(data.train.labels).tolist() == [8, 8, 4, 8]
    assert torch.bincount(data.validation.labels).tolist() == [4, 4, 2, 4]
    assert torch.bincount(data.test.labels).tolist() == [4, 4, 2, 4]
    assert "40 for training, 20 for validation, 20 for testing" in data.summary
    assert "80 clips of 5 words by 16 speakers" in data.summary


def test_speakers_are_the_groups_and_disjoint(corpus: Path) -> None:
    data = load(settings(corpus))
    keywords = data.train.labels < 2
    assert sorted(data.train.groups[keywords].tolist()) == sorted([*range(8), *range(8)])
    spoken = data.validation.labels != 2
    assert set(data.validation.groups[spoken].tolist()) <= set(range(8, 12))
    silence = data.train.groups[data.train.labels == 2]
    assert silence.min() >= 16
    assert len(silence.unique()) == len(silence)


@pytest.mark.parametrize("window_ms", [30, 40])
def test_clean_batches_are_the_features_of_the_files(corpus: Path, window_ms: int) -> None:
    data = load(settings(corpus, window_ms=window_ms))
    index = (data.train.labels == 1).nonzero().flatten()
    batch = data.train.batch(index, None)
    assert batch.shape == (8, 1, 49, 10)
    for example, group in zip(batch, data.train.groups[index].tolist(), strict=True):
        sound, _ = soundfile.read(corpus / "b" / f"s{group:02}_1.wav", dtype="float32")
        expected = mfcc(torch.from_numpy(sound).unsqueeze(0), MfccSettings(window_ms))
        torch.testing.assert_close(example, expected)


def test_augmentation_depends_on_the_generator_alone(corpus: Path) -> None:
    data = load(settings(corpus))
    index = torch.arange(len(data.train.labels))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = data.train.batch(index, generator(5))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, data.train.batch(index, generator(5)))
    assert not torch.equal(first, data.train.batch(index, generator(6)))


def test_shift_moves_a_clip_up_to_its_limit_and_fills_with_zeros(corpus: Path) -> None:
    for path in corpus.glob("a/*.wav"):
        write(path, [0] * 8000 + [32000] + [0] * 7999)
    split = split_of(load(settings(corpus, shift_ms=100, noise_probability=0)))
    index = (split.labels == 0).nonzero().flatten().repeat(100)
    waveforms = split.waveforms(index, generator())
    assert waveforms.count_nonzero(1).unique().tolist() == [1]
    positions = waveforms.argmax(1)
    assert 6400 <= positions.min() < 6430
    assert 9570 < positions.max() <= 9600


def test_speed_stretches_a_clip_about_its_middle(corpus: Path) -> None:
    """At a speed v a click 4,000 samples before the middle is 4,000 / v before it."""
    for path in corpus.glob("a/*.wav"):
        write(path, [0] * 4000 + [32000] + [0] * 3999 + [32000] + [0] * 7999)
    split = split_of(load(settings(corpus, speed=0.25, shift_ms=0, noise_probability=0)))
    index = (split.labels == 0).nonzero().flatten().repeat(100)
    waveforms = split.waveforms(index, generator())
    assert set(waveforms[:, 7000:].argmax(1).tolist()) == {1000}
    before = 8000 - waveforms[:, :7000].argmax(1)
    assert 3199 <= before.min() < 3210
    assert 5300 < before.max() <= 5334
    # as many faster as slower
    assert (4000 / before).mean().item() == pytest.approx(1, abs=0.02)


def test_noise_is_added_as_often_and_as_loud_as_set(corpus: Path) -> None:
    split = split_of(load(settings(corpus, shift_ms=0, noise_probability=0.7, noise_volume=0.5)))
    index = (split.labels == 0).nonzero().flatten()[:1].repeat(1000)
    clean = split.waveforms(index[:1], None)
    added = (split.waveforms(index, generator()) - clean).mean(1) * 32768
    assert (added > 1e-3).float().mean().item() == pytest.approx(0.7, abs=0.04)
    # The training noise is 100 throughout: half of it at most, a quarter on average.
    assert added.max().item() == pytest.approx(50, abs=0.5)
    assert added[added > 1e-3].mean().item() == pytest.approx(25, abs=1)


@pytest.mark.long
def test_gain_is_even_in_decibels_up_to_its_limit(corpus: Path) -> None:
    split = split_of(load(settings(corpus, shift_ms=0, noise_probability=0, gain_db=12)))
    index = (split.labels == 0).nonzero().flatten()[:1].repeat(2000)
    clean = split.waveforms(index[:1], None)
    decibels = 20 * torch.log10(split.waveforms(index, generator()) / clean)
    assert torch.allclose(decibels.amax(1), decibels.amin(1), atol=1e-4)
    assert decibels.abs().max().item() == pytest.approx(12, abs=0.05)
    assert decibels.mean().item() == pytest.approx(0, abs=0.5)
    assert decibels.std().item() == pytest.approx(24 / 12**0.5, abs=0.3)


def test_loud_sums_are_limited(corpus: Path) -> None:
    for path in [*corpus.glob("a/*.wav"), corpus / "_background_noise_" / "n.wav"]:
        write(path, np.full(320000 if path.stem == "n" else 16000, 30000))
    split = split_of(load(settings(corpus, noise_probability=1, noise_volume=1, shift_ms=0)))
    assert split.waveforms(torch.zeros(50).long(), generator()).max().item() == 1.0


def test_unknown_is_redrawn_among_the_same_speakers_clips(corpus: Path) -> None:
    split = split_of(load(settings(corpus, unknown_fraction=0.5, noise_probability=0, shift_ms=0)))
    heard = set()
    for i in (split.labels == 3).nonzero().flatten().tolist():
        waveforms = split.waveforms(torch.tensor([i] * 60), generator(i))
        levels = set((waveforms[:, 0] * 32768).int().tolist())
        speaker = split.groups[i].item()
        assert levels <= {level(int(speaker), word) for word in (2, 3, 4)}
        heard |= levels
    # 8 examples draw from all 24 clips of other words that the training speakers said.
    chosen = split.groups[split.labels == 3].unique()
    assert len(heard) == 3 * len(chosen)


def test_training_repeats_other_words_where_there_are_few(corpus: Path) -> None:
    data = load(settings(corpus, keywords=["a", "b", "x", "y"], unknown_fraction=0.8))
    assert data.classes[-1] == "unknown"
    # 32 clips of keywords ask for 26 others of training's 8, 16 for 13 of validation's 4.
    assert torch.bincount(data.train.labels)[-1] == 26
    by_speaker = torch.bincount(data.train.groups[data.train.labels == 5])
    assert sorted(by_speaker.tolist()) == [3] * 6 + [4] * 2
    assert torch.bincount(data.validation.labels)[-1] == 4


def test_phrases_are_two_words_of_one_speaker_cut_anywhere(corpus: Path) -> None:
    """Constants tell which clip a sample is of: one, both where they overlap, then the other."""
    told = {"unknown_fraction": 0.5, "noise_probability": 0, "shift_ms": 0}
    split = split_of(load(settings(corpus, phrases=1, **told)))
    plain = split_of(load(settings(corpus, **told)))
    lengths = []
    for i in (split.labels == 3).nonzero().flatten().tolist():
        speaker = int(split.groups[i])
        words = {level(speaker, word) for word in (2, 3, 4)}
        for waveform in split.waveforms(torch.tensor([i] * 60), generator(i)) * 32768:
            values, counts = (
                each.tolist() for each in waveform.unique_consecutive(return_counts=True)
            )
            ends = [value for value in values if value in words]
            assert ends
            assert set(values) - words <= {ends[0] + ends[-1]}
            lengths.append(counts[0] if values[0] in words else 0)
    assert min(lengths) < 1000
    assert len({*lengths}) > 100
    others = (split.labels != 3).nonzero().flatten()
    same = [each.waveforms(others, generator()) for each in (split, plain)]
    assert torch.equal(*(each[split.labels[others] < 2] for each in same))


def test_no_part_hears_the_background_of_another(corpus: Path) -> None:
    data = load(settings(corpus, silence_fraction=1))
    assert data.test is not None
    for split, loudest in ((data.train, 100), (data.validation, 200), (data.test, 300)):
        assert isinstance(split, KeywordSplit)
        index = (split.labels == 2).nonzero().flatten()
        for source in (None, generator()):
            levels = split.waveforms(index, source) * 32768
            # A crop across two pieces of the recording would not be constant.
            assert torch.equal(levels.amax(1), levels.amin(1))
            assert loudest * 0.5 < levels.max().item() < loudest


def test_what_is_evaluated_does_not_depend_on_the_seed(corpus: Path) -> None:
    first = load(settings(corpus, silence_fraction=0.5, seed=0))
    second = load(settings(corpus, silence_fraction=0.5, seed=1))
    clips = torch.arange(len(first.validation.labels))
    assert torch.equal(first.validation.batch(clips, None), second.validation.batch(clips, None))
    clips = torch.arange(len(first.train.labels))
    assert not torch.equal(first.train.batch(clips, None), second.train.batch(clips, None))


def test_keywords_are_the_standard_ones_where_all_are_there(tmp_path: Path) -> None:
    for word in (*STANDARD_KEYWORDS, "bird"):
        for speaker in range(3):
            write(tmp_path / word / f"s{speaker}_0.wav", [speaker] * 16000)
    lines = [f"{word}/s2_0.wav" for word in (*STANDARD_KEYWORDS, "bird")]
    (tmp_path / "validation_list.txt").write_text("\n".join(lines))
    data = load(KeywordSettings(path=tmp_path))
    assert data.classes == (*STANDARD_KEYWORDS, "silence", "unknown")
    assert data.test is None
    assert "no test part" in data.summary
    assert "white and pink noise stand in" in data.summary
    assert "the ten of Speech Commands" in data.summary


def test_keywords_are_else_the_words_with_the_most_clips(tmp_path: Path) -> None:
    for w, word in enumerate("abcdefghijkl"):
        # The two words in the middle have one clip less.
        for speaker in range(2 if word in "fg" else 3):
            write(tmp_path / word / f"s{speaker}_0.wav", [w] * 16000)
    lines = [f"{word}/s0_0.wav" for word in "abcdefghijkl"]
    (tmp_path / "validation_list.txt").write_text("\n".join(lines))
    data = load(KeywordSettings(path=tmp_path))
    assert data.classes == (*"abcdehijkl", "silence", "unknown")
    assert "the words with the most clips" in data.summary
    assert "Not read" not in data.summary


def test_a_folder_of_silence_is_named(corpus: Path) -> None:
    write(corpus / "silence" / "s00_0.wav", [7] * 16000)
    (corpus / "training_list.txt").unlink()
    said = load(settings(corpus)).summary
    assert "Not read: silence; put recordings of noise into _background_noise_." in said


def test_classes_of_no_examples_can_be_dropped(corpus: Path) -> None:
    data = load(settings(corpus, silence_fraction=0, unknown_fraction=0))
    assert data.classes == ("a", "b")
    assert len(data.train.labels) == 16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keywords": ["a", "q"]}, r"lacks q; it has a, b, x, y, z"),
        ({"keywords": ["a", "silence"]}, "lacks silence; .* silence and unknown are made of"),
        ({"keywords": ["a", "a"]}, "would have one twice"),
        ({"keywords": []}, "is given none; it has a, b, x, y, z"),
        ({"keywords": list("abxyz")}, "set data.unknown_fraction=0"),
        (
            {"keywords": ["a"], "silence_fraction": 0, "unknown_fraction": 0},
            "at least two classes, but there is only a",
        ),
    ],
)
def test_impossible_keywords_say_the_way_out(
    corpus: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load(settings(corpus, **changes))


def test_a_class_without_clips_in_a_part_is_refused(corpus: Path) -> None:
    for speaker in PARTS["validation"]:
        (corpus / "b" / f"s{speaker:02}_1.wav").unlink()
    with pytest.raises(DataError, match="must have validation clips, but b has none"):
        load(settings(corpus))


@pytest.mark.data
def test_a_real_corpus_of_18_and_6_speakers(tmp_path: Path) -> None:
    archive = Path(os.environ["MICRONAS_DATA"]) / "tinyml" / "kws_ar.tar.gz"
    with tarfile.open(archive) as file:
        file.extractall(tmp_path, filter="data")
    data = load(KeywordSettings(path=tmp_path))
    words = ("close", "down", "left", "no", "open", "right", "start", "stop", "up", "yes")
    assert data.classes == (*words, "silence", "unknown")
    assert torch.bincount(data.train.labels).tolist() == [108] * 12
    assert torch.bincount(data.validation.labels).tolist() == [36] * 12
    assert len(data.train.groups[data.train.labels < 10].unique()) == 18
    assert len(data.validation.groups[data.validation.labels < 10].unique()) == 6
    assert data.test is None


def same(first: DataSet, second: DataSet) -> bool:
    """Whether two data sets give the same batches, augmented and not."""
    pairs = [(first.train, second.train), (first.validation, second.validation)]
    return all(
        torch.equal(
            one.batch(torch.arange(len(one.labels)), source()),
            two.batch(torch.arange(len(two.labels)), source()),
        )
        for one, two in pairs
        for source in (lambda: None, generator)
    )


def test_cached_clips_and_features_are_those_of_the_files(corpus: Path, tmp_path: Path) -> None:
    plain = load(settings(corpus, cache="off", silence_fraction=0.5))
    assert not (corpus / ".micronas").exists()
    first = load(settings(corpus, silence_fraction=0.5))
    names = ["clips.bin", "testing_40ms.bin", "validation_40ms.bin"]
    assert sorted(path.name for path in (corpus / ".micronas").iterdir()) == names
    states = [path.stat().st_ino for path in sorted((corpus / ".micronas").iterdir())]
    second = load(settings(corpus, silence_fraction=0.5))
    assert states == [path.stat().st_ino for path in sorted((corpus / ".micronas").iterdir())]
    assert same(plain, first)
    assert same(plain, second)
    assert plain.summary == first.summary == second.summary
    elsewhere = load(settings(corpus, silence_fraction=0.5, cache=tmp_path / "cache"))
    assert same(plain, elsewhere)
    assert len(list((tmp_path / "cache").glob("*/clips.bin"))) == 1


def test_a_cache_never_outlives_what_it_was_made_of(corpus: Path) -> None:
    index = torch.tensor([0])
    before = load(settings(corpus))
    old = before.validation.batch(index, None)
    write(corpus / "a" / "s08_0.wav", np.random.default_rng(0).integers(-9999, 9999, 16000))
    changed = load(settings(corpus))
    assert not torch.equal(changed.validation.batch(index, None), old)
    # What was mapped before stays as it was.
    assert torch.equal(before.validation.batch(index, None), old)
    for change in ({"window_ms": 30}, {"keywords": ["b", "x"]}, {"silence_fraction": 0.7}):
        cold = load(settings(corpus, cache="off", **change))
        assert same(cold, load(settings(corpus, **change)))
        assert same(cold, load(settings(corpus, **change)))


def test_a_cache_that_cannot_be_written_is_done_without_or_refused(corpus: Path) -> None:
    (corpus / ".micronas").touch()
    data = load(settings(corpus))
    assert "Nothing is cached: " in data.summary
    assert same(data, load(settings(corpus, cache="off")))
    with pytest.raises(DataError, match="the cache must be in a folder that can be written"):
        load(settings(corpus, cache=corpus / ".micronas"))
    (corpus / ".micronas").unlink()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        full = load(settings(corpus))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "Nothing is cached: [Errno" in full.summary
    # one file that cannot be written, beside those that can
    (corpus / ".micronas/validation_30ms.bin/in the way").mkdir(parents=True)
    narrow = load(settings(corpus, window_ms=30))
    assert same(narrow, load(settings(corpus, window_ms=30, cache="off")))


@pytest.mark.parametrize("cache", ["auto", "off"])
def test_versions_are_few_augmented_examples_drawn_anew_each_time(corpus: Path, cache: str) -> None:
    fresh = load(settings(corpus, cache=cache)).train
    kept = load(settings(corpus, cache=cache, versions=3)).train
    spoken = (fresh.labels < 2).nonzero().flatten()
    for example in spoken[:4]:
        index = example.repeat(60)
        drawn = kept.batch(index, generator()).flatten(1)
        assert len(torch.unique(drawn, dim=0)) == 3
        assert len(torch.unique(fresh.batch(index, generator()).flatten(1), dim=0)) > 20
        assert torch.equal(kept.batch(index, generator()).flatten(1), drawn)
        assert not torch.equal(kept.batch(index, generator(1)).flatten(1), drawn)
    every = torch.arange(len(fresh.labels))
    assert torch.equal(kept.batch(every, None), fresh.batch(every, None))
    again = load(settings(corpus, cache=cache, versions=3)).train
    assert torch.equal(again.batch(every, generator()), kept.batch(every, generator()))


@pytest.mark.parametrize("change", [{"shift_ms": 20}, {"seed": 1}, {"noise_volume": 0.5}])
def test_versions_of_other_settings_or_noise_are_made_anew(
    corpus: Path, change: dict[str, object]
) -> None:
    def versions(**changed: object) -> torch.Tensor:
        data = load(settings(corpus, versions=1, **changed))
        return data.train.batch(torch.arange(len(data.train.labels)), generator())

    before = versions()
    assert not torch.equal(versions(**change), before)
    assert torch.equal(versions(), before)
    kept = (corpus / ".micronas" / "versions.bin").stat().st_mtime_ns
    assert torch.equal(versions(time_mask=9, frequency_mask=2, channel=0.1), before)
    assert (corpus / ".micronas" / "versions.bin").stat().st_mtime_ns == kept
    noise = np.random.default_rng(0).integers(-9999, 9999, 320_000)
    write(corpus / "_background_noise_" / "n.wav", noise)
    assert not torch.equal(versions(), before)


def test_masks_are_for_final_training_only(corpus: Path) -> None:
    split = split_of(load(settings(corpus, time_mask=20, frequency_mask=4, channel=0)))
    index = torch.arange(len(split.labels))
    masked = split.for_final()
    heard = split.batch(index, generator())
    hidden = masked.batch(index, generator())
    assert torch.equal(hidden, masked.batch(index, generator()))
    seen = hidden != 0
    assert torch.equal(hidden[seen], heard[seen])
    assert 0.05 < 1 - seen.float().mean().item() < 0.6
    assert torch.equal(masked.batch(index, None), split.batch(index, None))
    plain = split_of(load(settings(corpus, time_mask=0, frequency_mask=0, channel=0)))
    assert torch.equal(plain.for_final().batch(index, generator()), heard)


def test_channels_are_for_final_training_only(corpus: Path) -> None:
    data = load(settings(corpus))
    split = split_of(data)
    assert data.final is not None
    index = torch.arange(len(split.labels))
    heard, other = split.batch(index, generator()), data.final.batch(index, generator())
    within = (heard.abs() < LIMIT) & (other.abs() < LIMIT)
    added = (other - heard).where(within, float("nan")).nanmean(2)
    assert added.std().item() == pytest.approx(0.3, rel=0.2)
    assert other.abs().max() <= LIMIT
    assert torch.equal(data.final.batch(index, None), split.batch(index, None))
    assert load(settings(corpus, channel=0)).final is None


def test_the_papers_recipe_is_a_run_that_can_fit() -> None:
    run = load_run(Path(__file__).parents[3] / "examples" / "kws_paper.yaml")
    run.problem().check_feasible()
    assert run.load_space().task == "kws"
    assert (run.train.epochs, run.train.batch_size, run.train.learning_rate) == (100, 256, 0.02)
