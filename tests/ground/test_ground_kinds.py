"""One file adds one kind, and only the asked-for file is imported."""

import subprocess
import sys

import pytest

from carrossel.errors import UnknownKind
from carrossel.kinds import Registry
from carrossel.targets.base import registry as targets


def test_kinds_are_the_files_of_the_room():
    assert targets.kinds() == ["direction", "log_return", "price", "volatility"]


def test_an_unknown_kind_lists_the_known_ones():
    with pytest.raises(
        UnknownKind,
        match=r"target kind 'pric' doesn't exist\. Choose one of: direction, log_return, price, volatility\.",
    ):
        targets.load("pric")


@pytest.mark.parametrize("name", ["base", "__init__", "../config", "_private"])
def test_a_module_that_is_no_kind_is_not_loaded(name):
    with pytest.raises(UnknownKind):
        targets.load(name)


def test_loading_one_kind_imports_no_other():
    code = (
        "import sys; from carrossel.targets.base import registry; registry.load('price'); "
        "sys.exit('carrossel.targets.log_return' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_two_classes_may_not_share_a_kind():
    registry = Registry("carrossel.targets", "target")
    registry.add("twin", int)
    with pytest.raises(ValueError, match="both int and float"):
        registry.add("twin", float)
