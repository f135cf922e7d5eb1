"""One set of weights for several spaces: a filter does not depend on the size of its map.

Members of a family differ in strides, in the size of the input, in kernels that are fixed before
weights are shared, and in some of their operators; operators with the same name and channels share
weights.
"""

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

from torch import Tensor, nn

from micronas.nas.supernet.supernet import SharedNetwork, fresh_units
from micronas.space.decisions import Choice
from micronas.space.searchable import Searchable
from micronas.train.network import Network

Key = TypeVar("Key", bound=Hashable)


class Family(nn.Module, Generic[Key]):
    """The networks of several spaces with weights in common.

    Parameters
    ----------
    spaces
        Members by key. A user's network, which has its own weights, must be the only one.
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
        self.shared = nn.ModuleList(dict.fromkeys(unit for own in units for unit in own.values()))
        self._members = {
            key: SharedNetwork(each, units=own)
            for (key, each), own in zip(spaces.items(), units, strict=True)
        }

    def sliced(self, x: Tensor, key: Key, choice: Choice) -> Tensor:
        """Return the logits of a network of a member."""
        return self._members[key].sliced(x, choice)

    def hand_down(self, network: Network, key: Key, choice: Choice) -> None:
        """Copy these weights to a separate network; see `SharedNetwork.hand_down`."""
        self._members[key].hand_down(network, choice)
