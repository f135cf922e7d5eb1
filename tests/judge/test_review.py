import csv
from pathlib import Path

from micronas.judge.review import read_labels, write_review


def test_a_review_file_is_filled_and_read(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    write_review(path, [{"id": "a", "text": "=1+1"}, {"id": "b", "text": 'two\n"lines"'}])
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == ["'=1+1", 'two\n"lines"']
    assert read_labels(path, ["math"]) == {}
    path.write_text(path.read_text(encoding="utf-8").replace("b,,", "b,math,"), encoding="utf-8")
    assert read_labels(path, ["math"]) == {"b": "math"}
