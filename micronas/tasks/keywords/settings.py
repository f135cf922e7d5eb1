"""Settings of keyword data. Imports no torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field

from micronas.errors import ConfigError
from micronas.tasks.task import TaskSettings

Window = Literal[30, 40]
Spectrum = Literal["power", "magnitude"]
Level = Literal["recorded", "peak"]
Scaling = Literal["spread", "tensorflow"]


@dataclass(frozen=True)
class MfccSettings:
    """Differences between feature extractors, see `micronas.tasks.keywords.front_end.mfcc`.

    MLPerf Tiny's keyword spotter takes ``MfccSettings(30, "magnitude", 1e-6, "peak",
    "tensorflow")``. Raises ConfigError if a value is not allowed.
    """

    window_ms: Window = 40
    """40 (MicroNets, Hello Edge) or 30 (MLPerf Tiny); the FFT has 1,024 or 512 points."""
    spectrum: Spectrum = "power"
    """``power`` or ``magnitude`` of a bin."""
    log_floor: float = 0.1
    """Offset added to a band's energy before the logarithm, 1e-9 to 1e3."""
    level: Level = "recorded"
    """``recorded``, or ``peak``: each clip is divided by its largest sample, which a listening
    device cannot do."""
    scaling: Scaling = "spread"
    """``spread``: orthonormal, each coefficient shifted and scaled to a spread of about one, within
    [-4, 4]; ``tensorflow``: as in ``tf.signal.mfccs_from_log_mel_spectrograms``."""

    def __post_init__(self) -> None:
        for name, allowed in _ALLOWED.items():
            if (value := getattr(self, name)) not in allowed:
                raise ConfigError(
                    f"{name} of MFCC must be {' or '.join(map(str, allowed))}, but is {value!r}; "
                    f"leave it out for {getattr(MfccSettings, name)}"
                )
        if not 1e-9 <= self.log_floor <= 1e3:
            raise ConfigError(
                f"log_floor of MFCC must be 1e-9 to 1e3, but is {self.log_floor!r}; leave it out "
                f"for {MfccSettings.log_floor}"
            )

    @classmethod
    def of(cls, meaning: Mapping[str, Any]) -> "MfccSettings":
        """Return the settings stored in the meaning of an input."""
        found = {name: meaning[name] for name in asdict(cls()) if name in meaning}
        return cls(**{**found, "window_ms": int(meaning["window_ms"])})

    @property
    def meaning(self) -> dict[str, Any]:
        """Meaning of the input in a model file: the window, and settings other than the
        defaults."""
        other = {name: value for name, value in asdict(self).items() if value != asdict(_OWN)[name]}
        return {"features": "mfcc", "window_ms": self.window_ms, **other}


_ALLOWED = {
    "window_ms": get_args(Window),
    "spectrum": get_args(Spectrum),
    "level": get_args(Level),
    "scaling": get_args(Scaling),
}
_OWN = MfccSettings()


FINAL = ("time_mask", "frequency_mask", "channel")
"""Settings of final training alone, which changes features by them."""


class KeywordSettings(TaskSettings):
    """Settings of a folder of words; the defaults are the Speech Commands recipe."""

    task: Literal["kws"] = "kws"
    path: Path
    """Folder of the words, or one with it as its only subfolder."""
    keywords: Literal["auto"] | tuple[str, ...] = "auto"
    """Words to recognise. ``auto``: the ten of Speech Commands if the folder has them all, else the
    ten words with the most clips."""
    window_ms: Window = 40
    spectrum: Spectrum = "power"
    """Spectrum of a bin; ``magnitude`` is the root of its power. This and the next three settings
    are for others' networks, such as MLPerf Tiny's."""
    log_floor: float = Field(0.1, ge=1e-9, le=1e3)
    """Offset added to a band's energy before the logarithm."""
    level: Level = "recorded"
    """``peak`` divides each clip by its largest sample; firmware then has no front end."""
    scaling: Scaling = "spread"
    """Scaling of coefficients; ``tensorflow``: as in ``tf.signal``, neither shifted nor scaled."""
    silence_fraction: float = Field(0.1, ge=0, le=1)
    """Silence examples as a fraction of all keyword examples; 0 drops the class."""
    unknown_fraction: float = Field(0.1, ge=0, le=1)
    """Examples of all other words as a fraction of all keyword examples, for which training repeats
    clips where there are too few; 0 drops the class."""
    phrases: float = Field(0, ge=0, le=1)
    """Share of training's examples of other words that are cut from two successive words of one
    speaker, as a network that listens hears them between keywords."""
    shift_ms: float = Field(100, ge=0, le=1000)
    """Largest shift of training clips in time, either way."""
    speed: float = Field(0, ge=0, le=0.3)
    """Largest change of speed of training clips, and with it of pitch, up or down. It stands in for
    voices that a synthesiser lacks; on recorded words it caused more false alarms."""
    gain_db: float = Field(10, ge=0, le=40)
    """Largest change of level of training clips, up or down; 0 is the original recipe."""
    noise_probability: float = Field(0.8, ge=0, le=1)
    noise_volume: float = Field(0.1, ge=0, le=1)
    """Largest factor by which background noise is scaled before it is added."""
    time_mask: int = Field(0, ge=0, le=48)
    """Most of 49 frames of an example that final training hides (SpecAugment). 10, with
    `frequency_mask` 2, leaves a network that listens to few speakers' words fewer false alarms; for
    words by themselves it gains nothing beyond noise in trainings of 30 and 60 epochs."""
    frequency_mask: int = Field(0, ge=0, le=9)
    """Most of 10 coefficients of an example that final training hides."""
    channel: float = Field(0.3, ge=0, le=1)
    """Standard deviation of a constant that final training adds to each coefficient of an example,
    as another microphone or room does; features of scaling ``spread`` vary by about one. 0 keeps
    features as they are."""
    versions: int = Field(0, ge=0, le=1000)
    """Augmented versions of each training example, made once and cached; every epoch draws among
    them. Making new ones, as 0 does, takes a quarter of a textbook network's training."""
    cache: Literal["auto", "off"] | Path = "auto"
    """Folder of decoded clips and features, memory-mapped. ``auto``: ``.micronas`` in the folder of
    the words, or none where that cannot be written; ``off``: read every clip into memory each
    time."""
    seed: int = 0
    """Seed of the other words and the silence in training; evaluation does not depend on it."""

    @property
    def changes_features(self) -> bool:
        """Whether final training hides or shifts features."""
        return any(getattr(self, name) > 0 for name in FINAL)

    @property
    def mfcc(self) -> MfccSettings:
        return MfccSettings(self.window_ms, self.spectrum, self.log_floor, self.level, self.scaling)
