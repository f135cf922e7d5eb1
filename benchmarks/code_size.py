"""Bytes of code by operator, from a linker's map: what `latency_models/cmsis_nn_code.csv` holds.

    TFLM_SOURCE=<checkout> TFLM_LIBRARY=<libtensorflow-microlite.a> TFLM_LIBRARY_OS=<the same> \
        python -m benchmarks.code_size OUT.csv

The first library has kernels at -O2, which is TFLM's default, the second at -Os: build it with
BASE_GENDIR=gen_os KERNEL_OPTIMIZATION_LEVEL=-Os THIRD_PARTY_KERNEL_OPTIMIZATION_LEVEL=-Os. The
firmware that micronas writes is linked once for each operator, with unused sections left out.
Sections that the same operators need are one row, so that the code of any set of operators is the
sum of the rows that name one of them. The linker keeps one of equal strings, so that each string is
counted as a section of its own, whoever needs it. What is counted of a link is held against it.
"""

import os
import re
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path

from micronas.export.examples import random_inputs
from micronas.export.firmware.board import CORTEX_M4
from micronas.export.firmware.project import write_project
from micronas.export.firmware.tflm import INT8_ALONE
from micronas.graph.builder import Builder
from micronas.graph.operators import OPERATORS
from micronas.hardware.code import FULL
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import quantize_randomly
from testing.usage import given

_MODEL = re.compile(r"kModel\b|kGolden|_ZL6kModel|_ZL\d+kGolden")
_SECTION = re.compile(
    r"^ \.(text|rodata|data|init_array|ARM.exidx)(\S*)\s+0x(\w+)\s+0x(\w+)\s+(\S+)$"
    # of sections that were merged: the size in the map is that of all, where the first one lies
    r"(?:\n\s+0x(\w+) \(size before relaxing\))?",
    re.MULTILINE,
)
_STRINGS = re.compile(r"\.str1\.(\d)$")
_SLACK = 0.005
"""Share of a link by which more may be counted: sections that need no address of four bytes."""


_LEVELS = {"-O2": "TFLM_LIBRARY", "-Os": "TFLM_LIBRARY_OS"}


def main(out: Path) -> None:
    measured = {level: _rows(level, os.environ[name]) for level, name in _LEVELS.items()}
    sets = sorted({names for rows in measured.values() for names in rows})
    lines = [
        ",".join(str(rows.get(operators, 0)) for rows in measured.values())
        + f",{' '.join(operators)}"
        for operators in sets
    ]
    out.write_text("bytes,bytes_at_os,operators\n" + "\n".join(lines) + "\n", encoding="utf-8")
    for level, rows in measured.items():
        print(f"{level}: {len(rows)} rows; {rows[()]} bytes without an operator")


def _rows(level: str, library: str) -> dict[tuple[str, ...], int]:
    """Return the bytes that each set of operators needs together."""
    with tempfile.TemporaryDirectory() as scratch:
        build = _Build(Path(scratch), Path(os.environ["TFLM_SOURCE"]), library, level)
        base = build.link(None)
        users: dict[tuple[str, str], set[str]] = defaultdict(set)
        sizes = dict(base)
        for name in build.names:
            for section, size in build.link(name).items():
                sizes[section] = max(size, sizes.get(section, 0))
                if section not in base:
                    users[section].add(name)
    rows: dict[tuple[str, ...], int] = defaultdict(int)
    for section, size in sizes.items():
        rows[() if section in base else tuple(sorted(users[section]))] += size
    return rows


