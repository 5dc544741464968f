from __future__ import annotations

import pytest
from written_commands import Shell

STAGES = """
stages:
  train:
    cmd: python -c "open('model', 'w').write(open('params.yaml').read())"
    params: [rate]
    outs:
      - model: {persist: true}
"""


@pytest.fixture
def team(s3, tmp_path):
    return Shell(tmp_path, "team.env", s3)


def test_a_fresh_clone_has_from_s3_what_another_computed(team, s3, stored, tmp_path):
    ann, bob = tmp_path / "ann", tmp_path / "bob"
    ann.mkdir()
    (ann / "dvc.yaml").write_text(STAGES)
    (ann / "params.yaml").write_text("rate: 1\n")
    team.run(
        "git init --quiet && dvc init --quiet && dvc repro --quiet && git add . && git commit --quiet -m begun", ann
    )
    team.run("remote", ann)
    assert [name for name in stored() if name.startswith("dvc/files/")]
    shown = team.run("git show HEAD:.dvc/config", ann)
    assert "s3://carrossel/dvc" in shown
    assert all(secret not in shown for secret in (s3["AWS_ACCESS_KEY_ID"], s3["AWS_SECRET_ACCESS_KEY"]))

    team.run("git clone --quiet ann bob", tmp_path)
    assert not (bob / "model").exists()
    team.run("pull", bob)
    assert (bob / "model").read_text() == "rate: 1\n"
    assert "Running stage" not in team.run("dvc repro", bob)
