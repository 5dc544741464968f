"""params.yaml: wrong keys and values end with one line that says what is allowed."""

import pytest
from pydantic import Field

from carrossel.config import Section, load_params, lookup, project_root, read
from carrossel.errors import ConfigError


class Inner(Section):
    depth: int = Field(1, ge=1)


class Outer(Section):
    rate: float = Field(gt=0)
    inner: Inner = Inner()


@pytest.fixture
def params(tmp_path):
    def write(text):
        path = tmp_path / "params.yaml"
        path.write_text(text)
        return path

    return write


def test_a_valid_section_becomes_a_frozen_model(params):
    section = read("outer", Outer, params("outer: {rate: 0.5, inner: {depth: 2}}"))
    assert section.inner.depth == 2
    with pytest.raises(ValueError, match="frozen"):
        section.rate = 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("outer: {rate: 1, ratte: 2}", r"outer\.ratte = 2: unknown key; allowed keys: rate, inner"),
        ("outer: {rate: 1, inner: {dept: 2}}", r"outer\.inner\.dept = 2: unknown key; allowed keys: depth"),
        ("outer: {rate: -1}", r"outer\.rate = -1: input should be greater than 0"),
        ("outer: {rate: fast}", r"outer\.rate = 'fast': input should be a valid number"),
        ("outer: {}", r"outer\.rate is missing"),
        ("other: {}", r"params\.yaml has no key 'outer'; it has: other"),
        ("[1, 2]", "holds list, expected a mapping"),
        ("a: [1", "isn't valid YAML"),
    ],
)
def test_an_error_names_key_value_and_what_is_allowed(params, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read("outer", Outer, params(text))
    assert "\n" not in str(caught.value)


def test_two_mistakes_are_told_at_once(params):
    with pytest.raises(ConfigError, match=r"rate is missing.*; .*unknown key"):
        read("outer", Outer, params("outer: {speed: 1}"))


def test_a_missing_file_says_where_it_was_sought(tmp_path):
    with pytest.raises(ConfigError, match="CARROSSEL_ROOT"):
        load_params(tmp_path / "params.yaml")


def test_a_dotted_path_that_ends_in_a_value_is_an_error():
    with pytest.raises(ConfigError, match=r"a\.b has no key 'c'; it has: 3"):
        lookup("a.b.c", {"a": {"b": 3}})


def test_the_root_is_found_from_a_folder_below_it(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text("{}")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.delenv("CARROSSEL_ROOT", raising=False)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    assert project_root() == tmp_path.resolve()
