"""Training loop: exactly repeatable, and exactly resumable after being killed at any moment."""

import copy
import hashlib
import math
import random
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from micronas.checkpoint import Checkpoint
from micronas.errors import ConfigError, DataError, MicronasError
from micronas.objectives.base import Objective, Scores
from micronas.objectives.classes import CLASSES
from micronas.splits import Split, check_split
from micronas.train.average import Mean, recalibrate
from micronas.train.convolutions import mixed_precision
from micronas.train.devices import device_of, moved
from micronas.train.memory import keep_freed_memory
from micronas.train.optimizer import AdamW
from micronas.train.recipe import Recipe
from micronas.train.threads import threads

Module = TypeVar("Module", bound=nn.Module)
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Function ``loss(outputs, labels, inputs)`` of a batch; a teacher reads the inputs."""


@dataclass(frozen=True)
class Epoch:
    """Report of a finished epoch."""

    number: int
    """Number from 1."""
    epochs: int
    loss: float
    """Mean training loss."""
    validation_loss: float | None = None
    """Loss on `validation` of `fit`, if given."""
    validation_score: float | None = None
    """Measure that the objective shows; in classification the accuracy."""


def source_for(seed: int, *names: object) -> random.Random:
    """Return a source of Python's random numbers for one purpose; see `generator_for`."""
    return random.Random(" ".join(map(str, (seed, *names))))


def generator_for(seed: int, *names: object) -> torch.Generator:
    """Return torch's random numbers for one purpose, a function of seed and names alone."""
    text = "\0".join(map(str, (seed, *names)))
    digest = hashlib.sha256(text.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))


def fit(
    module: Module,
    split: Split,
    recipe: Recipe,
    *,
    seed: int,
    section: str = "train",
    checkpoint: Checkpoint | None = None,
    until: int | None = None,
    progress: Callable[[Epoch], None] | None = None,
    objective: Objective = CLASSES,
    loss: Loss | None = None,
    validation: Split | None = None,
    device: torch.device | None = None,
) -> Module:
    """Train a module in place and return it, in eval mode, where it was.

    Where the recipe says `mean`, its weights are then the mean of recent ones, with batch norm's
    statistics of some batches (see `micronas.train.average`).

    Order, augmentation and dropout depend only on the seed, the section and the number of the
    epoch, so a run that continues from `checkpoint` ends in the same weights, bit for bit, as an
    uninterrupted one on the same machine. Torch computes on the recipe's number of threads.

    A split whose `mixup` is above 0 is trained on mixtures of every batch and the same batch in
    another order, with a weight from Beta(mixup, mixup); the loss is mixed likewise (H. Zhang et
    al., "mixup: Beyond Empirical Risk Minimization", 2018). Where `cutmix` is set and the recipe
    has `cutmix_from` epochs, half of the batches get a box of the other one instead (S. Yun et al.,
    "CutMix", 2019). Raises DataError if the split is empty, or its labels do not suit the objective
    and `loss` is left out; ConfigError if the checkpoint was made with another recipe, seed or
    number of examples; MicronasError if the loss is not finite.

    Parameters
    ----------
    section
        Name of this training: of its state in the checkpoint and of its random numbers.
    checkpoint
        Store of the state, which is loaded at the start and saved at the end, and between epochs
        every second or so.
    until
        Stop after this epoch; a later call with the same checkpoint goes on under the same
        schedule.
    progress
        Called after every epoch.
    objective
        Meaning of labels, with the loss and scores.
    loss
        Loss of a batch; by default the objective's, with the recipe's label smoothing.
    validation
        Split scored after every epoch and recorded, in the checkpoint's section under ``history``;
        nothing is chosen by it.
    device
        Device to train on; by default that of the module. Random numbers are drawn on the CPU.
    """
    check_split(split)
    count = len(split.labels)
    if count == 0:
        raise DataError("training needs at least one example: examples=0; check the split")
    criterion = loss or _criterion(objective, recipe.label_smoothing, split.labels)
    keep_freed_memory()
    home = device_of(module)
    module.to(device or home)
    mean = Mean(module) if recipe.mean else None
    optimizer = optimizer_of(module, recipe)
    run = {"seed": seed, "examples": count, **recipe.model_dump()}
    first, history = _resume(module, optimizer, mean, checkpoint, section, run)
    module.train()
    last = recipe.epochs if until is None else min(until, recipe.epochs)

    def settle(epochs: int) -> None:
        """Make the module the trained network after some epochs."""
        if mean is not None:
            mean.apply()
            source = generator_for(seed, section, epochs, "statistics")
            recalibrate(module, split, recipe, source)

    for epoch in range(first, last):
        generator = generator_for(seed, section, epoch)
        with threads(recipe.threads), torch.random.fork_rng([]):
            torch.manual_seed(generator_for(seed, section, epoch, "module").initial_seed())
            order = objective.order(split.labels, generator)
            average_loss = _epoch(
                module, split, recipe, optimizer, criterion, epoch, generator, mean, order
            )
        watched: tuple[float | None, float | None] = (None, None)
        ended = epoch + 1 == recipe.epochs
        if ended or validation is not None:
            with nullcontext() if ended or mean is None else mean.applied():
                settle(epoch + 1)
                if validation is not None:
                    watched = _watch(module, validation, objective)
            module.train()
        finished = Epoch(epoch + 1, recipe.epochs, average_loss, *watched)
        history.append(asdict(finished))
        if checkpoint is not None:
            state = {
                "epoch": epoch + 1,
                "history": history,
                "run": run,
                "module": module.state_dict(),
                "optimizer": optimizer.state_dict(),
                "mean": None if mean is None else mean.state(),
            }
            # A copy, as the tensors go on changing and other sections rewrite the file.
            save = checkpoint.save if epoch + 1 == last else checkpoint.save_soon
            save(section, copy.deepcopy(state))
        if progress is not None:
            progress(finished)
    if 0 < (reached := max(first, last)) < recipe.epochs:
        settle(reached)  # after saving: a later call goes on with the last weights
    return module.to(home).eval()


