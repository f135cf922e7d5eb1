"""The size of a flatbuffer is that of its bytes, whatever is written."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from micronas.tflite.flatbuffer import Bytes, Size

SCALARS = {
    "Tensor": ("Type", "Buffer"),  # of one byte and four
    "Buffer": ("Offset", "Size"),  # of 8
    "SoftmaxOptions": ("Beta",),  # a float
    "Conv2DOptions": ("StrideH", "Padding", "StrideW"),
    "SubGraph": (),
}
POINTERS = {"Tensor": ("Name", "Shape"), "Buffer": ("Data",), "SubGraph": ("Name", "Inputs")}

FIELDS = {name: (*fields, *POINTERS.get(name, ())) for name, fields in SCALARS.items()}

tables = st.sampled_from(sorted(FIELDS)).flatmap(
    lambda name: st.tuples(
        st.just(name), st.dictionaries(st.sampled_from(FIELDS[name]), st.integers(0, 2))
    )
)
calls = st.lists(
    st.one_of(
        tables,
        st.tuples(st.just("vector"), st.sampled_from(["<i4", "<i8", "<f4"]), st.integers(0, 5)),
        st.tuples(st.just("offsets"), st.integers(0, 4)),
        st.tuples(st.just("constant"), st.binary(max_size=40)),
        st.tuples(st.just("string"), st.sampled_from(["", "a", "äöü", "weights", "x" * 17])),
    ),
    max_size=30,
)


def write(target: Bytes | Size, calls: list[tuple]) -> list[int]:  # type: ignore[type-arg]
    """Make the calls and return every offset; a pointer is to one of the last."""
    known = [target.string("first")]
    for what, *rest in calls:
        match what:
            case "vector":
                known.append(target.vector(np.ones(rest[1]), rest[0]))
            case "offsets":
                known.append(target.offsets(known[: rest[0]]))
            case "constant":
                known.append(target.constant(rest[0]))
            case "string":
                known.append(target.string(rest[0]))
            case _:
                pointers = POINTERS.get(what, ())
                fields = {
                    field: known[-1 - value % len(known)] if field in pointers else value
                    for field, value in rest[0].items()
                }
                known.append(target.table(what, fields))
    target.finish(known[-1])
    return known


@given(calls)
def test_offsets_and_size_are_those_of_the_bytes(calls: list[tuple]) -> None:  # type: ignore[type-arg]
    written, counted = Bytes(16), Size()
    assert write(counted, calls) == write(written, calls)
    assert counted.content() == len(written.content())
