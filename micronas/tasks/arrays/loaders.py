"""Data sets from torch's datasets and loaders, held in memory."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler, default_collate

from micronas.data import DataSet, TensorSplit
from micronas.errors import DataError
from micronas.objectives.classes import class_numbers

_KEPT_OUT = 0.2
"""Share of a lone data set that becomes its validation part."""


def as_data_set(given: Any, *, seed: int = 0) -> DataSet:
    """Return the `DataSet` of a torch data set or of several parts.

    `given` is a `DataSet`, which is returned; a torch `Dataset` or `DataLoader` of (input, label);
    or two or three of them, for training, validation and test. Inputs are float [channels, height,
    width], labels whole numbers from 0. A single one is divided at random by `seed`, a fifth for
    validation. All is read once, so that random transforms are drawn once. Raises DataError if it
    is none of these, or its inputs or labels have another form.
    """
    if isinstance(given, DataSet):
        return given
    parts = list(given) if isinstance(given, tuple | list) else [given]
    if not 1 <= len(parts) <= 3 or not all(
        isinstance(each, Dataset | DataLoader) for each in parts
    ):
        raise DataError(
            "data must be a path, a micronas.DataSet, or one to three torch Datasets or "
            f"DataLoaders (training, validation, test), but got {_kinds(parts)}; wrap tensors in "
            "torch.utils.data.TensorDataset(inputs, labels)"
        )
    splits = [_read(each) for each in parts]
    is_cut = len(splits) == 1
    same = _same(splits)
    if is_cut:
        splits = _cut(splits[0], same[0], seed)
    if not all(len(each.labels) for each in splits):
        raise DataError("every part must hold examples, a lone one at least three; give it some")
    train, validation = splits[:2]
    channels, height, width = splits[0].inputs.shape[1:]
    classes = _classes(parts, [each.labels for each in splits])
    return DataSet(
        train,
        validation,
        splits[2] if len(splits) > 2 else None,
        classes,
        (height, width, channels),
        summary=" ".join(
            [
                f"{len(train.labels):,} examples for training, {len(validation.labels):,} for "
                f"validation, {len(classes)} classes.",
                *(_of_cut(same[0]) if is_cut else _shared(same)),
            ]
        ),
    )


def _same(splits: Sequence[TensorSplit]) -> list[Tensor]:
    """Return numbers [N] of the examples of each part, the same for equal inputs."""
    known: dict[int, int] = {}
    rows = ([hash(each.numpy().tobytes()) for each in split.inputs] for split in splits)
    return [torch.tensor([known.setdefault(row, len(known)) for row in part]) for part in rows]


def _cut(split: TensorSplit, same: Tensor, seed: int) -> list[TensorSplit]:
    """Cut a part in two that share no input: loaders may draw one several times."""
    order = torch.randperm(len(torch.unique(same)), generator=torch.Generator().manual_seed(seed))
    kept_out = torch.isin(same, order[: round(_KEPT_OUT * len(order))])
    return [
        TensorSplit(split.inputs[index], split.labels[index], groups=same[index])
        for index in (~kept_out, kept_out)
    ]


def _of_cut(same: Tensor) -> list[str]:
    different = len(torch.unique(same))
    said = "A fifth of the examples, drawn at random, became the validation part."
    return [said] if different == len(same) else [said, f"{different:,} of them differ."]


def _shared(same: Sequence[Tensor]) -> list[str]:
    named = zip(("training", "validation", "test"), same, strict=False)
    return [
        f"{count:,} of {len(later):,} for {name} are also for {other}, which flatters figures."
        for (other, earlier), (name, later) in combinations(named, 2)
        if (count := int(torch.isin(later, earlier).sum()))
    ]


def _read(part: Any) -> TensorSplit:
    inputs, labels = list[Any](), list[Any]()
    for batch in _batches(part):
        if not (isinstance(batch, Sequence) and len(batch) == 2):
            raise DataError(
                "an example must be a pair of input and label, but the data set gives "
                f"{_given(batch)}; return (input, label) from its __getitem__"
            )
        inputs.append(batch[0])
        labels.append(batch[1])
    if not inputs:
        raise DataError("a data set must hold examples, but one is empty; give it some")
    try:
        return TensorSplit(*(torch.cat([*map(torch.as_tensor, each)]) for each in (inputs, labels)))
    except (TypeError, ValueError, RuntimeError) as error:
        raise _unlike(error) from error


def _batches(part: Any) -> DataLoader[Any]:
    if not isinstance(part, DataLoader):
        return DataLoader(part, batch_size=256, collate_fn=_stacked)
    by = part.sampler
    if not isinstance(by, RandomSampler) or by.replacement or by.num_samples < len(by.data_source):
        return part
    # shuffled, the same call would find other data in the folder of its killed run
    return DataLoader(
        part.dataset,
        part.batch_size,
        collate_fn=part.collate_fn,
        num_workers=part.num_workers,
        worker_init_fn=part.worker_init_fn,
    )


def _stacked(examples: list[Any]) -> Any:
    try:
        return default_collate(examples)
    except (TypeError, RuntimeError) as error:
        raise _unlike(error) from error


def _unlike(error: Exception) -> DataError:
    return DataError(
        "inputs must be tensors or arrays of one shape, and labels numbers, but torch says: "
        f"{error}; convert and resize inputs and number labels from 0 in __getitem__"
    )


def _classes(parts: Iterable[Any], labels: Iterable[Tensor]) -> tuple[str, ...]:
    """Return the data sets' `classes`, as in torchvision; else numbers as names."""
    each_named = map(_named, parts)
    named = list(dict.fromkeys(tuple(map(str, each)) for each in each_named if each is not None))
    if len(named) > 1:
        raise DataError(
            "all parts must number the same classes, but their `classes` are "
            f"{' and '.join(', '.join(each)[:100] for each in named)}; map labels to one list"
        )
    if named:
        return named[0]
    numbers = torch.cat([class_numbers(each) for each in labels])
    count = 1 + int(numbers.max())
    if count > len(numbers):
        raise DataError(
            f"labels must number classes from 0 without a gap, but {len(numbers):,} examples have "
            f"labels of up to {count - 1}; number them anew in __getitem__"
        )
    return tuple(map(str, range(count)))


def _named(part: Any) -> Sequence[Any] | None:
    while not hasattr(part, "classes") and hasattr(part, "dataset"):  # a loader of a Subset
        part = part.dataset
    return getattr(part, "classes", None)


def _given(batch: Any) -> str:
    several = isinstance(batch, tuple | list)
    return f"{len(batch)} in place of 2" if several else type(batch).__name__


def _kinds(parts: Sequence[Any]) -> str:
    more = f" and {len(parts) - 4:,} more" if len(parts) > 4 else ""
    return ", ".join(type(each).__name__ for each in parts[:4]) + more
