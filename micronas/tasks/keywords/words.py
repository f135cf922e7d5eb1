"""Words of synthetic speech that are no keywords: those of long recordings, and made-up ones."""

from collections.abc import Collection

import numpy as np

_BETWEEN = """
about after again almost along animal answer apple around autumn banana basket before behind
better between bottle bridge brother butter button candle carpet chicken circle coffee colour
corner cotton country cousin dinner doctor dollar eleven engine evening family father finger
flower forest garden glass going gold hammer handle heavy honey hundred island jacket kitchen know
ladder leaf learn leather letter lift light listen lower market middle minute mirror money morning
mother mountain narrow needle night noon nobody note number office often orange other paper pencil
people pepper picture pillow pocket potato present rabbit river road round row sailor school
second shadow shop silver sister snow spoon spring stone story street summer table thought through
tomato tower under upper village water weather window winter wonder yellow yet
"""
BETWEEN = tuple(_BETWEEN.split())
"""Words of long recordings, which train nothing; some sound like keywords."""
_ONSETS = """
b bl br ch d dr f fl fr g gl gr h j k kl kr l m n p pl pr qu r s sh sk sl sm sn sp st str sw t th tr
tw v w y z
"""
_VOWELS = "a e i o u a e i o u ai ee oo ou oa ar er or ea ow igh"
_CODAS = "b ck d f g l m n nd ng nt p r s sh sk st t th v x z ll ss mp lt ft ld"
_SYLLABLE = tuple(each.split() for each in (_ONSETS, _VOWELS, _CODAS))
_PRESENT = (0.9, 1.0, 0.7)
"""Shares of syllables that have an onset, a vowel and a coda."""
_LENGTHS = (0.45, 0.4, 0.15)
"""Shares of words of one, two and three syllables."""


def invent(generator: np.random.Generator, besides: Collection[str]) -> str:
    """Return a word that can be spoken, none of `besides` and of those in long recordings."""
    while True:
        word = ""
        for _ in range(1 + int(generator.choice(len(_LENGTHS), p=_LENGTHS))):
            for letters, share in zip(_SYLLABLE, _PRESENT, strict=True):
                if generator.random() < share:
                    word += letters[generator.integers(len(letters))]
        if word not in BETWEEN and word not in besides:
            return word
