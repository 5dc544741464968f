"""params.yaml as a whole: valid as shipped, wrong keys named, a schema that editors can use."""

import copy
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from carrossel import __version__, cells
from carrossel.cli import app
from carrossel.config import load_params
from carrossel.errors import CarrosselError
from carrossel.params import check, named_cells, schema

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def params():
    return copy.deepcopy(load_params(ROOT / "params.yaml"))


def test_the_shipped_file_is_valid(params):
    check(params)


def test_the_lectures_cells_compete_by_default(params):
    assert list(params["cells"]) == [
        "rnn",
        "lstm",
        "peephole",
        "peephole_diagonal",
        "coupled",
        "gru",
        "gru_reset_after",
    ]


def test_any_cell_may_compete(params):
    params["cells"] = {kind: {"hidden_size": 8} for kind in cells.registry.kinds()}
    check(params)


def test_cells_that_some_stage_trains_are_named_once(params):
    params["cells"] = {"gru": {}}
    params["lab"]["units"]["cell"] = "janet"
    params["lab"]["exams"]["candidates"] = {"a": {"cell": "rnn"}, "b": {"cell": "rnn", "hidden_size": 3}}
    params["odyssey"]["cells"] = ["nog", "rnn"]

    assert named_cells(params) == ["gru", "janet", "lstm", "nog", "rnn"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.update(trainning={}), "trainning"),
        (lambda p: p["cells"].update(lstn={"hidden_size": 3}), "lstn"),
        (lambda p: p["cells"]["gru"].update(units=3), r"cells\.gru\.units = 3"),
        (lambda p: p["datasets"]["bitcoin"].update(interval="1 fortnight"), "interval"),
        (lambda p: p["datasets"]["bitcoin"]["source"].update(kind="exchange"), "exchange"),
        (lambda p: p["target"].update(kind="prize"), "prize"),
        (lambda p: p["tuning"].update(cell="lstn"), "lstn"),
        (lambda p: p["tuning"]["space"].update({"cell.width": {"kind": "int", "low": 1, "high": 2}}), "width"),
        (lambda p: p["tuning"].update(sampler="hope"), "'hope'"),
        (lambda p: p["odyssey"].update(dataset="gogle"), r"odyssey\.dataset = 'gogle'"),
        (lambda p: p["odyssey"].update(cells=["lstm", "lstn"]), r"odyssey\.cells\.1 = 'lstn'"),
        (lambda p: p["odyssey"]["space"].update({"cell.width": {"kind": "int", "low": 1, "high": 2}}), "width"),
        (lambda p: p["training"].update(epochs=0), r"training\.epochs = 0"),
        (lambda p: p["walk_forward"].update(models=["ar", "lstn"]), r"walk_forward\.models names 'lstn'"),
        (lambda p: p["datasets"]["google"].update(walk_forward={"models": ["arr"]}), "names 'arr'"),
        (lambda p: p["lab"].update(dataset="gogle"), r"lab\.dataset = 'gogle': no such entry"),
        (lambda p: p["lab"]["units"].update(cell="lstn"), "lstn"),
        (lambda p: p["lab"]["text"].update(stepps=3), r"lab\.text\.stepps"),
        (lambda p: p["lab"]["hochreiter"].update(alphas=[9.0]), r"lab\.hochreiter\.alphas"),
        (lambda p: p["lab"]["exams"]["papers"].update(addding={}), "addding"),
    ],
)
def test_a_mistake_anywhere_is_named(params, change, message):
    change(params)
    with pytest.raises(CarrosselError, match=message) as caught:
        check(params)
    assert "\n" not in str(caught.value)


def test_the_committed_schema_is_the_generated_one():
    committed = json.loads((ROOT / "docs" / "params.schema.json").read_text(encoding="utf-8"))
    assert committed == json.loads(json.dumps(schema())), "run: carrossel schema"


def test_the_schema_forbids_unknown_keys_and_describes_each_knob():
    whole = schema()
    assert whole["additionalProperties"] is False
    training = whole["$defs"]["Training"]
    assert training["additionalProperties"] is False
    assert all("description" in knob for knob in training["properties"].values())


def test_the_command_line_checks_and_answers(project):
    run = CliRunner().invoke
    assert run(app, ["--version"]).output.strip() == __version__
    assert "valid" in run(app, ["check"]).output
    (project / "params.yaml").write_text("training: {}\n")
    refused = run(app, ["check"])
    assert refused.exit_code == 1
    assert refused.output.startswith("carrossel: ")
    assert run(app, ["verdict"]).exit_code == 1
