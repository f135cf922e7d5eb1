"""One set of weights for several spaces: a filter does not depend on the size of its map.

Members of a family differ in strides, in the size of the input, and in kernels that are settled
before shared weights are: their operators have the same names and channels.
"""

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

from torch import Tensor, nn

from micronas.nas.supernet.supernet import SharedNetwork, fresh_units, registered
from micronas.space.decisions import Choice
from micronas.space.searchable import Searchable
from micronas.train.network import Network, filter_layout, weighted_ops

Key = TypeVar("Key", bound=Hashable)
Signature = tuple[tuple[str, str, tuple[int, ...]], ...]


class Family(nn.Module, Generic[Key]):
    """The networks of several spaces with weights in common.

    Parameters
    ----------
    spaces
        Of one `signature`, by key. A user's network, which has weights of its own, stands alone.
    """

    def __init__(self, spaces: Mapping[Key, Searchable]) -> None:
        super().__init__()
        first, *others = spaces.values()
        self._members: dict[Key, SharedNetwork]
        if not others:
            self.shared: nn.Module = SharedNetwork(first)
            self._members = {key: self.shared for key in spaces}
            return
        units = fresh_units([each.choices.largest for each in spaces.values()])
        self.shared = registered(units)
        self._members = {key: SharedNetwork(each, units=units) for key, each in spaces.items()}

    def sliced(self, x: Tensor, key: Key, choice: Choice) -> Tensor:
        """Return logits of a network of a member."""
        return self._members[key].sliced(x, choice)

    def hand_down(self, network: Network, key: Key, choice: Choice) -> None:
        """Give a network of its own these weights; see `SharedNetwork.hand_down`."""
        self._members[key].hand_down(network, choice)


def signature(space: Searchable) -> Signature:
    """Return what spaces must agree in to share weights: names and channels of operators."""
    graph = space.choices.largest
    return tuple(
        (op.name, op.kind, filter_layout(op, graph.constant_of(op).shape)[:2])
        for op in weighted_ops(graph)
    )
