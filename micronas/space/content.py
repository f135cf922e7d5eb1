"""Identity of a search space: its decisions and, of a user's own module, its weights."""

import hashlib

from micronas.space.open_space import OpenSpace
from micronas.space.searchable import Searchable


def content(space: Searchable | OpenSpace) -> str:
    """Return a hash of all that a search of the space depends on, the same in every process."""
    digest = hashlib.sha256()
    for part in _parts(space):
        digest.update(part)
    return digest.hexdigest()[:16]


def _parts(space: Searchable | OpenSpace) -> list[bytes]:
    if isinstance(space, OpenSpace):
        return [space.model_dump_json().encode()]
    choices, own = space.choices, space.own_layers()
    parts = [
        repr((space.title, space.kind, choices.decisions, choices.steps)).encode(),
        repr((choices.acts, sorted(choices.widening))).encode(),
        repr([(name, each.shape) for name, each in choices.tensors.items()]).encode(),
    ]
    for name, each in ({} if own is None else own.module.state_dict()).items():
        parts += [name.encode(), each.detach().cpu().contiguous().numpy().tobytes()]
    return parts
