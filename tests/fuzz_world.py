"""One small valid file of every format the command line reads, and the command that reads it."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import yaml
from PIL import Image

from micronas import resources
from micronas.data import DataSet
from micronas.files import text_hash
from micronas.judge.importers import arena_hard
from micronas.judge.manifest import Prompt
from micronas.language.rows import json_lines
from micronas.runs.run import run_training
from micronas.runs.settings import load_training
from micronas.sweeps.points import plan
from micronas.sweeps.store import leading
from micronas.tflite.metadata import describe
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import random_int8_graph
from tests import toy
from tests.command import here as run
from tests.report.runs import SHORT
from tests.router.world import EXPERTS, table

TEXT = (".yaml", ".json", ".jsonl", ".csv", ".txt")
_RECIPE = """\
name: small
sources: [{path: questions.jsonl, licence: CC0-1.0, category: category}]
categories: {sums: {quota: 2}, towns: {quota: 2}, general: {quota: 0}}
labelling: {neighbours: [1, 3], folds: 2}
sampling: {min_quality: 0.0}
"""


@dataclass(frozen=True)
class Case:
    """A file that is damaged, and the command that then reads it."""

    file: str
    command: str
    """Its arguments, as they would be typed in the world's folder."""
    writes: tuple[str, ...] = ()
    """What it may leave behind: names in the world's folder."""
    steady: bool = False
    """Whether the undamaged file ends in an error as well, as the command lacks something else."""

    @property
    def text(self) -> bool:
        return self.file.endswith(TEXT)


_SEARCH = "board=stm32f446re data.path=nowhere"
_COCO = (
    "train toy.yaml board=stm32f446re data.task=vww data.path=photos data.annotations=[coco.json]"
)
_JUDGE = "judge estimate judge.yaml --set prompts.jsonl --answers answers.jsonl --out new.sqlite"
_STORE = ("new.sqlite", "new.sqlite.lock")
_RATE = "--rounds 5 --prior 1 --json"

CASES = (
    Case("run.yaml", "search run.yaml data.path=nowhere", steady=True),
    Case("space.yaml", f"search space.yaml {_SEARCH}", steady=True),
    Case("open.yaml", f"search open.yaml {_SEARCH}", steady=True),
    Case("like.yaml", "boards like.yaml --json"),
    Case("toy.yaml", "profile toy.yaml --json"),
    Case("board.yaml", "profile net.tflite --board board.yaml"),
    Case("net.tflite", "profile net.tflite --board all"),
    Case("net.tflite", "boards net.tflite --json"),
    Case("net.tflite", "verify net.tflite --samples 1"),
    Case("net.tflite", "verify net.tflite --samples 1 --layers"),
    Case("net.tflite", "export net.tflite --out new.tflite", ("new.tflite",)),
    Case("net.tflite", "export net.tflite --format c --out new.h", ("new.h",)),
    Case("net.tflite", "export net.tflite --format onnx --out new.onnx", ("new.onnx",)),
    Case("net.tflite", "export net.tflite --format project --out new", ("new",)),
    Case("inputs.npy", "verify net.tflite --inputs inputs.npy"),
    Case("words/yes/a_1.wav", "data check kws words"),
    Case("words/yes/a_2.flac", "data check kws words"),
    Case("words/validation_list.txt", "data check kws words"),
    Case("machines/train/normal_id_00_00000000.wav", "data check ad machines"),
    Case("photos/person/a.png", "data check vww photos"),
    Case("photos/person/b.jpg", "data check vww photos"),
    Case("coco.json", _COCO, steady=True),
    Case("photos/a.png", _COCO, steady=True),
    Case(
        "measurements.csv",
        "calibrate measurements.csv --board b --sram 256KB --flash 1MB --clock 80MHz --out b.yaml",
        ("b.yaml",),
    ),
    Case("uart.txt", "calibrate plan --from-log uart.txt", ("plan/measurements.csv",)),
    Case("run/checkpoint.pt", "verify run --layers --samples 2"),
    Case("run/architecture.yaml", "verify run --layers --samples 2"),
    Case("run/metrics.json", "report run --out page.html", ("page.html",)),
    Case("run/history.json", "report run --out page.html --json", ("page.html",)),
    Case("run/config.yaml", "report run --out page.html", ("page.html",)),
    Case("run/model.tflite", "report run --out page.html", ("page.html",)),
    Case("sweep/sweep.sqlite", "sweep space.yaml --status --out sweep"),
    Case("recipe.yaml", "judge build recipe.yaml --out set --json", ("set",)),
    Case("questions.jsonl", "judge build recipe.yaml --out set --json", ("set",)),
    Case("judge.yaml", _JUDGE, _STORE),
    Case("prompts.jsonl", _JUDGE, _STORE),
    Case("answers.jsonl", _JUDGE, _STORE),
    Case("old.sqlite", f"judge rate old.sqlite {_RATE}"),
    Case(
        "old.sqlite", "judge report old.sqlite --rounds 5 --prior 1 --out page.html", ("page.html",)
    ),
    Case("categories.csv", f"judge rate old.sqlite --categories categories.csv {_RATE}"),
    Case("people.csv", f"judge quality old.sqlite --reference people.csv {_RATE}"),
    Case("games.jsonl", "judge import arena-hard games.jsonl --out new.sqlite", _STORE),
    Case("alpaca.json", "judge import alpaca-eval alpaca.json --out new.sqlite", _STORE),
    Case("votes.csv", "judge import llmfao votes.csv --out new.sqlite", _STORE),
    Case("router.yaml", "router fit router.yaml --out new", ("new",)),
    Case("scores.jsonl", "router fit router.yaml --out new", ("new",)),
    Case("fitted/router.json", "router map fitted --budget 3B --dry"),
    Case("fitted/router.npz", "router explain add --router fitted"),
    Case("serve.yaml", "router serve serve.yaml host=127.0.0.1 port=PORT", steady=True),
)


