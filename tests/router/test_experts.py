from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micronas.errors import ConfigError
from micronas.language.endpoints import Price, required_key
from micronas.router.experts import Expert, parse_parameters, read_experts

GOOD = """\
experts:
  - name: small
    active: 270M
    price: {prompt: 0.1, completion: 0.4}
    endpoint: {base_url: "http://127.0.0.1:9/v1/", model: small-1}
  - {name: mixture, active: 12.9B, total: 46.7B}
  - {name: unserved, active: 1.5 t}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "experts.yaml"
    path.write_text(text)
    return path


def test_experts_are_read_in_order(tmp_path: Path) -> None:
    small, mixture, unserved = read_experts(written(tmp_path, GOOD))
    assert (small.name, small.active, small.total) == ("small", 270e6, 270e6)
    assert small.price == Price(prompt=0.1, completion=0.4)
    assert small.price.usd(1000, 500) == pytest.approx(0.0003)
    assert small.endpoint.base_url == "http://127.0.0.1:9/v1"
    assert (mixture.active, mixture.total) == (pytest.approx(12.9e9), pytest.approx(46.7e9))
    assert (unserved.active, unserved.endpoint) == (1.5e12, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("experts: []", "line 1: experts: "),
        ("{}", "key 'experts' is required"),
        ("active: 7X", "positive number such as 7B, 270M or 7e9, but got '7X'"),
        ("active: -1", "positive number"),
        ("active: true", "positive number"),
        ("active: 0B", "positive number"),
        ("active: 1e400", "positive number"),
        ("active: 7B, total: 6B", "at least the active ones"),
        ("active: 7B, total: 0", "positive number"),
        ("experts: [{name: '', active: 7B}]", "experts.0.name"),
        ("experts: [{name: a, active: 1}, {name: a, active: 2}]", "'a' occurs twice"),
        ("activ: 1", "unknown key 'experts.0.activ'; did you mean 'active'"),
        ("active: 1, price: {prompt: -1}", "experts.0.price.prompt"),
        ("active: 1, endpoint: {base_url: 'ftp://x', model: m}", "http address such as"),
        ("active: 1, endpoint: {base_url: 'http://x:99999', model: m}", "port"),
        ("active: 1, endpoint: {base_url: 'http://x/v1?key=1', model: m}", "without ? or #"),
    ],
)
def test_a_wrong_file_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    whole = text if "experts" in text or text == "{}" else f"experts: [{{name: a, {text}}}]"
    with pytest.raises(ConfigError) as caught:
        read_experts(written(tmp_path, whole))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_password_in_an_address_is_refused_and_not_quoted(tmp_path: Path) -> None:
    text = "experts: [{name: a, active: 1, endpoint: {base_url: 'http://u:pass1234@x', model: m}}]"
    with pytest.raises(ConfigError, match="api_key_env") as caught:
        read_experts(written(tmp_path, text))
    assert "pass1234" not in str(caught.value)


@given(st.integers(1, 999_999), st.sampled_from([("", 1), ("K", 1e3), ("M", 1e6), ("B", 1e9)]))
def test_parameters_equal_number_times_unit(thousandths: int, unit: tuple[str, float]) -> None:
    name, factor = unit
    expected = pytest.approx(thousandths / 1000 * factor)
    assert parse_parameters(f"{thousandths / 1000:.3f}{name}") == expected
    assert parse_parameters(f" {thousandths / 1000:.3f} {name.lower()} ") == expected


def test_an_expert_made_in_python_hosts_what_is_active() -> None:
    assert Expert(name="a", active=7e9).total == 7e9


def test_a_key_of_two_lines_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "secret\nkey")
    with pytest.raises(ConfigError, match="A_KEY") as caught:
        required_key("A_KEY", of="one")
    assert "secret" not in str(caught.value)
    monkeypatch.delenv("A_KEY")
    with pytest.raises(ConfigError, match="of one must be in the environment variable A_KEY"):
        required_key("A_KEY", of="one")
    assert required_key(None, of="one") == ""
