import csv
import gzip
import json
from pathlib import Path

import pytest

from micronas.errors import ConfigError, DataError
from micronas.files import text_hash
from micronas.judge.manifest import Prompt, load_prompts, write_prompts
from micronas.judge.recipe import Source, read_recipe
from micronas.judge.review import read_labels, write_review
from micronas.judge.sources import read_source
from micronas.language.rows import read_rows

CATEGORIES = ("coding", "math")


def source(path: str, **more: object) -> Source:
    return Source.model_validate({"path": path, "licence": "MIT", **more})


def test_json_lines_with_paths_and_categories(tmp_path: Path) -> None:
    rows = [
        {"key": 7, "turns": ["first", "second"], "kind": "gsm8k", "lang": "en_US", "terms": "MIT"},
        {"key": "b", "turns": ["third\u2028line"], "kind": "other", "lang": "DE", "terms": ""},
        {"key": "c", "turns": ["fourth"], "kind": None, "lang": None, "terms": None},
    ]
    data = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "q.v1.jsonl.gz").write_bytes(gzip.compress(data.encode()))
    fields = {"text": "turns.0", "id": "key", "language": "lang", "category": "kind"}
    licence = {"licence": None, "licence_field": "terms"}
    settings = source("q.v1.jsonl.gz", **fields, **licence, category_names={"gsm8k": "math"})
    first, second, third = read_source(settings, tmp_path, CATEGORIES)
    assert (third.category, third.language, third.licence) == ("", "", "")
    assert (first.id, first.text, first.category) == ("q-7", "first", "math")
    assert (first.language, first.licence, first.line) == ("en", "MIT", 1)
    assert (second.text, second.category) == ("third\u2028line", "")
    assert (second.language, second.licence, second.line) == ("de", "", 3)


