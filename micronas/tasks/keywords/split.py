"""Examples of keyword spotting: clips with augmentation, silence and other words, as features."""

import copy

import torch
from torch import Tensor

from micronas.data import Split
from micronas.tasks.keywords.front_end import limit_of, mfcc
from micronas.tasks.keywords.settings import KeywordSettings
from micronas.tasks.keywords.spec_augment import other_channel, spec_augment
from micronas.tasks.rows import Rows
from micronas.tasks.waveform import RATE

_CLOSEST = 0.6
"""Seconds from the beginning of a clip to that of the one that follows it, at least."""


class KeywordSplit(Split):
    """One part: clips of one second as int16, turned into features batch by batch.

    With a generator, `batch` redraws ``unknown`` examples among the same speaker's clips of other
    words, some as a second of two that follow one another, and ``silence`` from the background at a
    volume in [0, 1), shifts the other clips in time, changes their speed and level and adds
    background noise to them; with versions, it draws one of those instead. Without a generator it
    returns the same features every time.

    Parameters
    ----------
    clips
        int16 [C, 16000]; only rows in use are read.
    order
        int64 [K]: rows of the clips that this part uses.
    examples
        int64 [5, N]: row, first, count, class and speaker. An example is clip ``order[row]``
        without a generator, and one of the `count` clips from ``order[first]`` on with one. A count
        of 0 marks silence, a separate group: then `row` is one of `silence`.
    silence
        int16 [S, 16000]: silence examples without a generator.
    noise
        int16 [M]: concatenated background recordings, at least a second.
    """

    features: Tensor | None = None
    """Features of `batch` for all examples without a generator; None computes them."""
    versions: Rows | None = None
    """float32 [versions * N, 49, 10]: those of `KeywordSettings.versions` augmented batches of all
    examples, version by version; None augments anew."""
    _changed = False

    def __init__(
        self,
        clips: Rows,
        *,
        order: Tensor,
        examples: Tensor,
        silence: Tensor,
        noise: Tensor,
        settings: KeywordSettings,
    ) -> None:
        self._rows, self._first, self._count, self.labels, self.groups = examples
        self._clips = clips
        self._order = order
        self._silence = silence
        self._noise = noise.unfold(0, RATE, 1)
        self._settings = settings
        self._mfcc = settings.mfcc

    def for_final(self) -> "KeywordSplit":
        """Return the same split for final training, whose augmented batches have masks and other
        channels."""
        split = copy.copy(self)
        split._changed = True
        return split

    def sources(self) -> tuple[Tensor, ...]:
        """Return everything that decides the waveforms without a generator, except the clips."""
        return self._order, self._rows, self._count, self._silence

    def batch(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return features as float32 [n, 1, 49, 10]; see `micronas.tasks.keywords.front_end`."""
        if generator is None and self.features is not None:
            return self.features[index].unsqueeze(1)
        if generator is not None and self.versions is not None:
            drawn = torch.randint(self._settings.versions, (len(index),), generator=generator)
            features = self.versions[drawn * len(self.labels) + index].unsqueeze(1)
        else:
            features = mfcc(self.waveforms(index, generator), self._mfcc).unsqueeze(1)
        if generator is None or not self._changed:
            return features
        settings = self._settings
        if settings.channel > 0:
            features = other_channel(
                features, generator, spread=settings.channel, limit=limit_of(self._mfcc)
            )
        return spec_augment(
            features,
            generator,
            time_mask=settings.time_mask,
            frequency_mask=settings.frequency_mask,
        )

    def waveforms(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the waveforms of a batch: float32 [n, 16000] in [-1, 1]."""
        silent = self._count[index] == 0
        if generator is None:
            rows = self._rows[index]
            waveforms = self._clips[self._order[torch.where(silent, 0, rows)]]
            waveforms[silent] = self._silence[rows[silent]]
            return waveforms.float() / 32768.0
        settings, n = self._settings, len(index)
        # draw everything for every example, so that draws do not depend on the others' classes
        pick, gain, applied, volume = torch.rand(4, n, generator=generator)
        start = torch.randint(len(self._noise), (n,), generator=generator)
        reach = int(settings.shift_ms * RATE / 1000)
        shift = torch.randint(2 * reach + 1, (n,), generator=generator)

        clips = self._drawn(index, pick)
        if settings.phrases > 0:
            clips = self._phrased(clips, index, generator)
        if settings.speed > 0:
            change = 2.0 * torch.rand(n, generator=generator) - 1.0
            clips = _at_speed(clips, 1.0 + settings.speed * change)
        padded = torch.nn.functional.pad(clips, (reach, reach))
        speech = padded.unfold(1, RATE, 1)[torch.arange(n), shift].float()
        amplitude = 10.0 ** (settings.gain_db / 20.0 * (2.0 * gain - 1.0))
        speech *= torch.where(silent, 0.0, amplitude).unsqueeze(1)
        quiet = volume * settings.noise_volume * (applied < settings.noise_probability)
        loudness = torch.where(silent, volume, quiet)
        noisy = speech.addcmul_(self._noise[start].float(), loudness.unsqueeze(1))
        return noisy.div_(32768.0).clamp_(-1.0, 1.0)

    def _drawn(self, index: Tensor, pick: Tensor) -> Tensor:
        """Return a clip of each example's, int16 [n, 16000]; `pick` [n] is in [0, 1)."""
        return self._clips[self._order[self._first[index] + (pick * self._count[index]).long()]]

    def _phrased(self, clips: Tensor, index: Tensor, generator: torch.Generator) -> Tensor:
        """Return clips of which some other words are a second of two that follow one another."""
        said, pick, gap, cut = torch.rand(4, len(index), generator=generator)
        chosen = ((self._count[index] > 1) & (said < self._settings.phrases)).nonzero().squeeze(1)
        follower = self._drawn(index[chosen], pick[chosen])
        apart = (RATE * (_CLOSEST + (1.0 - _CLOSEST) * gap[chosen])).long()
        place = torch.arange(RATE) + (cut[chosen] * apart).long().unsqueeze(1)
        first = torch.nn.functional.pad(clips[chosen], (0, RATE)).gather(1, place)
        place = place - apart.unsqueeze(1) + RATE
        second = torch.nn.functional.pad(follower, (RATE, 0)).gather(1, place)
        both = (first.int() + second.int()).clamp_(-32768, 32767)
        return clips.index_copy(0, chosen, both.to(clips.dtype))


def _at_speed(clips: Tensor, speed: Tensor) -> Tensor:
    """Return clips `speed` [n] times as fast about their middle, float32 [n, 16000]."""
    middle = RATE / 2
    place = speed.unsqueeze(1) * (torch.arange(RATE) - middle) + middle
    # a zero before the clip and two behind it stand for all samples outside
    place.clamp_(-1.0, RATE).add_(1.0)
    before = place.long()
    padded = torch.nn.functional.pad(clips, (1, 2)).float()
    first, second = padded.gather(1, before), padded.gather(1, before + 1)
    return first.lerp_(second, place.sub_(before))