def _epoch(
    module: nn.Module,
    split: Split,
    recipe: Recipe,
    optimizer: AdamW,
    criterion: Loss,
    epoch: int,
    generator: torch.Generator,
    mean: Mean | None,
    order: Tensor,
) -> float:
    """Take the steps of an epoch and return the mean loss; no step waits for its loss."""
    device, steps = device_of(module), recipe.steps(len(order))
    boxes = split.cutmix and recipe.epochs >= recipe.cutmix_from
    losses = []
    for step in range(steps):
        index = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
        inputs, labels = moved((split.batch(index, generator), split.labels[index]), device)
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate((epoch + step / steps) / recipe.epochs)
        with mixed_precision(recipe.amp, device.type):
            if split.mixup > 0 or boxes:
                value = _mixed(module, criterion, inputs, labels, split, boxes, generator)
            else:
                value = criterion(module(inputs).float(), labels, inputs)
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if mean is not None:
            mean.update()
        losses.append(value.detach())
    values: list[float] = torch.stack(losses).tolist()
    for step, each in enumerate(values):
        if not math.isfinite(each):
            raise MicronasError(
                f"the training loss must stay finite: loss={each} in epoch {epoch + 1}, step "
                f"{step + 1}; lower learning_rate={recipe.learning_rate:g} or look for infinite "
                "inputs"
            )
    return sum(values) / steps


def predict(
    module: nn.Module, split: Split, *, batch_size: int = 256, index: Tensor | None = None
) -> Tensor:
    """Return outputs float32 [n, outputs] in eval mode of the split, or of examples in `index`.

    The module's device computes them; they are returned on the CPU. One thread is used, so that no
    figure depends on their number. Raises DataError if there is no example, and MicronasError if an
    output is NaN, of which every measure would make some number.
    """
    index = torch.arange(len(split.labels)) if index is None else index
    if len(index) == 0:
        raise DataError("a prediction needs at least one example: examples=0; check the split")
    was_training, device = module.training, device_of(module)
    module.eval()
    with torch.inference_mode(), threads(1):
        outputs = [
            module(split.batch(part, None).to(device)).cpu()
            for part in torch.split(index, batch_size)
        ]
    module.train(was_training)
    found = torch.cat(outputs)
    if lost := int(found.isnan().reshape(len(found), -1).any(1).sum()):
        raise MicronasError(
            f"outputs must be numbers, but those for {lost} of {len(index)} examples are NaN; "
            "lower the learning rate, or look for NaN among inputs and weights"
        )
    return found


