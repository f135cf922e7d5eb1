"""Spaces of several families, and what they leave open."""

import random
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from micronas.errors import ConfigError
from micronas.resources import names
from micronas.space.open_space import OpenSpace, load_space
from micronas.space.space import Space

FAMILIES: dict[str, dict[str, Any]] = yaml.safe_load("""
over_time:
  input: {any: [[8, 1, 4], [4, 1, 4]]}
  stem: {width: [4, 8], kernel: [3, 1], stride: {any: [1, 2]}}
  blocks:
  - any: [[], [{type: pool, window: [2, 1], stride: [2, 1]}]]
  - {type: residual, width: [4, 8, 12], kernel: [3, 1]}
flat:
  input: [8, 4, 1]
  stem: {width: [4, 8], kernel: 3}
  blocks:
  - any: [{type: conv, width: 8}, {type: separable, width: 8}]
""")


def toy(**changed: object) -> OpenSpace:
    return OpenSpace.model_validate({"name": "toy", "classes": 4, "families": FAMILIES} | changed)


def test_each_any_is_settled_in_every_way() -> None:
    space = toy()
    assert space.sizes("over_time") == (2, 2, 2)
    assert space.count() == 8 + 2
    members = list(space.members())
    assert len({member.text() for member in members}) == 10
    over_time = members[:8]
    assert {member.input for member in over_time} == {(8, 1, 4), (4, 1, 4)}
    assert {member.stem.stride for member in over_time} == {(1, 1), (2, 2)}
    assert {len(member.blocks) for member in over_time} == {1, 2}
    assert [member.blocks[0].type for member in members[8:]] == ["conv", "separable"]
    assert {member.name for member in members} == {"toy/over_time", "toy/flat"}


def test_bits_of_a_space_are_those_of_all_parts_that_say_nothing() -> None:
    families = yaml.safe_load("""
        flat:
          input: [8, 4, 1]
          stem: {width: [4, 8], kernel: 3}
          blocks:
          - {type: pool}
          - {type: conv, width: 8, bits: 8}
          - type: select
            options: [{type: separable, width: [8, 12]}, {type: residual, width: [8, 12]}]
          head: {any: [{}, {width: 16}, {width: 16, bits: 4}]}
    """)
    by_hand = deepcopy(families["flat"])
    for option in by_hand["blocks"][2]["options"]:
        option["bits"] = [4, 8]
    by_hand["head"]["any"][1]["bits"] = [4, 8]
    mixed = toy(families=families, bits=[4, 8])
    assert list(mixed.members()) == list(toy(families={"flat": by_hand}).members())
    names = [[each.name for each in m.decisions if each.kind == "bits"] for m in mixed.members()]
    assert names[0] == names[2] == ["block3a.bits", "block3b.bits"]
    assert names[1] == ["block3a.bits", "block3b.bits", "head.bits"]
    assert toy() == toy(bits=8)


def test_a_copy_with_other_classes_has_members_with_them() -> None:
    space = toy()
    assert next(space.members()).classes == 4
    assert next(space.model_copy(update={"classes": 7}).members()).classes == 7


def test_draws_settle_every_any_with_equal_chances() -> None:
    space, source = toy(), random.Random(0)
    drawn = [space.draw("over_time", source) for _ in range(400)]
    for place in range(3):
        assert 150 < sum(picks[place] for picks in drawn) < 250


@pytest.mark.parametrize(
    ("families", "complaint"),
    [
        ({}, "families must be at least one"),
        ({"a": FAMILIES["flat"] | {"input": {"any": []}}}, "any must have options"),
        ({"a": FAMILIES["flat"] | {"stem": {"kernel": 3}}}, "stem.width"),
        ({"a": FAMILIES["flat"] | {"input": {"any": [[8, 4, 1], [8, 4]]}}}, "families.a"),
        (
            {"a": FAMILIES["flat"] | {"blocks": [{"any": [1, [], 2, []]}]}},
            r"a.blocks.0: .* \[\] tw",
        ),
        ({"a": FAMILIES["flat"] | {"blocks": [{"any": [[], [1]]}] * 10}}, "at most 1,000 ways"),
    ],
)
def test_a_family_that_is_no_space_is_refused_in_words(
    families: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        toy(families=families)


def test_a_file_is_of_one_family_or_of_several(tmp_path: Path) -> None:
    several, one = tmp_path / "several.yaml", tmp_path / "one.yaml"
    several.write_text(yaml.safe_dump(toy().model_dump(mode="json")))
    one.write_text(next(toy().members()).text())
    assert isinstance(load_space(several), OpenSpace)
    assert isinstance(load_space(one), Space)
    several.write_text("families: {}\n")
    with pytest.raises(ConfigError, match="classes"):
        load_space(several)


def test_several_families_are_no_space_of_one() -> None:
    with pytest.raises(ConfigError, match=r"must be of one family here, but kws_open has several"):
        Space.load("kws_open")


def test_shipped_open_spaces_name_textbook_networks_that_ship() -> None:
    spaces = [load_space(name) for name in names("search_spaces")]
    several = [space for space in spaces if isinstance(space, OpenSpace)]
    assert {space.name for space in several} >= {"kws_open", "images_open"}
    assert {name for space in several for name in space.textbook} <= {
        *names("search_spaces/textbook")
    }


def test_families_without_an_input_share_that_of_the_space() -> None:
    """So that data says it once; a family that has its own keeps it."""
    without = {key: value for key, value in FAMILIES["flat"].items() if key != "input"}
    space = toy(input=[8, 4, 1], families=FAMILIES | {"shared": without})
    other = space.model_copy(update={"input": (16, 2, 3)})
    inputs = {member.name: member.input for member in other.members()}
    assert inputs["toy/shared"] == (16, 2, 3)
    assert inputs["toy/flat"] == (8, 4, 1)
    with pytest.raises(ValueError, match=r"input"):
        toy(families={"shared": without})
