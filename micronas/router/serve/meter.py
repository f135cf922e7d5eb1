"""Count the tokens of one call at an expert piece by piece, even if it breaks off."""

from dataclasses import dataclass, field

from micronas.language.answers import token_count
from micronas.language.endpoints import BYTES_OF_TOKEN
from micronas.router.experts import Expert
from micronas.router.serve.protocol import Ask, Json, texts_of, usage_of

_APART = 4.0
"""Largest credible ratio of the estimate of a text and its count by an expert."""


@dataclass
class _Ratio:
    """Reported tokens of an expert per estimated token, over all its answers so far."""

    reported: float = 0.0
    estimated: float = 0.0
    answers: int = 0

    def add(self, reported: float, estimated: float) -> None:
        """Add the counts of one answer."""
        if reported and estimated:
            self.reported, self.estimated = self.reported + reported, self.estimated + estimated
            self.answers += 1

    def __call__(self, estimated: float) -> float:
        if not self.answers:
            return estimated
        # images and an expert's own instructions do not grow with the text
        most = _APART * estimated + self.reported / self.answers
        return min(estimated * self.reported / self.estimated, most)


@dataclass
class Habits:
    """Lengths of one expert's answers so far, in tokens."""

    prompt: _Ratio = field(default_factory=_Ratio)
    completion: _Ratio = field(default_factory=_Ratio)
    longest: float = 0.0
    length: _Ratio = field(default_factory=_Ratio)
    """Mean number of tokens of an answer."""


class Meter:
    """Tokens of one call: as reported by the expert, else estimated from its text.

    The expert's habits scale estimates, and are updated by reported counts. `answer` is the most
    tokens of the answer.
    """

    def __init__(self, expert: Expert, ask: Ask, habits: Habits, answer: float) -> None:
        self.expert, self._ask, self._habits, self._answer = expert, ask, habits, answer
        self._said = self._pieces = 0
        self._reported, self._reported_prompt, self._reported_at = 0, 0, 0
        self.prompt, self.completion = round(habits.prompt(ask.asked_tokens)), 0

    @property
    def tokens(self) -> int:
        """Tokens of the prompt and of the answer so far."""
        return self.prompt + self.completion

    def usd(self, answer: float | None = None) -> float:
        """Return US dollars so far, or with `answer` tokens of an answer."""
        completion = self.completion if answer is None else answer
        price = self.expert.price
        return price.usd(self.prompt, completion) if price is not None else 0.0

    def count(self, piece: Json) -> None:
        """Count a piece of a stream, or a whole answer."""
        self._pieces += 1
        self._said += sum(len(each[-1].encode("utf-8", "replace")) for each in texts_of(piece))
        if usage := usage_of(piece):
            prompt = _first(usage, "prompt_tokens", "input_tokens")
            if prompt >= self._ask.asked_tokens / _APART:
                self._reported_prompt = self.prompt = prompt
            completion = _first(usage, "completion_tokens", "output_tokens")
            if completion >= self._said / BYTES_OF_TOKEN / _APART:
                self._reported, self._reported_at = completion, self._said
        since = (self._said - self._reported_at) / BYTES_OF_TOKEN
        self.completion = self._reported + round(self._habits.completion(since))

    def close(self) -> None:
        """End the count; an abandoned answer counts with the usual length."""
        habits = self._habits
        if not self._pieces and not self._ask.stream:
            usual = habits.length(1.0) if habits.length.answers else self._answer
            self.completion = round(min(usual, self._answer))
            return
        habits.prompt.add(self._reported_prompt, self._ask.asked_tokens)
        habits.completion.add(self._reported, self._reported_at / BYTES_OF_TOKEN)
        habits.length.add(self.completion, 1.0)
        habits.longest = max(habits.longest, self.completion)


def _first(usage: object, *names: str) -> int:
    return next(filter(None, (token_count(usage, name) for name in names)), 0)
