"""The task ``kws``: keyword spotting on Speech Commands, or on a user's folder of words."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from micronas.tasks.download import Archive
from micronas.tasks.keywords.settings import KeywordSettings
from micronas.tasks.task import Finding, Task

if TYPE_CHECKING:
    from micronas.data import DataSet


class _Keywords(Task[KeywordSettings]):
    settings = KeywordSettings
    # Speech Commands v2 (CC BY 4.0); size and checksum of TensorFlow Datasets and torchaudio.
    archives = (
        Archive(
            "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
            2_428_923_189,
            "sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
            "speech_commands_v0.02",
            4_000_000_000,
        ),
    )

    def load(self, settings: KeywordSettings) -> "DataSet":
        from micronas.tasks.keywords.load import load

        return load(settings)

    def known_of(self, settings: KeywordSettings) -> Mapping[str, object]:
        return settings.mfcc.meaning

    def check(self, settings: KeywordSettings) -> list[Finding]:
        from micronas.tasks.keywords.check import check

        return check(settings.path)

    def sample(
        self, folder: Path, *, seed: int = 0, minutes: float | None = None, made_up: int = 0
    ) -> str:
        if minutes is not None:
            from micronas.tasks.keywords.streams import synthesise_streams

            synthesise_streams(folder, minutes=minutes, seed=seed)
            return "long recordings of synthetic speech, with the times of all words in events.csv"
        from micronas.tasks.keywords.synth import synthesise

        synthesise(folder, made_up=made_up, seed=seed)
        return "synthetic speech, for trying the tool and not for products"


TASK = _Keywords()