@contextmanager
def world(folder: Path) -> Iterator[Path]:
    """Make every file and go there; a port is taken, so that no server starts."""
    with texts(folder):
        _hardware()
        _data()
        _finished_run()
        fitted = run("router fit router.yaml --out fitted")
        assert fitted.code == 0, fitted
        yield folder


@contextmanager
def texts(folder: Path) -> Iterator[Path]:
    """Make what configurations need, and go there: a world where nothing is trained."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        _configurations()
        yield folder
    finally:
        os.chdir(before)


def _configurations() -> None:
    example = resources.folder("search_spaces").parent / "examples" / "kws.yaml"
    Path("run.yaml").write_text(example.read_text())
    space = yaml.safe_dump({**toy.SPACE.model_dump(mode="json"), "task": "kws"})
    Path("space.yaml").write_text(space)
    toy.SPACE.architecture(toy.SPACE.uniform(0.5)).save(Path("toy.yaml"))
    board = resources.find("latency_models", "stm32f746zg").read_text()
    Path("board.yaml").write_text(board)
    Path("like.yaml").write_text("name: mine\nlike: stm32f446re\nclock: 100 MHz\nsram: 64 KB\n")
    family = "{input: [49, 1, 10], stem: {width: {any: [8, 16]}, kernel: [3, 1]}, blocks: []}"
    Path("open.yaml").write_text(f"task: kws\nclasses: 12\nfamilies: {{plain: {family}}}\n")
    _judge()
    _router()


def _hardware() -> None:
    graph = random_int8_graph(0, family="ds_cnn")
    described = describe(classes=["yes", "no"], meaning={"heard": "words"})
    Path("net.tflite").write_bytes(to_flatbuffer(graph, metadata=described))
    shape = read(Path("net.tflite").read_bytes()).tensors[graph.inputs[0]].shape[1:]
    np.save("inputs.npy", np.full((2, *shape), 3, np.int8))
    networks = Path("plan/networks")
    networks.mkdir(parents=True)
    rows = ["model,latency_ms"]
    for number in range(6):
        name = f"kws_{number:02}"
        model = to_flatbuffer(random_int8_graph(number, family="ds_cnn"))
        (networks / f"{name}.tflite").write_bytes(model)
        rows.append(f"plan/networks/{name}.tflite,{10 + 3 * number}.5")
    Path("measurements.csv").write_text("\n".join(rows) + "\n")
    lines = [f"micronas-timing kws_{n:02} us {12345 + n} runs 10" for n in range(6)]
    Path("uart.txt").write_text("boot\n" + "\n".join(lines) + "\n")


def _data() -> None:
    noise = np.random.default_rng(0).normal(0, 1000, (12, 24_000)).astype(np.int16)
    for word in ("yes", "no"):
        Path("words", word).mkdir(parents=True)
        for speaker in "abc":
            soundfile.write(f"words/{word}/{speaker}_1.wav", noise[ord(speaker) % 12, :4000], 16000)
    soundfile.write("words/yes/a_2.flac", noise[5, :4000], 16000)
    Path("words/validation_list.txt").write_text("yes/b_1.wav\nno/b_1.wav\n")
    for part, names in (("train", ("normal",) * 3), ("test", ("normal", "anomaly"))):
        Path("machines", part).mkdir(parents=True)
        for number, kind in enumerate(names):
            name = f"machines/{part}/{kind}_id_00_{number:08}.wav"
            soundfile.write(name, noise[number], 16000)
    pixels = np.random.default_rng(1).integers(0, 256, (8, 20, 24, 3)).astype(np.uint8)
    for number, label in enumerate(("person", "non_person")):
        Path("photos", label).mkdir(parents=True)
        Image.fromarray(pixels[number]).save(f"photos/{label}/a.png")
        Image.fromarray(pixels[number + 2]).save(f"photos/{label}/b.jpg")
    names = "abcdefgh"
    for number, name in enumerate(names):
        Image.fromarray(pixels[number]).save(f"photos/{name}.png")
    coco = {
        "images": [
            {"id": n, "file_name": f"{name}.png", "width": 24, "height": 20}
            for n, name in enumerate(names)
        ],
        "annotations": [
            {"image_id": n, "category_id": 1, "bbox": [0, 0, 20, 10], "area": 200.0}
            for n in range(0, 8, 2)
        ],
        "categories": [{"id": 1, "name": "person"}],
    }
    Path("coco.json").write_text(json.dumps(coco))


def _finished_run() -> None:
    network = toy.SPACE.architecture(toy.SPACE.uniform(0.5))
    parts = [toy.split(48, seed) for seed in range(3)]
    data = DataSet(*parts, toy.CLASSES, (12, 12, 1))
    short = ("train={epochs: 1, batch_size: 16}", "quantize={epochs: 1, batch_size: 16}")
    run_training(network, load_training(None, [*SHORT, *short]), Path("run"), data=data)
    with leading(Path("sweep"), plan("space.yaml", {"seed": [0, 1]}, _SEARCH.split())):
        pass


def _judge() -> None:
    Path("recipe.yaml").write_text(_RECIPE)
    towns = ("Lisbon", "Porto", "Madrid", "Toulouse", "Geneva")
    questions = [
        {"text": f"Please add the numbers {n} and {7 * n}, then show the sum.", "category": "sums"}
        for n in range(11, 16)
    ]
    questions += [
        dict(text=f"Which river flows through the town of {town}, and where to?", category="towns")
        for town in towns
    ]
    Path("questions.jsonl").write_bytes(json_lines(questions))
    prompts = [
        Prompt(f"p{n}", f"question {n}", "x", "en", "made", "CC0-1.0", text_hash(f"question {n}"))
        for n in range(6)
    ]
    Path("prompts.jsonl").write_bytes(json_lines(vars(each) for each in prompts))
    answers = [
        {"prompt_id": f"p{n}", "model": model, "text": f"answer {n} of {model}"}
        for n in range(6)
        for model in ("base", "good", "bad")
    ]
    Path("answers.jsonl").write_bytes(json_lines(answers))
    Path("judge.yaml").write_text(
        "baseline: base\njudge: {model: j, price: {prompt: 2.0, completion: 10.0}}\nmax_usd: 5\n"
    )
    games = [
        dict(uid=f"u{n}", category="hard", judge="j", model=model, baseline="base")
        | {"games": [{"score": first, "judgment": {"answer": f"[[{first}]]"}}, {"score": second}]}
        for n in range(6)
        for model, first, second in (("good", "B>>A", "A>B"), ("bad", "A>B", "A=B"))
    ]
    Path("games.jsonl").write_bytes(json_lines(games))
    arena_hard(Path("games.jsonl")).save(Path("old.sqlite"))
    rows = [f"u{n},{'ab'[n % 2]}" for n in range(6)]
    Path("categories.csv").write_text("\n".join(["prompt_id,category", *rows]) + "\n")
    Path("people.csv").write_text(
        "model,score,lower,upper\ngood,1200,1190,1210\nbase,1000,990,1010\nbad,900,880,920\n"
    )
    alpaca = [
        dict(instruction=f"do {n}", dataset="koala", generator_1="base", generator_2="m")
        | dict(output_1="a" * 40, output_2="b" * 20, annotator="gpt", preference=preference)
        for n, preference in enumerate((1.0, 2.0, 1.25, None))
    ]
    Path("alpaca.json").write_text(json.dumps(alpaca))
    Path("votes.csv").write_text(
        "id,prompt,model_x,model_y,worker,winner,left,right\n"
        "0,8,1,2,58,tie,X,Y\n0,8,1,2,59,right,X,Y\n1,9,1,2,58,left,Y,X\n"
    )


def _router() -> None:
    scores = table(30)
    rows = [
        dict(prompt=prompt, category=category, scores=dict(zip(scores.experts, row, strict=True)))
        for prompt, category, row in zip(
            scores.prompts, scores.categories, scores.scores.tolist(), strict=True
        )
    ]
    Path("scores.jsonl").write_bytes(json_lines(rows))
    experts = [{"name": each.name, "active": each.active, "total": each.total} for each in EXPERTS]
    config = {
        "scores": "scores.jsonl",
        "experts": experts,
        "embedding": {"kind": "ngrams", "dimensions": 64},
        "budget": {"active": "12B"},
    }
    Path("router.yaml").write_text(yaml.safe_dump(config))
    endpoint = {"base_url": "http://127.0.0.1:9/v1", "model": "m"}
    serve = {"experts": [{"name": "small", "active": 1e9, "endpoint": endpoint}], "fixed": "small"}
    Path("serve.yaml").write_text(yaml.safe_dump(serve))
