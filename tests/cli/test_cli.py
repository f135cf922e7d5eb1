"""The command line, as a person at a terminal meets it."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from micronas.tflite.metadata import describe
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import random_int8_graph
from tests.command import command as run
from tests.command import complaints, here


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "net.tflite"
    path.write_bytes(to_flatbuffer(random_int8_graph(3, family="ds_cnn")))
    return path


def test_help_lists_every_command() -> None:
    done = run("--help")
    assert done.returncode == 0
    for name in (
        *("search", "train", "export", "profile", "verify", "boards", "spaces", "data"),
        "calibrate",
    ):
        assert re.search(rf"\b{name}\b", done.stdout)


def test_spaces_and_boards_print_tables() -> None:
    assert "kws_small" in run("spaces").stdout
    assert "180 MHz" in run("boards").stdout
    boards = {board["name"]: board for board in json.loads(run("boards", "--json").stdout)}
    assert len(boards) == 23
    assert boards["stm32f446re"]["sram_bytes"] == 128 * 1024
    for board in boards.values():
        assert {"name", "sram_bytes", "flash_bytes", "clock_hz", "latency"} <= board.keys()
        assert {"terms", "networks", "leave_one_out_percent", "source"} <= board["latency"].keys()


def test_profile_of_a_file_has_the_keys_of_metrics(model: Path) -> None:
    described = json.loads(run("profile", model, "--board", "stm32f746zg", "--json").stdout)
    assert described["flash_bytes"] == model.stat().st_size
    assert described["ops"] == 2 * described["macs"] > 0
    keys = {"arena_bytes", "arena_head_bytes", "latency_ms", "energy_mj", "layers"}
    assert keys <= described.keys()
    assert sum(layer["macs"] for layer in described["layers"]) == described["macs"]
    assert "energy" in run("profile", model).stdout


def test_verify_finds_no_mismatch_and_the_arena_that_profile_predicts(model: Path) -> None:
    checked = json.loads(run("verify", model, "--samples", 5, "--json").stdout)
    assert checked["tflm_mismatches"] == 0
    assert checked["bytes_compared"] > 0
    described = json.loads(run("profile", model, "--json").stdout)
    assert checked["host_arena_bytes"] == described["host_arena_bytes"]


def test_export_writes_the_same_model_and_a_header_that_compiles(
    model: Path, tmp_path: Path
) -> None:
    assert run("export", model, "--out", tmp_path / "copy.tflite").returncode == 0
    assert (tmp_path / "copy.tflite").read_bytes() == model.read_bytes()
    assert run("export", model, "--format", "c", "--out", tmp_path / "my-net.h").returncode == 0
    source = tmp_path / "main.cc"
    size = model.stat().st_size
    source.write_text(
        f'#include "my-net.h"\nstatic_assert(kMyNetBytes == {size}, "size");\n'
        'static_assert(sizeof(kMyNet) == kMyNetBytes, "data");\n'
        'static_assert(kMyNetArenaBytes > 0, "arena");\n'
        "int main() { return kMyNet[4] == 'T' && kMyNet[5] == 'F' ? 0 : 1; }\n"
    )
    program = tmp_path / "main"
    subprocess.run(["g++", "-std=c++17", "-Wall", "-Werror", source, "-o", program], check=True)
    assert subprocess.run([program], check=False).returncode == 0


def test_export_writes_onnx_and_projects(model: Path, tmp_path: Path) -> None:
    assert run("export", model, "--format", "onnx", cwd=tmp_path).returncode == 0
    assert (tmp_path / "net.onnx").stat().st_size > 1000
    assert run("export", model, "--format", "project", cwd=tmp_path).returncode == 0
    assert (tmp_path / "net-project" / "CMakeLists.txt").is_file()
    assert run("export", model, "--format", "arduino", "--out", "sk", cwd=tmp_path).returncode == 0
    assert (tmp_path / "sk" / "sk.ino").is_file()


def test_export_names_the_output_as_the_run_folder(model: Path, tmp_path: Path) -> None:
    (tmp_path / "kws.v2").mkdir()
    (tmp_path / "kws.v2" / "model.tflite").write_bytes(model.read_bytes())
    assert run("export", ".", cwd=tmp_path / "kws.v2").stdout.startswith("kws.v2.tflite: ")


def test_export_keeps_labels_and_profile_shows_them(tmp_path: Path) -> None:
    metadata = describe(classes=["yes", "no"], meaning={})
    data = to_flatbuffer(random_int8_graph(3, family="ds_cnn"), metadata=metadata)
    (tmp_path / "net.tflite").write_bytes(data)
    assert run("export", "net.tflite", "--out", "copy.tflite", cwd=tmp_path).returncode == 0
    assert (tmp_path / "copy.tflite").read_bytes() == data
    assert "yes, no" in run("profile", "copy.tflite", cwd=tmp_path).stdout


@pytest.mark.long
def test_profile_of_several_boards_has_a_row_each(model: Path) -> None:
    described = json.loads(run("profile", model, "--board", "all", "--json").stdout)
    listed = json.loads(run("boards", model, "--json").stdout)
    assert described["boards"] == listed
    assert len(listed) == 23
    assert "fits" in run("boards", model).stdout
    two = run("profile", model, "--board", "stm32f767zi", "--board", "stm32f446re").stdout
    assert two.index("on stm32f767zi") < two.rindex("stm32f446re")
    rows = run("profile", model, "--board", "all", "--csv").stdout.splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == [each["board"] for each in listed]


@pytest.mark.long
def test_verify_compares_layers(model: Path, tmp_path: Path) -> None:
    found = json.loads(run("verify", model, "--layers", "--samples", 4, "--json").stdout)
    assert found["reference"] == "int8 weights in float arithmetic"
    names = [layer["name"] for layer in found["layers"]]
    assert found["culprit"] in names
    assert {"cumulative", "local", "saturated"} <= found["layers"][0].keys()
    table = run("verify", model, "--layers", "--samples", 4).stdout
    (marked,) = [line for line in table.splitlines() if line.endswith("<-")]
    assert marked.startswith(found["culprit"])
    shape = read(model.read_bytes()).tensors["input"].shape[1:]
    np.save(tmp_path / "inputs.npy", np.full((3, *shape), 5, np.int8))
    given = run("verify", model, "--inputs", tmp_path / "inputs.npy", "--json").stdout
    assert json.loads(given)["samples"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("profile none.tflite", "a model must be a .tflite file or a run folder"),
        ("profile broken.tflite", "a model must be a whole TFLite flatbuffer"),
        ("profile net.tflite --board stm32f446", "did you mean 'stm32f446re'"),
        ("export net.tflite --format hex", "a format must be one of tflite, c, onnx"),
        ("export net.tflite --out net.tflite/x", "an output file must be writable"),
        ("export net.tflite --format c --out net.tflite", "an output must not replace the model"),
        (
            "export net.tflite --format zephyr --camera 320x240:gray",
            "--camera is for programs that read pictures",
        ),
        ("verify net.tflite --inputs net.tflite", "examples must be a .npy file"),
        ("search kws_smal", "did you mean 'kws_small'"),
        ("search kws_small", "a run must name its board"),
        ("search kws_small board=stm32f446re", "a run must name its data"),
        ("search kws_small board=stm32f446re data.path=x serach.steps=3", "did you mean 'search'"),
        ("search kws_small board=stm32f446re data.path=nowhere", "nowhere"),
        ("train none.yaml", "none.yaml"),
        ("data check kws nowhere", "nowhere"),
        ("data check kws \x1b[31m\u202e", "\ufffd[31m\ufffd"),  # no colour, no turned line
        ("data synth vw x", "a task must be one of kws, images, vww, ad, series, arrays"),
        ("data check vww nowhere", "nowhere"),
    ],
)
def test_a_mistake_ends_in_one_line_and_code_two(
    arguments: str, message: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.tflite").write_bytes(model.read_bytes())
    (tmp_path / "broken.tflite").write_bytes(model.read_bytes()[:1000])
    before = sorted(tmp_path.iterdir())
    ended = here(arguments)
    assert (ended.code, ended.out) == (2, "")
    assert len(complaints(ended.err).splitlines()) == 1
    assert ended.err.rpartition("error: ")[2].removesuffix("\n").isprintable()
    assert message in ended.err
    assert sorted(tmp_path.iterdir()) == before  # nothing is left behind


@pytest.mark.parametrize("arguments", [("data", "synth", "vww", "x"), ("verify", "x.tflite")])
def test_a_seed_is_not_negative(arguments: tuple[str, ...]) -> None:
    done = run(*arguments, "--seed", -5)
    assert (done.returncode, "greater than or equal to 0" in done.stderr) == (2, True)


def test_every_public_name_exists() -> None:
    import micronas

    assert all(getattr(micronas, name) is not None for name in micronas.__all__)
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        _ = micronas.serach
