import csv
import io
import json
from math import prod
from pathlib import Path

import pytest

from micronas import resources
from micronas.space.open_space import OpenSpace, load_space
from micronas.space.space import Space
from micronas.space.tree import describe_tree, tree_rows, tree_text
from tests.command import command

OPEN = """
name: mine
classes: 5
families:
  plain:
    input: [32, 1, 3]
    stem: {width: [8, 16], kernel: 3x1, stride: {any: [1, 2]}}
    blocks:
      - any: [[], [{type: pool, window: [2, 1], stride: [2, 1]}]]
      - {type: separable, width: [8, 16, 24], kernel: [3x1, 5x1], repeat: 2, skip: true}
  mixed:
    input: [32, 1, 3]
    stem: {width: 8, kernel: 3x1}
    blocks:
      - type: select
        options: [{type: conv, width: [8, 16], kernel: 3x1}, {type: residual, kernel: 5x1}]
    head: {width: {min: 32, max: 64, step: 4}}
"""
# by hand: plain has 2 x 2 layouts, and in each 2 widths of the stem, 3 depths and twice 3 widths of
# 2 kernels; mixed has 2 kinds, 2 widths and 9 of the head
DRAWN = """\
mine: 5 classes, 2 families
├─ plain: input 32x1x3, 860 networks in 4 layouts, of which the first
│  ├─ layout: stem.stride is 1 | 2
│  ├─ layout: blocks.0 is nothing | [{type: pool, window: [2, 1], stride: [2, 1]}]
│  ├─ stem: conv
│  │  └─ width: 8 | 16
│  ├─ block1-2: separable, 2 in a row
│  │  ├─ depth: 0 | 1 | 2
│  │  ├─ kernel: 3x1 | 5x1
│  │  └─ width: 8 | 16 | 24
│  └─ head: classifier, nothing to choose
└─ mixed: input 32x1x3, 36 networks
   ├─ stem: conv, nothing to choose
   ├─ block1: select
   │  ├─ block1a: conv
   │  │  └─ width: 8 | 16
   │  └─ block1b: residual, nothing to choose
   └─ head: classifier
      └─ width: 32, 36, ... 64 (9)"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(OPEN)
    return path


def test_a_space_is_drawn_as_its_file_says(mine: Path) -> None:
    assert tree_text(describe_tree(load_space(mine))) == DRAWN


@pytest.mark.parametrize("name", resources.names("search_spaces"))
def test_every_decision_of_a_space_stands_in_its_tree(name: str) -> None:
    space = load_space(name)
    first = [
        space if isinstance(space, Space) else space.member(family, (0,) * len(space.sizes(family)))
        for family in ([""] if isinstance(space, Space) else space.families)
    ]
    tree = describe_tree(space)
    for member, family in zip(first, tree["families"], strict=True):
        fields = {(each.name.rpartition(".")[2], tuple(each.labels)) for each in member.decisions}
        fields = {each for each in fields if each[0] != "kind"}  # is in the options
        assert fields == {
            (row["name"], tuple(row["options"]))
            for row in tree_rows(tree)
            if row["family"] == family["name"] and row["name"] != "kind"
        }
        layouts = prod(len(each["options"]) for each in family["layouts"])
        if isinstance(space, OpenSpace):
            assert layouts == prod(space.sizes(family["name"]))
    assert max(map(len, tree_text(tree, width=80).splitlines())) <= 80


def test_the_command_draws_a_space_by_name_or_file(mine: Path) -> None:
    assert command("spaces", mine, "--wide").stdout == f"{DRAWN}\n"
    assert json.loads(command("spaces", "kws", "--json").stdout)["families"][0]["name"] == "kws"
    rows = list(csv.DictReader(io.StringIO(command("spaces", mine, "--csv").stdout)))
    assert len(rows) == 7
    assert command("spaces", "kws_opem").stderr.count("did you mean 'kws_open'") == 1
