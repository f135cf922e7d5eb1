"""Battles: results of two models' answers to one prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from micronas.arrays import Floats
from micronas.errors import DataError
from micronas.settings import nearest

Indices = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Battles:
    """n comparisons of two models' answers to one prompt, in columns.

    Attributes
    ----------
    models, prompts
        Names and ids, to which index columns refer.
    left, right, prompt
        Indices [n] of the two models and the prompt.
    outcome
        Share [n] of the point won by the left model: 1, 0.5 (tie), 0, or a preference between.
    weight
        Non-negative weight [n] of the battle.
    category
        Category of each prompt, ``""`` where unknown.
    length_left, length_right
        Lengths [n] of the answers, in any unit, or None.

    Raises
    ------
    DataError
        If columns differ in length, an index or a value is out of range, or a model fights itself.
    """

    models: tuple[str, ...]
    prompts: tuple[str, ...]
    left: Indices
    right: Indices
    prompt: Indices
    outcome: Floats
    weight: Floats
    category: tuple[str, ...]
    length_left: Floats | None = None
    length_right: Floats | None = None

    def __post_init__(self) -> None:
        for names in (self.models, self.prompts):
            if len(set(names)) != len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise DataError(f"models and prompts need unique names, but {twice!r} occurs twice")
        columns = (self.left, self.right, self.prompt, self.outcome, self.weight)
        lengths = [each for each in (self.length_left, self.length_right) if each is not None]
        shapes = {each.shape for each in (*columns, *lengths)}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise DataError(f"columns of battles must be vectors of one length, but got {shapes}")
        if len(self.category) != len(self.prompts):
            raise DataError(
                f"each prompt needs one category ('' if unknown), but got {len(self.category)} "
                f"for {len(self.prompts)} prompts"
            )
        if len(lengths) == 1:
            raise DataError("lengths must be given for both sides of a battle or for neither")
        for column, names in (
            (self.left, self.models),
            (self.right, self.models),
            (self.prompt, self.prompts),
        ):
            if len(column) and (column.min() < 0 or column.max() >= len(names)):
                raise DataError(
                    f"indices of battles must be in 0..{len(names) - 1}, but got "
                    f"{column.min()}..{column.max()}"
                )
        if bool((self.left == self.right).any()):
            name = self.models[int(self.left[self.left == self.right][0])]
            raise DataError(f"a battle needs two models, but {name!r} fights itself; drop the row")
        if not bool(((self.outcome >= 0) & (self.outcome <= 1)).all()):
            raise DataError("outcomes must be in [0, 1] (1: left wins); drop invalid verdicts")
        for values in (self.weight, *lengths):
            wrong = values[~(np.isfinite(values) & (values >= 0))]
            if len(wrong):
                said = f"finite and not negative, but got {wrong[0]:g}"
                raise DataError(f"weights and lengths must be {said}")

    def __len__(self) -> int:
        return len(self.left)

    @classmethod
    def of_names(
        cls,
        left: Sequence[str],
        right: Sequence[str],
        outcome: ArrayLike,
        *,
        prompt: Sequence[str] | None = None,
        weight: ArrayLike | None = None,
        category: Mapping[str, str] | None = None,
        length_left: ArrayLike | None = None,
        length_right: ArrayLike | None = None,
    ) -> "Battles":
        """Build battles from columns of names; models and prompts are sorted by name.

        Without ``prompt`` each battle is a separate prompt; without ``weight`` all weights are
        one; ``category`` maps prompt ids to categories.
        """
        if prompt is None:
            prompt = [f"{row:09d}" for row in range(len(left))]
        models, sides = np.unique(np.array([*left, *right], dtype=np.str_), return_inverse=True)
        prompts, index = np.unique(np.array(list(prompt), dtype=np.str_), return_inverse=True)
        names = tuple(str(name) for name in prompts)
        return cls(
            models=tuple(str(name) for name in models),
            prompts=names,
            left=sides[: len(left)],
            right=sides[len(left) :],
            prompt=index,
            outcome=np.asarray(outcome, np.float64),
            weight=np.ones(len(left)) if weight is None else np.asarray(weight, np.float64),
            category=tuple((category or {}).get(name, "") for name in names),
            length_left=None if length_left is None else np.asarray(length_left, np.float64),
            length_right=None if length_right is None else np.asarray(length_right, np.float64),
        )

    def index(self, model: str) -> int:
        """Return the index of a model by name."""
        if model not in self.models:
            raise DataError(f"no battles of model {model!r}; {nearest(model, self.models)}")
        return self.models.index(model)

    def of_prompts(self, wanted: NDArray[np.bool_]) -> "Battles":
        """Return the battles on the prompts of a mask [prompts], without other prompts."""
        position = np.cumsum(wanted) - 1
        kept = self._rows(wanted[self.prompt])
        return replace(
            kept,
            prompts=tuple(np.array(self.prompts, object)[wanted]),
            category=tuple(np.array(self.category, object)[wanted]),
            prompt=position[kept.prompt],
        )

    def _rows(self, rows: NDArray[np.bool_]) -> "Battles":
        columns = ("left", "right", "prompt", "outcome", "weight", "length_left", "length_right")
        values = {name: getattr(self, name) for name in columns}
        kept: dict[str, Any] = {
            name: None if each is None else each[rows] for name, each in values.items()
        }
        return replace(self, **kept)
