"""Timing on real engines: what must hold on any machine, however busy."""

import gc
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import ai_edge_litert.schema_py_generated as schema
import flatbuffers
import pytest

from micronas.calibration.host import Engine, _Session, _session, _time, measure_all
from micronas.calibration.measurements import read_measurements
from micronas.errors import ConfigError, DataError, ExportError, ModelError
from micronas.graph.builder import Builder
from micronas.hardware.forms import FIVE_TERMS, OPS
from micronas.hardware.latency import Terms, fit, mean_worst_percent
from micronas.hardware.targets import CMSIS_NN
from micronas.space.space import Space
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import quantize_randomly

ENGINES: tuple[Engine, ...] = get_args(Engine)


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    """Whatever a test does, this thread keeps its CPUs."""
    before = os.sched_getaffinity(0)
    yield
    after = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before)
    assert after == before


def pointwise(width: int) -> bytes:
    """Two 1x1 convolutions on a 20x20 map: 800 x width^2 MACs."""
    builder = Builder((20, 20, width))
    hidden = builder.conv(builder.input, "first", width, activation="RELU")
    return to_flatbuffer(quantize_randomly(builder.finish(builder.conv(hidden, "second", width))))


@pytest.mark.parametrize("engine", ENGINES)
def test_sixteen_times_the_macs_take_longer(engine: Engine) -> None:
    timings = measure_all(
        {"narrow": pointwise(16), "wide": pointwise(64)}, engine=engine, repeats=5
    )
    assert list(timings) == ["narrow", "wide"]
    # outputs grow fourfold, MACs sixteenfold
    assert 2 < timings["wide"] / timings["narrow"] < 24


@pytest.mark.parametrize("engine", ENGINES)
def test_batches_are_long(engine: Engine) -> None:
    session = _session(pointwise(16), engine)
    session.run()
    # 10 ms each, as far as three calls can tell
    assert session.calls * session.times_ns[0] > 3e6


def test_networks_take_turns_without_garbage_collection() -> None:
    order: list[tuple[str, bool]] = []
    sessions = [
        _Session(b"", lambda name=name: order.append((name, gc.isenabled())), 2) for name in "ABC"
    ]
    _time(sessions, 2)
    assert order == [(name, False) for name in "AABBCC" * 2]
    assert [len(session.times_ns) for session in sessions] == [2, 2, 2]


def test_other_programs_on_the_cpu_do_not_count() -> None:
    model = {"model": pointwise(64)}
    quiet = measure_all(model, engine="tflm", repeats=5)["model"]
    deadline = time.monotonic() + 60
    with busy(max(os.sched_getaffinity(0))):
        # a scheduler may let this process run ahead for a while: until it does not
        while time.monotonic() < deadline:
            start, begun = time.perf_counter(), time.thread_time()
            crowded = measure_all(model, engine="tflm", repeats=15)["model"]
            if time.perf_counter() - start > 1.3 * (time.thread_time() - begun):
                break
        else:
            pytest.fail("two busy programs on the CPU took no time of it")
    # caches and memory are shared all the same, with programs on the other cores too
    assert 0.5 < crowded / quiet < 2


@contextmanager
def busy(cpu: int) -> Iterator[None]:
    """Let two other programs compute on a CPU."""
    code = f"import os; os.sched_setaffinity(0, {{{cpu}}}); print(flush=True)\nwhile True: pass"
    programs = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(2)
    ]
    try:
        for program in programs:
            program.stdout.readline()
        yield
    finally:
        for program in programs:
            program.kill()
            program.communicate()


def test_the_thread_stays_on_one_cpu_meanwhile() -> None:
    before, seen, done = os.sched_getaffinity(0), [], threading.Event()
    measuring = threading.get_native_id()

    def watch() -> None:
        while not done.wait(0.005):
            seen.append(frozenset(os.sched_getaffinity(measuring)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    measure_all({"model": pointwise(16)}, repeats=10)
    done.set()
    watcher.join()
    assert frozenset({max(before)}) in seen


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collection_and_cpus_are_restored_even_after_an_error(enabled: bool) -> None:
    if not enabled:
        gc.disable()
    try:
        measure_all({"model": pointwise(4)}, repeats=1)
        assert gc.isenabled() == enabled
        for engine in ENGINES:
            with pytest.raises(ExportError):
                measure_all({"odd": unknown_operator()}, engine=engine)
            assert gc.isenabled() == enabled
    finally:
        gc.enable()


def unknown_operator() -> bytes:
    """A well-formed model of a custom operator that no engine has."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(pointwise(4), 0))
    (code,) = model.operatorCodes
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = "SpecialOperator"
    for op in model.subgraphs[0].operators:
        op.builtinOptions, op.builtinOptionsType = None, schema.BuiltinOptions.NONE
    writer = flatbuffers.Builder()
    writer.Finish(model.Pack(writer), b"TFL3")
    return bytes(writer.Output())


@pytest.mark.parametrize(
    ("engine", "message"),
    [("litert", "LiteRT .*SpecialOperator"), ("tflm", "TFLM .*op code CUSTOM")],
)
def test_an_operator_the_engine_lacks_is_named(engine: Engine, message: str) -> None:
    with pytest.raises(ExportError, match=f"^odd: {message}") as caught:
        measure_all({"odd": unknown_operator()}, engine=engine)
    assert "\n" not in str(caught.value)


def test_a_time_with_an_operator_that_nobody_counted_measures_no_other(tmp_path: Path) -> None:
    (tmp_path / "odd.tflite").write_bytes(unknown_operator())
    (tmp_path / "mine.csv").write_text("model,latency_ms\nodd.tflite,5\n")
    with pytest.raises(DataError, match=r"line 2 has 'odd.tflite' with SpecialOperator; delete"):
        read_measurements(tmp_path / "mine.csv")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_damaged_model_never_reaches_the_engine(engine: Engine) -> None:
    with pytest.raises(
        ModelError, match=r"^cut: a model must be a whole TFLite flatbuffer"
    ) as caught:
        measure_all({"cut": pointwise(4)[:400]}, engine=engine)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match=r"^second: a model must be"):
        measure_all({"first": pointwise(4), "second": b"text"}, engine=engine)


def test_nothing_to_measure() -> None:
    assert measure_all({}) == {}
    with pytest.raises(ConfigError, match="unknown engine 'tflite'; "):
        measure_all({}, engine="tflite")  # type: ignore[arg-type]


@pytest.mark.long
def test_twelve_networks_predict_twenty_others() -> None:
    """By five terms better than by MACs alone; by how much is the machine's matter."""
    generator = random.Random(0)
    spaces = [Space.load(name) for name in ("kws", "ad", "vww")]
    shapes = [spaces[at % 3].architecture(spaces[at % 3].random(generator)) for at in range(32)]
    graphs = [quantize_randomly(each.graph(), at) for at, each in enumerate(shapes)]
    models = {str(at): to_flatbuffer(graph) for at, graph in enumerate(graphs)}
    timings = measure_all(models, repeats=8)
    assert list(timings) == list(models)
    counts, times = [CMSIS_NN.features(graph) for graph in graphs], [*timings.values()]

    def mean_error(terms: Terms) -> float:
        model = fit(counts[:12], times[:12], terms=terms).model
        unseen = zip(counts[12:], times[12:], strict=True)
        return mean_worst_percent([float(model.predict(row)) / took - 1 for row, took in unseen])[0]

    assert mean_error(FIVE_TERMS) < mean_error(OPS)
