"""Placements by hand, and that no two buffers collide."""

from hypothesis import given
from hypothesis import strategies as st

from micronas.engine.plan import Buffer, Overlap, lower_bound, plan
from micronas.quantities import aligned


def test_an_output_lies_over_the_operand_that_dies() -> None:
    buffers = [Buffer(100, 0, 1), Buffer(100, 1, 2), Buffer(60, 2, 3)]
    apart = plan(buffers, {})
    assert (apart.size, apart.bound) == (200, 200)
    over = plan(buffers, {(0, 1): Overlap(0), (1, 2): Overlap(0)})
    assert (over.size, over.bound, over.offsets) == (100, 100, (0, 0, 0))


def test_a_distance_is_kept() -> None:
    """An output that grows by 40 bytes as it is written begins so much before what it reads."""
    placed = plan([Buffer(100, 0, 1), Buffer(140, 1, 2)], {(0, 1): Overlap(40)})
    assert (placed.size, placed.offsets) == (140, (40, 0))


def test_an_exact_overlap_is_at_one_place_or_none() -> None:
    buffers = [Buffer(100, 0, 1), Buffer(48, 1, 2), Buffer(20, 0, 0)]
    placed = plan(buffers, {(0, 1): Overlap(0, exact=True)})
    assert placed.offsets[0] == placed.offsets[1]
    assert placed.size == 120


@given(
    st.lists(
        st.tuples(st.integers(1, 90), st.integers(0, 9), st.integers(0, 4)), min_size=1, max_size=14
    ),
    st.data(),
)
def test_buffers_in_use_at_once_are_apart_or_as_far_as_said(
    drawn: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    buffers = [Buffer(size, first, first + length) for size, first, length in drawn]
    pairs = [
        (a, b)
        for a, one in enumerate(buffers)
        for b, other in enumerate(buffers)
        if a != b and one.last == other.first and one.first < other.first
    ]
    chosen = data.draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    overlaps = {
        pair: Overlap(data.draw(st.integers(-90, 90)), exact=data.draw(st.booleans()))
        for pair in chosen
    }
    placed = plan(buffers, overlaps)
    assert lower_bound(buffers, overlaps) == placed.bound <= placed.size
    for a, one in enumerate(buffers):
        for b, other in enumerate(buffers):
            if a == b or one.last < other.first or other.last < one.first:
                continue
            begin, end = placed.offsets[a], placed.offsets[b]
            if begin + aligned(one.size) <= end or end + aligned(other.size) <= begin:
                continue
            overlap = overlaps.get((a, b)) or overlaps[b, a]
            distance = begin - end if (a, b) in overlaps else end - begin
            assert distance == 0 if overlap.exact else distance >= overlap.distance