def test_csv_with_line_breaks_in_cells(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(
        b'\xef\xbb\xbftext,x\r\n"two\nlines, one ""cell""",1\r\nb,2\r\n'
    )
    first, second = read_source(source("a.csv"), tmp_path, CATEGORIES)
    assert (first.text, first.line, first.id) == ('two\nlines, one "cell"', 2, "a-2")
    assert (second.text, second.line) == ("b", 4)


def test_halves_of_characters_are_replaced_in_every_field(tmp_path: Path) -> None:
    row = {"text": "an \ud83d", "lang": "e\ud83d", "terms": "MIT \ud83d\ude00", "more": [1.5, None]}
    half = json.dumps({"text": "\ud83d"}, ensure_ascii=False).encode("utf-8", "surrogatepass")
    (tmp_path / "a.jsonl").write_bytes(json.dumps(row).encode() + b"\n" + half)
    (_, read), (_, raw) = read_rows(tmp_path / "a.jsonl")
    assert read == {"text": "an \ufffd", "lang": "e\ufffd", "terms": "MIT \U0001f600"} | {
        "more": [1.5, None]
    }
    assert raw == {"text": "\ufffd"}


def jsonl(*rows: dict[str, str]) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


@pytest.mark.parametrize(
    ("name", "data", "settings", "rule"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"text": \n', {}, "a.jsonl:2: .* one JSON object"),
        ("a.jsonl", b'{"text": "x"}\n[1]\n', {}, "a.jsonl:2: .* must be a JSON object"),
        ("a.jsonl", b'{"text": "x"}\n\n{"txt": "x"}\n', {}, "a.jsonl:3: field 'text' is missing"),
        ("a.jsonl", b'{"text": null}\n', {}, "a.jsonl:1: .* must be text"),
        ("a.jsonl", b'{"text": "\xff"}\n', {}, "a.jsonl:1: .* UTF-8"),
        ("a.jsonl", b"[" * 100_000, {}, "a.jsonl:1: .* one JSON object"),
        ("a.csv", b"text,b\nx,1\ny\n", {}, "a.csv:3: .* 2 cells .* commas"),
        ("a.csv", b'text,b\nx,1\n"y,1\n', {}, "a.csv:3: .* valid CSV"),
        ("a.csv", b"text\nx\n\xff\n", {}, "a.csv:3: .* UTF-8"),
        ("a.csv", b"text,text\nx,y\n", {}, "a.csv:1: .* different names"),
        ("a.jsonl", jsonl({"text": "x", "id": "a\nb"}), {"id": "id"}, ":1: .* must be printable"),
        ("a.jsonl", jsonl({"text": "x", "c": "maths"}), {"category": "c"}, "did you mean 'math'"),
        ("a.jsonl", b"", {}, "at least one prompt"),
        ("a.parquet", b"PAR1", {}, "a.parquet:1: a line must be one JSON object"),
        ("torn.jsonl.gz", gzip.compress(b"x" * 99, mtime=0)[:-9], {}, "readable file: .*torn"),
        ("missing.jsonl", None, {}, "readable file: .*missing.jsonl is none .* correct"),
    ],
)
def test_a_bad_file_is_one_error_with_its_line(
    tmp_path: Path, name: str, data: bytes | None, settings: dict[str, str], rule: str
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=rule):
        read_source(source(name, **settings), tmp_path, CATEGORIES)


def test_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("id,category,note\na,math,x\nb,,\nc, coding,\na,math,\n", encoding="utf-8")
    assert read_labels(path, CATEGORIES) == {"a": "math", "c": "coding"}
    path.write_text("id,category\na,math\na,coding\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"labels\.csv:3: .*one category"):
        read_labels(path, CATEGORIES)
    path.write_text("id,category\na,mth\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"labels\.csv:2: .*did you mean 'math'"):
        read_labels(path, CATEGORIES)


def test_a_review_file_is_filled_and_read(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    write_review(path, [{"id": "a", "text": "=1+1"}, {"id": "b", "text": 'two\n"lines"'}])
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == ["'=1+1", 'two\n"lines"']
    assert read_labels(path, CATEGORIES) == {}
    path.write_text(path.read_text(encoding="utf-8").replace("b,,", "b,math,"), encoding="utf-8")
    assert read_labels(path, CATEGORIES) == {"b": "math"}


def test_the_default_recipe_has_fourteen_categories() -> None:
    recipe = read_recipe().recipe
    assert len(recipe.categories) == 14
    assert sorted(recipe.language_categories) == ["ar", "hu", "ja", "ru", "sl", "sr", "th", "tr"]


@pytest.mark.parametrize(
    ("override", "rule"),
    [
        ("sources=[{path: a.jsonl}]", "licence"),
        ("sources=[{path: a.jsonl, licence: MIT}, {path: b/a.csv, licence: MIT}]", "name"),
        ("labelling.general=other", "one of the categories"),
        ("categories.more={quota: 1, language: ar}", "one category only"),
        ("embedding.kind=endpoint", "url and model"),
        ("sampling.cluster=3", "did you mean 'clusters'"),
    ],
)
def test_recipes_that_do_not_fit(override: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        read_recipe(None, [override])


def test_prompts_are_read_as_written_and_changes_are_noticed(tmp_path: Path) -> None:
    texts = ["plain", 'quotes " and\nlines', "\u2028 ไทย 𝄞"]
    prompts = [
        Prompt(f"p{i}", text, "math", "en", "s", "MIT", text_hash(text))
        for i, text in enumerate(texts)
    ]
    path = tmp_path / "prompts.jsonl"
    write_prompts(path, prompts)
    assert load_prompts(path) == prompts == load_prompts(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"plain", b"plane"))
    with pytest.raises(DataError, match=r"prompts\.jsonl:1: .*hash of its text"):
        load_prompts(path)
    write_prompts(path, [prompts[0], prompts[0]])
    with pytest.raises(DataError, match=r"prompts\.jsonl:2: .*unique"):
        load_prompts(path)
