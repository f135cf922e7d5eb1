"""What ships: nothing that is needed is left out, and the wheel works on its own."""

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from micronas.cli.installation import ADDS

ROOT = Path(__file__).parents[1]
SHORT = (
    "search.draws=2",
    "search.trial={epochs: 1, batch_size: 64}",
    "train={epochs: 1, batch_size: 64}",
    "quantize={epochs: 1, batch_size: 64}",
)
_NOT_OURS = shutil.ignore_patterns(*(".*", "__pycache__", "*.egg-info", "build", "dist", "site"))


def _left_out(folder: str, names: list[str]) -> set[str]:
    """What a checkout holds beside the project; `runs` is a room elsewhere."""
    made = {"runs"} if Path(folder) in (ROOT, ROOT / "examples") else set()
    return {*_NOT_OURS(folder, names), *made}


def declared() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


def test_notice_names_every_dependency_and_the_gpl_in_one() -> None:
    """.ci/notice.py writes it; what it depends on in turn follows what is installed."""
    notice = (ROOT / "NOTICE").read_text()
    named = {line.split()[0] for line in lines(notice) if line[:1].islower()}
    config = declared()
    lists = {"": config["options"]["install_requires"], **config["options.extras_require"]}
    needed = {
        re.sub(r"[-_.]+", "-", re.split(r"[\[><=;!~ ]", line)[0]).lower()
        for extra, text in lists.items()
        if extra not in ("test", "docs", "benchmarks")
        for line in lines(text)
    }
    assert needed <= named
    assert "eSpeak NG (GPL-3.0-or-later)" in notice
    assert "NOTICE" in lines(config["metadata"]["license_files"])


def test_the_tested_versions_are_those_of_every_dependency() -> None:
    """.ci/lock.py prints them; setup.cfg says what they must satisfy."""
    pins = {}
    for line in lines((ROOT / ".ci/tested.txt").read_text())[1:]:
        pin = Requirement(line)
        (pins[pin.name],) = pin.specifier
    config = declared()
    extras = config["options.extras_require"]
    wanted = (config["options"]["install_requires"], extras["keywords"], extras["test"])
    for line in lines("".join(wanted)):
        if not line.startswith("#"):
            each = Requirement(line)
            assert pins[canonicalize_name(each.name)].version in each.specifier, line


def test_a_bill_of_materials_names_what_requires_what() -> None:
    command = [sys.executable, ".ci/sbom.py", "keywords"]
    bill = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    named = {each["bom-ref"]: each["name"] for each in bill["components"]}
    main = bill["metadata"]["component"]
    assert {"torch", "numpy", "soundfile", "cffi"} <= {*named.values()}
    required = {each["ref"]: each["dependsOn"] for each in bill["dependencies"]}
    assert required.keys() == {*named, main["bom-ref"]}
    assert {each for some in required.values() for each in some} == named.keys()
    assert "soundfile" in {named[each] for each in required[main["bom-ref"]]}


@pytest.mark.package
def test_an_audit_that_cannot_ask_says_so(tmp_path: Path) -> None:
    nowhere = {f"{scheme}_PROXY": "http://127.0.0.1:9" for scheme in ("HTTP", "HTTPS")}
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    command = [ROOT / ".ci/audit", sys.executable, tmp_path / "venv"]
    answers = [
        subprocess.run(command, capture_output=True, text=True, env={**os.environ, **more})
        for more in (nowhere, {}, nowhere)  # without its tools, with them, and with them alone
    ]
    said = [each.stderr.splitlines()[-1] for each in (answers[0], answers[2])]
    assert all(line.startswith("audit: known holes were NOT looked up: ") for line in said), said
    assert [each.returncode for each in (answers[0], answers[2])] == [3, 3]
    # the service may be away here, too: then that is what is said
    told = answers[1].stdout + answers[1].stderr
    assert re.search(
        r"audit: (\d+ known holes in \d+ packages|known holes were NOT looked up)", told
    )


