"""The networks of the zoo by name, in the order of the tables: known long, and drawn."""

from collections.abc import Sequence

from benchmarks.zoo import drawn, images, series, timm, torchvision
from benchmarks.zoo.entry import Entry


def _by_name(*lists: Sequence[Entry]) -> dict[str, Entry]:
    return {entry.name: entry for entries in lists for entry in entries}


KNOWN = _by_name(torchvision.ENTRIES, timm.ENTRIES, series.ENTRIES, images.ENTRIES)
DRAWN = _by_name(drawn.ENTRIES)
NETWORKS = {**KNOWN, **DRAWN}
