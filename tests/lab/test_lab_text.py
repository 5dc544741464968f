"""Inside a unit, for text: which text, what counting says, the model, and what the stage leaves."""

import hashlib
import json
import re
import runpy
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import yaml

from carrossel.cells import registry
from carrossel.config import load_params
from carrossel.errors import ConfigError
from carrossel.evaluation.figures import render_png
from carrossel.lab.text import alphabet, figures, model, study
from carrossel.lab.text.alphabet import OTHER, Alphabet, unigram_bits
from carrossel.lab.text.config import Text, read_text_section
from carrossel.lab.text.figures import draw_text
from carrossel.lab.text.glyphs import show
from carrossel.lab.text.model import CharacterModel, loss_bits, read_through, train_model
from carrossel.lab.text.page import render_text, tell_losses
from carrossel.lab.text.reading import read_text, zen
from carrossel.lab.text.study import Losses, place_in_line, place_in_word, study_text

SMALL = Text(hidden_size=8, iterations=3, steps=16, lines=1)
CELL = registry.load("lstm").Config(hidden_size=8)


def ignore(line):
    pass


def looked_at(text, config=SMALL):
    return study_text(text, "x", config, CELL, ignore)


def test_the_default_text_is_read_without_printing_it(capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "this", raising=False)
    text = zen()
    assert capsys.readouterr().out == ""
    assert text.startswith("The Zen of Python, by Tim Peters\n")
    assert read_text(None, None, 1000) == (text, "The Zen of Python")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"short", "has 5 characters"),
        (b"\xff\xfe" + 60 * b"a", "isn't UTF-8 at byte 0"),
        (101 * b"a", "101 characters, lab.text.longest = 100"),
        (401 * b"a", "401 bytes, lab.text.longest = 100"),
        (None, "isn't a file"),
    ],
)
def test_a_text_that_can_not_be_used_is_named_in_one_line(tmp_path, content, said):
    if content is not None:
        (tmp_path / "my.txt").write_bytes(content)
    with pytest.raises(ConfigError) as error:
        read_text("my.txt", tmp_path, 100)
    assert said in str(error.value)
    assert str(error.value).startswith("lab.text.file = 'my.txt'")
    assert "\n" not in str(error.value)


def test_a_file_is_taken_from_the_root_with_its_lines_ends_made_one(tmp_path):
    (tmp_path / "my.txt").write_bytes(b"\xef\xbb\xbf" + "ä\r\nb\rc".encode() + 60 * b".")
    text, name = read_text("my.txt", tmp_path, 1000)
    assert text.startswith("ä\nb\nc.")
    assert name == "my.txt"


def test_rare_characters_share_a_place():
    found = Alphabet.of("aaabbcd", most=3)
    assert found.characters == ("a", "b", OTHER)
    assert found.encode("abcd").tolist() == [0, 1, 2, 2]
    assert Alphabet.of("ba").characters == ("a", "b")
    assert len(Alphabet.of("".join(map(chr, range(1000, 2000))))) == alphabet.MOST


def test_unigram_bits_are_those_of_counts_and_one():
    # a three times and b never, one added to each: 4/5 and 1/5
    assert unigram_bits(np.array([0, 1]), np.array([0, 0, 0]), 2) == pytest.approx(-np.log2([0.8, 0.2]).mean())


def test_loss_is_of_each_character_given_those_before_it():
    chances = np.array([[0.5, 0.5], [0.25, 0.75], [0.9, 0.1]])
    codes = np.array([0, 1, 0])
    assert loss_bits(chances, codes, slice(1, None)) == pytest.approx(-np.log2([0.5, 0.25]).mean())
    assert loss_bits(chances, codes, slice(2, 3)) == pytest.approx(2)


def test_a_model_learns_what_repeats():
    codes = np.tile([0, 1, 2], 30)
    learner = CharacterModel("lstm", CELL, 3, seed=1)
    lines = []
    train_model(learner, codes, SMALL.model_copy(update={"iterations": 60, "learning_rate": 0.05}), lines.append)
    found = read_through(learner, codes)
    assert loss_bits(found.chances, codes, slice(1, None)) < 0.3  # counting alone: log2(3) = 1.58
    assert len(lines) == 10
    assert lines[-1].startswith("text: iteration 60/60")


