"""Batches by expert: nothing lost, nothing twice, nobody overtaken too often."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micronas.errors import ConfigError
from micronas.router.store import BatchQueue


def taken(queue: BatchQueue[int], **resident: set[str]) -> tuple[str, list[int]]:
    batch = queue.take(**resident)
    return batch.expert, batch.requests


def filled(experts: str, *, size: int, patience: int) -> BatchQueue[int]:
    queue: BatchQueue[int] = BatchQueue(size, patience=patience)
    for number, expert in enumerate(experts):
        queue.put(number, expert)
    return queue


def test_an_expert_in_memory_comes_first_then_the_one_most_wait_for() -> None:
    queue = filled("abbccc", size=8, patience=9)
    assert taken(queue, resident={"b", "x"}) == ("b", [1, 2])
    assert taken(queue) == ("c", [3, 4, 5])
    assert taken(queue) == ("a", [0])
    with pytest.raises(IndexError, match="no request is waiting"):
        queue.take()


def test_a_batch_is_no_larger_than_its_bound() -> None:
    queue = filled("aaaab", size=3, patience=9)
    assert taken(queue) == ("a", [0, 1, 2])
    assert taken(queue) == ("a", [3])
    assert len(queue) == 1


def test_with_patience_one_the_oldest_is_overtaken_once() -> None:
    queue = filled("abbccc", size=8, patience=1)
    assert taken(queue) == ("c", [3, 4, 5])
    assert taken(queue) == ("a", [0])
    assert taken(queue) == ("b", [1, 2])


def test_without_patience_the_oldest_decides() -> None:
    queue = filled("abcab", size=8, patience=0)
    order = [taken(queue, resident={"c"})[1] for _ in range(3)]
    assert order == [[0, 3], [1, 4], [2]]


@given(
    st.lists(st.one_of(st.sampled_from("abcde"), st.none()), max_size=80),
    st.integers(1, 4),
    st.integers(0, 5),
    st.lists(st.sets(st.sampled_from("abcde")), min_size=1, max_size=5),
)
def test_every_request_is_served_once_and_soon(
    events: list[str | None], size: int, patience: int, residents: list[set[str]]
) -> None:
    queue: BatchQueue[int] = BatchQueue(size, patience=patience)
    expert_of: dict[int, str] = {}
    before: dict[int, int] = {}  # requests that waited when this one arrived
    waited: dict[int, int] = {}  # batches since
    overtaken: dict[int, int] = {}
    waiting: set[int] = set()
    served: list[int] = []

    def take() -> None:
        batch = queue.take(resident=residents[len(served) % len(residents)])
        assert 1 <= len(batch.requests) <= size
        assert {expert_of[each] for each in batch.requests} == {batch.expert}
        waiting.difference_update(batch.requests)
        served.extend(batch.requests)
        for each in waiting:
            waited[each] += 1
            overtaken[each] += min(batch.requests) > each

    for event in events:
        if event is not None:
            number = len(expert_of)
            expert_of[number], before[number] = event, len(waiting)
            waited[number] = overtaken[number] = 0
            waiting.add(number)
            queue.put(number, event)
        elif waiting:
            take()
    while len(queue):
        take()
    assert sorted(served) == list(range(len(expert_of)))
    for expert in "abcde":  # first come, first served, within an expert
        own = [each for each in served if expert_of[each] == expert]
        assert own == sorted(own)
    assert all(count <= patience for count in overtaken.values())
    assert all(waited[each] <= before[each] + patience for each in waited)


@pytest.mark.parametrize(("size", "patience"), [(0, 1), (1, -1)])
def test_a_queue_that_makes_no_sense_is_refused(size: int, patience: int) -> None:
    with pytest.raises(ConfigError, match=f"size={size}, patience={patience}"):
        BatchQueue(size, patience=patience)