def evaluate(
    module: nn.Module,
    split: Split,
    *,
    batch_size: int = 256,
    index: Tensor | None = None,
    objective: Objective = CLASSES,
) -> Scores:
    """Score a module on the split, or on the examples in `index`; see `predict`."""
    outputs = predict(module, split, batch_size=batch_size, index=index)
    labels = split.labels if index is None else split.labels[index]
    return objective.scores(outputs, labels)


def _watch(module: nn.Module, split: Split, objective: Objective) -> tuple[float, float]:
    """Return loss and score of a module on a split."""
    outputs = predict(module, split)
    labels = objective.check(split.labels, outputs.shape[1])
    return objective.loss(outputs, labels).item(), objective.shown(outputs, labels)


def _criterion(objective: Objective, smoothing: float, every: Tensor) -> Loss:
    """Return the loss of a training on the labels `every`; refuse labels without an output."""
    objective.check(every)
    checked = set[int]()

    def loss(outputs: Tensor, labels: Tensor, inputs: Tensor) -> Tensor:
        if outputs.shape[1] not in checked:
            objective.check(every, outputs.shape[1])
            checked.add(outputs.shape[1])
        return objective.loss(outputs, labels, smoothing=smoothing)

    return loss


def _mixed(
    module: nn.Module,
    criterion: Loss,
    inputs: Tensor,
    labels: Tensor,
    split: Split,
    boxes: bool,
    generator: torch.Generator,
) -> Tensor:
    """Return the loss of a batch mixed with itself; mixed losses need no soft labels."""
    if boxes:
        other = torch.randperm(len(labels), generator=generator)
        mixed, share = _pasted(inputs, inputs[other], generator)
    else:
        # Only NumPy's Beta takes a generator.
        seed = int(torch.randint(2**62, (), generator=generator))
        share = float(np.random.default_rng(seed).beta(split.mixup, split.mixup))
        other = torch.randperm(len(labels), generator=generator)
        mixed = share * inputs + (1 - share) * inputs[other]
    outputs = module(mixed).float()
    first, second = (criterion(outputs, target, mixed) for target in (labels, labels[other]))
    return share * first + (1 - share) * second


def _pasted(inputs: Tensor, others: Tensor, generator: torch.Generator) -> tuple[Tensor, float]:
    """Return inputs with a box of the others in them, and the inputs' own share of the area.

    The box has a uniform share of the area and a uniform centre, and is cut off at the border; in
    half of all calls there is none.
    """
    wanted, share, *centre = torch.rand(4, generator=generator).tolist()
    if wanted < 0.5:
        return inputs, 1.0
    sizes = inputs.shape[2:]
    half = math.sqrt(share) / 2
    (top, bottom), (left, right) = (
        (max(round((at - half) * size), 0), min(round((at + half) * size), size))
        for at, size in zip(centre, sizes, strict=True)
    )
    mixed = inputs.clone()
    mixed[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / math.prod(sizes)


def optimizer_of(module: nn.Module, recipe: Recipe) -> AdamW:
    """Return an optimizer whose weight decay spares biases and factors of batch norm."""
    learnt = [each for each in module.parameters() if each.requires_grad]
    groups = [
        {"params": [each for each in learnt if (each.ndim > 1) == is_filter], "weight_decay": decay}
        for is_filter, decay in ((True, recipe.weight_decay), (False, 0.0))
    ]
    return AdamW([group for group in groups if group["params"]], recipe.learning_rate)


def _resume(
    module: nn.Module,
    optimizer: AdamW,
    mean: Mean | None,
    checkpoint: Checkpoint | None,
    section: str,
    run: dict[str, object],
) -> tuple[int, list[dict[str, float | None]]]:
    """Load a saved state; return the number of finished epochs, and their history."""
    state = checkpoint.load(section) if checkpoint else None
    if state is None:
        return 0, []
    saved = state["run"]
    changed = [
        f"{key}={value} (saved: {saved.get(key)})"
        for key, value in run.items()
        if saved.get(key) != value
    ]
    if changed:
        raise ConfigError(
            "a resumed training must keep its recipe, seed and examples, but these differ: "
            f"{', '.join(changed)}; restore them or start over with a new checkpoint"
        )
    module.load_state_dict(state["module"])
    optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
    if mean is not None:
        mean.restore(state["mean"])
    return state["epoch"], list(state["history"])