def test_a_text_read_in_parts_is_the_text_read_at_once(monkeypatch):
    learner = CharacterModel("lstm", CELL, 3, seed=1).eval()
    codes = np.array([0, 1, 2, 2, 1, 0, 0, 1])
    whole = read_through(learner, codes)
    monkeypatch.setattr(model, "_CHUNK", 3)
    parts = read_through(learner, codes)
    assert parts.memory == pytest.approx(whole.memory, abs=1e-6)  # float32 in products of another size
    assert parts.chances == pytest.approx(whole.chances, abs=1e-6)
    with torch.no_grad():
        logits, state = learner(torch.from_numpy(codes)[:, None])
    assert whole.chances == pytest.approx(logits[:, 0].softmax(-1).numpy(), abs=1e-6)
    assert whole.memory[-1] == pytest.approx(state.c[0].numpy(), abs=1e-6)


def test_places_count_from_the_last_end():
    assert place_in_line("ab\nc").tolist() == [1, 2, 0, 1]
    assert place_in_word("ab c.").tolist() == [1, 2, 0, 1, 0]


def test_of_a_long_text_the_border_of_the_held_out_part_is_looked_at(monkeypatch):
    monkeypatch.setattr(study, "_LONGEST", 40)
    found = looked_at("abcde fghi\n" * 100)
    assert (found.length, found.first, found.border, len(found.text)) == (1100, 970, 20, 40)
    assert found.text == ("abcde fghi\n" * 100)[970:1010]
    assert "40 of 1,100 characters" in render_text(found)


def test_a_short_text_is_looked_at_whole():
    found = looked_at("abc de\n" * 10)
    assert (found.first, found.border, len(found.text)) == (0, 63, 70)
    assert found.memory.shape == (70, 8)
    assert found.places.shape == (8, 2)


def test_characters_that_end_scripts_or_lack_a_glyph_do_no_harm():
    text = "</script><b>$x$ & \t'\"\u4e2d\u0301\u202e\n" * 4
    found = looked_at(text)
    html = render_text(found)
    data = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[0]
    assert "".join(json.loads(data)["text"]) == text
    assert not {"<", ">", "&"} & set(data)
    draw_text(found, 0, 2).canvas.draw()  # a warning would be an error


def test_what_can_not_be_seen_gets_a_sign():
    assert [show(each) for each in " \n\x00\u0301a"] == ["␣", "↵", "□", "◌\u0301", "a"]


def test_the_picture_leaves_out_empty_lines_and_wraps_long_ones():
    rows = list(figures._wrap("ab\n\n" + 100 * "c" + "\nd"))
    assert rows == [range(3), range(4, 76), range(76, 105), range(105, 106)]


def test_a_text_without_line_ends_has_a_picture_of_the_usual_size_and_a_title_that_is_no_formula():
    found = replace(looked_at(300 * "a"), name="a$x_{$\u4e2d.txt")
    figure = draw_text(found, 0, 1)
    assert figure.get_size_inches()[1] < 4
    title = figure.axes[0].get_title(loc="left")
    assert title.startswith("a$x_{$□.txt: unit 0")
    assert "Trained on this" in title
    figure.canvas.draw()  # a warning or a broken formula would be an error


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        (Losses(0.2, 6.0, 4.5), ["nothing that it learned holds", "memorised"]),
        (Losses(2.0, 2.2, 4.5), ["2.30 bits"]),
    ],
)
def test_the_page_says_what_was_learned(losses, said):
    assert all(each in tell_losses(losses) for each in said)
    assert ("memorised" in tell_losses(losses)) == ("memorised" in said)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"fil": "x"}, "lab.text.fil"),
        ({"options": {"layers": 2}}, "one layer"),
        ({"options": {"foo": 2}}, "lab.text.options.foo"),
        ({"cell": "lstn"}, "'lstn' doesn't exist"),
        ({"longest": 1}, "lab.text.longest = 1"),
    ],
)
def test_wrong_keys_are_named(wrong, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        read_text_section({"lab": {"text": wrong}})


def test_the_stage_leaves_the_same_bytes_each_time(project, capsys, monkeypatch):
    monkeypatch.setattr("carrossel.evaluation.figures.render_png", partial(render_png, dpi=30))
    params = {**load_params(), "lab": {"text": SMALL.model_dump()}}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    look = runpy.run_path("pipeline/text.py")["look"]
    seen = []
    for _ in range(2):
        look()
        files = (project / "reports" / "lab" / "text").iterdir()
        seen.append({file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files})
    assert seen[0] == seen[1]
    assert sorted(seen[0]) == ["text.html", "text.png"]
    assert "iteration 3/3" in capsys.readouterr().out
