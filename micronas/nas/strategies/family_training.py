"""Training of a family's shared weights on its remaining networks, one per batch."""

import copy
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from micronas.checkpoint import State
from micronas.data import DataSet, Split
from micronas.errors import MicronasError
from micronas.nas.candidate import Candidate
from micronas.nas.distributed import ranks
from micronas.nas.strategies.weights import ROUND, batches
from micronas.nas.supernet.supernet import SharedNetwork, fresh_units
from micronas.nas.supernet.units import FreshUnit, SharedUnit
from micronas.space.decisions import Choice
from micronas.space.open_space import Picks
from micronas.space.searchable import Searchable
from micronas.train.average import Mean, recalibrate
from micronas.train.convolutions import mixed_precision
from micronas.train.devices import moved
from micronas.train.loop import generator_for, optimizer_of
from micronas.train.network import Network
from micronas.train.recipe import Recipe

_RANKED_BY = 2048
"""Most examples that rank a network and give batch norm its statistics."""


class Family(nn.Module):
    """The networks of several spaces with one set of weights.

    A filter does not depend on the size of its map. Members of a family differ in strides, in the
    size of the input, in kernels that are fixed before weights are shared, and in some of their
    operators; operators with the same name and channels share weights.

    `spaces` are the members by key; a user's network, which has its own weights, must be the only
    one. `networks` are those that will be used, all where it is empty: filters keep the channels of
    the widest of them, which within a small budget are a tenth.
    """

    def __init__(
        self, spaces: Mapping[Picks, Searchable], networks: Sequence[Candidate] = ()
    ) -> None:
        super().__init__()
        self._share(spaces)
        if networks:
            self._cut(networks)

    def _share(self, spaces: Mapping[Picks, Searchable]) -> None:
        first, *others = spaces.values()
        self._members: dict[Picks, SharedNetwork]
        if not others:
            self.shared: nn.Module = SharedNetwork(first)
            self._members = {key: self.shared for key in spaces}
            return
        units = fresh_units([each.choices.largest for each in spaces.values()])
        self.shared = nn.ModuleList(dict.fromkeys(unit for own in units for unit in own.values()))
        self._members = {
            key: SharedNetwork(each, units=own)
            for (key, each), own in zip(spaces.items(), units, strict=True)
        }

    def _cut(self, networks: Sequence[Candidate]) -> None:
        sizes: dict[SharedUnit, tuple[int, int]] = {}
        for each in networks:
            for unit, size in self._members[each.picks].used(each.choice):
                width, depth = sizes.get(unit, (0, 0))
                sizes[unit] = max(width, size[0]), max(depth, size[1])
        for module in self.shared.modules():
            if isinstance(module, FreshUnit):
                module.cut(*sizes.get(module, (0, 0)))

    def sliced(self, x: Tensor, key: Picks, choice: Choice) -> Tensor:
        """Return the logits of a network of a member."""
        return self._members[key].sliced(x, choice)

    def hand_down(self, network: Network, key: Picks, choice: Choice) -> None:
        """Copy these weights to a separate network; see `SharedNetwork.hand_down`."""
        self._members[key].hand_down(network, choice)