class _Build:
    """One compilation of the firmware and of all registrations, and a link for each."""

    def __init__(self, folder: Path, source: Path, library: str, level: str) -> None:
        self.folder, self.library = folder / "project", library
        builder = Builder((4, 4, 1))
        graph = quantize_randomly(builder.finish(builder.conv(builder.input, "y", 1, (1, 1))))
        write_project(
            to_flatbuffer(graph), self.folder, golden_input=random_inputs(graph, 1, seed=0)
        )
        registered = {OPERATORS[kind].register: "" for kind in OPERATORS if kind != "UNKNOWN"}
        self.names: dict[str, str] = {}
        for kind in OPERATORS:
            if kind == "UNKNOWN":
                continue
            call = OPERATORS[kind].register
            if kind in INT8_ALONE:
                self.names[kind] = f"{call}(tflite::Register_{kind}_INT8())"
                self.names[kind + FULL] = f"{call}()"
            else:
                self.names[kind] = f"{call}()"
        header = (
            '#pragma once\n#include "tensorflow/lite/micro/kernels/pad.h"\n'
            '#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"\n'
            f"using Resolver = tflite::MicroMutableOpResolver<{len(registered)}>;\n"
            'extern "C" bool micronas_register(Resolver& resolver);\n'
            "inline bool RegisterOperators(Resolver& resolver)"
            " { return micronas_register(resolver); }\n"
        )
        (self.folder / "resolver.h").write_text(header)
        functions = [
            f'extern "C" bool add_{number}(Resolver& r) {{ return r.{call} == kTfLiteOk; }}'
            for number, call in enumerate(self.names.values())
        ]
        none = 'extern "C" bool add_none(Resolver&) { return true; }'
        text = "\n".join(['#include "resolver.h"', none, *functions])
        (self.folder / "operators.cc").write_text(text)
        downloads = source / "tensorflow/lite/micro/tools/make/downloads"
        includes = [source, downloads / "flatbuffers/include", downloads / "gemmlowp"]
        flags = [
            *CORTEX_M4.flags.split(),
            *(level, "-ffunction-sections", "-fdata-sections", "-w", "-DTF_LITE_STATIC_MEMORY"),
            *("-DCMSIS_NN", "-DMICRONAS_SYSTICK", "-DNDEBUG", f"-I{self.folder}"),
            *(f"-I{each}" for each in includes),
        ]
        cxx = ["-std=c++17", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics"]
        for name in ("main.cc", "console.cc", "operators.cc", "qemu/board.c"):
            command = ["arm-none-eabi-g++", *cxx] if name.endswith("cc") else ["arm-none-eabi-gcc"]
            path = self.folder / name
            command += [*flags, "-c", str(path), "-o", str(path.with_suffix(".o"))]
            subprocess.run(command, check=True)

    def link(self, name: str | None) -> dict[tuple[str, str], int]:
        """Return the size of each section in flash, by name and object."""
        number = "none" if name is None else str([*self.names].index(name))
        map_file = self.folder / "firmware.map"
        objects = [self.folder / f"{each}.o" for each in ("main", "console", "operators")]
        command = [
            *("arm-none-eabi-g++", *CORTEX_M4.flags.split(), "-nostartfiles"),
            *("--specs=nano.specs", f"-T{self.folder}/qemu/board.ld", "-Wl,--gc-sections"),
            *(f"-Wl,-Map={map_file}", f"-Wl,--defsym=micronas_register=add_{number}"),
            *(str(each) for each in (*objects, self.folder / "qemu/board.o")),
            *(self.library, "-lm", "-o", str(self.folder / "firmware.elf")),
        ]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        text = map_file.read_text().split("Linker script and memory map")[1]
        text = re.sub(r"^( \.\S+)\n\s+", r"\1 ", text, flags=re.MULTILINE)
        image = self._image()
        model = 0
        found: dict[tuple[str, str], int] = defaultdict(int)
        found["gaps", ""] = 32  # before what begins at an address of 8 or 16 bytes, as the model
        for part, rest, start, merged, where, size in _SECTION.findall(text):
            if _MODEL.search(rest):
                model += int(merged, 16)
            elif strings := _STRINGS.search(rest):
                first = int(start, 16)
                kept = image[first : first + int(merged, 16)] if size else b""
                found |= _strings(kept, int(strings[1]))
            else:
                # a section begins at an address of four bytes
                found[f".{part}{rest}", where] += _rounded(int(size or merged, 16), 4)
        counted, linked = sum(found.values()), len(image) - model
        assert linked <= counted <= (1 + _SLACK) * linked, (name, linked, counted)
        return {section: size for section, size in found.items() if size}

    def _image(self) -> bytes:
        """Return what lies in flash, which begins at address 0."""
        image = self.folder / "firmware.bin"
        elf = self.folder / "firmware.elf"
        subprocess.run(["arm-none-eabi-objcopy", "-O", "binary", str(elf), str(image)], check=True)
        return image.read_bytes()


def _strings(kept: bytes, alignment: int) -> dict[tuple[str, str], int]:
    """Return the size of each string among those that the linker kept."""
    return {
        (f".str{alignment}", text.decode("latin-1")): _rounded(len(text) + 1, alignment)
        for text in kept.split(b"\0")
        if text
    }


def _rounded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


if __name__ == "__main__":
    main(Path(given(__doc__, 1, "TFLM_SOURCE", *_LEVELS.values())[0]))
