"""The networks of the zoo by name, in the order of the table."""

from benchmarks.zoo import images, series, timm, torchvision
from benchmarks.zoo.entry import Entry

NETWORKS: dict[str, Entry] = {
    entry.name: entry
    for entries in (torchvision.ENTRIES, timm.ENTRIES, series.ENTRIES, images.ENTRIES)
    for entry in entries
}
