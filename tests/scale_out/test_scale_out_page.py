from pathlib import Path

from written_commands import BLOCKS, PAGE

# What only a person with another machine, or the package registry, can try.
ELSEWHERE = {"extras", "tunnel", "install", "dashboard"}


def test_every_command_of_the_page_is_tried():
    tests = "".join(file.read_text("utf-8") for file in Path(__file__).parent.glob("*.py") if file != Path(__file__))
    assert {name for name in BLOCKS if f'"{name}"' not in tests} == ELSEWHERE
    assert len(BLOCKS) == PAGE.read_text("utf-8").count("```sh")  # one without a name would escape


def test_no_command_holds_a_secret():
    for name, block in BLOCKS.items():
        lines = [line for line in block.splitlines() if "PASSWORD=" in line or "SECRET" in line]
        assert all("=…" in line for line in lines), name
