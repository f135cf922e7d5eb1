# make demo   set up a virtual environment and run the main job, offline
# make test   set up a virtual environment, run the linters and every test but whole jobs
# make long   the tests that are whole jobs, a second of CPU or more each
# make package build sdist and wheel, install the wheel into an empty environment, run the demo
# make versions  the syntax, and the tests without torch, on every Python 3.10 to 3.13 that is here
# make ray    the tests of sweeps on Ray
# make docs   the documentation, into site/; fails on any warning
# make fuzz SECONDS=600  every fuzzer for so long, in tests/fuzz
# make audit  known holes of the dependencies (asks a service on the network), and those of a linter
# make sbom   a bill of materials (CycloneDX) of micronas and what it requires, into sbom.json
# VERSIONS=newest  what pip finds newest, in place of the versions that passed (.ci/tested.txt)
# make browser  the tests that open report pages in headless Chromium, which has to be installed
# make firmware  the engine by clang, front ends on an emulated Cortex-M; needs CONTRIBUTING's packages
# make tflm   firmware on TensorFlow Lite Micro, a build named by TFLM_SOURCE and TFLM_LIBRARY
# VENV=path   another place for the environment; PYTHON=python3.12 another interpreter

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

SECONDS ?= 600
VERSIONS ?= tested
CONSTRAINTS := $(if $(filter-out newest,$(VERSIONS)),--constraint .ci/$(VERSIONS).txt)

.PHONY: demo test long versions lint slow browser firmware tflm package ray docs fuzz audit sbom clean

demo: $(VENV)/demo
	$(BIN)/python examples/kws.py

test: $(VENV)/installed lint
	$(BIN)/python -m pytest -n 2 --dist worksteal --durations=10

long: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "long and not slow" --durations=10

versions:
	.ci/versions

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

slow: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 -m "slow or hypothesis" --hypothesis-profile=thorough

browser: $(VENV)/installed
	$(BIN)/python -m pytest -m browser

firmware: $(VENV)/installed
	@{ command -v clang && command -v arm-none-eabi-gcc && command -v qemu-system-arm; } > /dev/null || { echo "make firmware needs clang, \
	arm-none-eabi-gcc with newlib and qemu-system-arm (Debian: clang gcc-arm-none-eabi \
	libnewlib-arm-none-eabi libstdc++-arm-none-eabi-newlib qemu-system-arm)" >&2; exit 1; }
	$(BIN)/python -m pytest -m firmware

tflm: $(VENV)/installed
	$(BIN)/python -m pytest -m tflm

docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

ray: $(VENV)/installed
	$(BIN)/python -m pytest -m ray

fuzz: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz $(SECONDS)

audit: $(VENV)/installed
	.ci/audit $(PYTHON) $(VENV)

sbom: $(VENV)/demo
	$(BIN)/python .ci/sbom.py keywords > sbom.json

package: $(VENV)/installed
	$(BIN)/python -m pytest -m package

# what the demo needs and no more, and pip says how far it is: torch alone takes minutes
$(VENV)/demo: setup.cfg .ci/tested.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(CONSTRAINTS) --editable '.[keywords]'
	touch $@

# uncompiled: of ten thousands of modules tests import a few thousand, each compiled as it is
$(VENV)/installed: setup.cfg .ci/tested.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile $(CONSTRAINTS) --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-audit build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis sbom.json