class FamilyTraining:
    """A family's weights, their optimizer and their running mean.

    The mean of recent weights ranks the networks and is handed down to them. `candidates` are the
    remaining networks, `spare` those that may become candidates; each of `rounds` is its number of
    steps and mean loss.
    """

    def __init__(
        self,
        name: str,
        spaces: dict[Picks, Searchable],
        candidates: Sequence[Candidate],
        recipe: Recipe,
        *,
        spare: Sequence[Candidate] = (),
        seed: int,
        device: torch.device,
    ) -> None:
        self.name, self.spaces = name, spaces
        self.candidates, self.spare = list(candidates), list(spare)
        self._recipe, self._seed, self._device = recipe, seed, device
        # the only use of torch's global generator: initial weights
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            self._weights = Family(spaces, [*self.candidates, *self.spare]).to(device)
        self._mean = Mean(self._weights)
        self._optimizer = optimizer_of(self._weights, recipe)
        self._ranks = ranks()
        self.step = 0
        self.rounds: list[tuple[int, float]] = []

    def round(self, data: DataSet, last: int) -> None:
        """Take `ROUND` steps, or fewer up to the step `last`; all depends on seed and step.

        `data` is in its own input shape; each member gets it in the member's shape.
        """
        count = min(ROUND, last - self.step)
        generator = generator_for(self._seed, "family", self.name, self.step)
        size = self._recipe.batch_size
        losses = [
            self._train(data, index, generator)
            for index in batches(data.train, size, count, generator, data.objective)
        ]
        self.step += count
        loss = float(torch.stack(losses).mean())
        self.rounds.append((count, loss))
        if not math.isfinite(loss):
            raise MicronasError(
                f"the loss of shared weights must stay finite: {loss=} before step "
                f"{self.step} of {self.name}; lower "
                f"search.trial.learning_rate={self._recipe.learning_rate:g}"
            )

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next steps."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate

    def scores(self, data: DataSet) -> list[tuple[float, float]]:
        """Return each candidate's loss and score on validation, as in `Objective.trial`."""
        return self._ranks.once(
            lambda: [
                self._score(each, data.seen_as(each.space.input_shape)) for each in self.candidates
            ]
        )

    def hand_down(self, candidate: Candidate, data: DataSet) -> State | None:
        """Return these weights as the initial ones of a network; None for a user's own network."""
        if candidate.space.own_layers() is not None:
            return None
        network = Network(candidate.architecture.graph(), generator=torch.Generator())
        with self._mean.applied():
            self._weights.hand_down(network, candidate.picks, candidate.choice)
        split = data.seen_as(candidate.space.input_shape).train
        generator = generator_for(self._seed, "statistics", self.name)
        recalibrate(network, split, self._recipe, generator)
        state: State = network.state_dict()
        return state

    def state(self) -> State:
        """Return everything that a round changes."""
        return {
            "weights": copy.deepcopy(self._weights.state_dict()),
            "optimizer": copy.deepcopy(self._optimizer.state_dict()),
            "mean": self._mean.state(),
            "step": self.step,
            "rounds": list(self.rounds),
        }

    def restore(self, state: State) -> None:
        self._weights.load_state_dict(state["weights"])
        self._optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self._mean.restore(state["mean"])
        self.step, self.rounds = state["step"], list(state["rounds"])

    def _train(self, data: DataSet, index: Tensor, generator: torch.Generator) -> Tensor:
        which = int(torch.randint(len(self.candidates), (), generator=generator))
        candidate = self.candidates[which]
        split = data.seen_as(candidate.space.input_shape).train
        index = self._ranks.part(index)
        inputs, labels = moved(
            (split.batch(index, self._ranks.own(generator)), split.labels[index]), self._device
        )
        with mixed_precision(self._recipe.amp, self._device.type):
            logits = self._weights.sliced(inputs, candidate.picks, candidate.choice)
            loss = data.objective.loss(
                logits.float(), labels, smoothing=self._recipe.label_smoothing
            )
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        loss = self._ranks.average(self._weights, loss)
        self._optimizer.step()
        self._mean.update()
        return loss.detach()

    def _score(self, candidate: Candidate, data: DataSet) -> tuple[float, float]:
        split: Split = data.validation
        order = torch.randperm(len(split.labels), generator=generator_for(self._seed, "rank"))
        index = order[:_RANKED_BY]
        inputs, labels = moved((split.batch(index, None), split.labels[index]), self._device)
        with torch.inference_mode(), self._mean.applied():
            logits = self._weights.sliced(inputs, candidate.picks, candidate.choice)
        found = data.objective.trial(logits, labels)
        return found.loss, found.score