def test_what_every_python_tries_needs_no_torch() -> None:
    """`make versions` runs on a few packages; a test that moved or grew a need would fail there."""
    (tests,) = re.findall(r'tests="([^"]*)"', (ROOT / ".ci/versions").read_text())
    missing = ("torch", "ai_edge_litert", "tflite_micro", "tensorflow", "onnx", "scipy", "sklearn")
    collect = (
        f"import sys, pytest; sys.modules.update(dict.fromkeys({missing}))\n"
        "sys.exit(pytest.main(['--noconftest', '-p', 'no:cacheprovider', '--collect-only', '-q', "
        f"*{tests.split()}]))"
    )
    command = [sys.executable, "-c", collect]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout


def test_every_package_is_listed() -> None:
    shipped = lines(declared()["options"]["packages"])
    code = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "micronas").rglob("__init__.py")
    }
    folders = {"micronas.search_spaces", "micronas.latency_models", "micronas.export_templates"}
    assert set(shipped) == code | folders
    assert len(shipped) == len(set(shipped))


def test_every_file_that_is_not_code_is_package_data() -> None:
    options = declared()
    places = dict(line.split(" = ") for line in lines(options["options"]["package_dir"]))
    wanted = {
        path
        for folder in places.values()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    found = {
        path
        for package, patterns in options["options.package_data"].items()
        for pattern in patterns.split(", ")
        for path in (ROOT / places.get(package, package.replace(".", "/"))).glob(pattern)
    }
    assert found == wanted
    assert len(wanted) > 50


def test_doctor_explains_every_extra() -> None:
    assert set(ADDS) == set(declared()["options.extras_require"])


def test_extras_that_errors_name_exist() -> None:
    extras = set(declared()["options.extras_require"])
    named = {
        name
        for path in (*(ROOT / "micronas").rglob("*.py"), ROOT / "README.md")
        for name in re.findall(r"pip install '?(?:micronas|\.)\[([a-z-]+)\]", path.read_text())
    }
    assert named <= extras
    assert "onnx" in named


@pytest.mark.package
def test_the_wheel_runs_the_demo_where_there_is_nothing_else(tmp_path: Path) -> None:
    """With the demo's extra alone, without the checkout: build, install, search, export, report."""

    def run(*command: object) -> str:
        done = subprocess.run(
            [str(each) for each in command],
            cwd=tmp_path / "empty",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout

    (tmp_path / "empty").mkdir()
    shutil.copytree(ROOT, tmp_path / "source", ignore=_left_out)
    # the wheel is built from the sdist, which has to be whole for that
    run(sys.executable, "-m", "build", "--outdir", tmp_path / "dist", tmp_path / "source")
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"examples/kws.yaml", "tests/test_packaging.py", "Makefile", "LICENSE"} <= names
    with zipfile.ZipFile(wheel) as archive:
        assert {"micronas/py.typed", "micronas/search_spaces/kws.yaml"} <= set(archive.namelist())
    shutil.rmtree(tmp_path / "source")

    run(sys.executable, "-m", "venv", tmp_path / "venv")
    binaries = tmp_path / "venv" / "bin"
    run(binaries / "pip", "install", "--quiet", f"micronas[keywords] @ {wheel.as_uri()}")
    run(binaries / "pip", "check")
    shutil.copy(ROOT / "examples" / "kws.yaml", tmp_path / "empty")
    micronas = binaries / "micronas"
    assert "nothing is missing" in run(micronas, "doctor")
    assert "stm32f446re" in run(micronas, "boards")
    assert "published" not in run(micronas, "spaces")
    assert "MACs" in run(micronas, "profile", "published/kws_m")
    run(micronas, "data", "synth", "kws", "runs/data/speech")
    shown = run(micronas, "search", "kws.yaml", *SHORT, "--quiet")
    assert "fits true" in shown
    assert "tflm_mismatches 0" in shown
    run(micronas, "export", "runs/kws", "--format", "project")
    assert "report" in run(micronas, "report", "runs/kws")
    made = tmp_path / "empty"
    for file in ("runs/kws/model.tflite", "runs/kws/report.html", "kws-project/CMakeLists.txt"):
        assert (made / file).is_file()
    assert str(ROOT) not in (made / "runs/kws/config.yaml").read_text()
