from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from carrossel.online.champion import find_champion, local_champion
from carrossel.tracking.registry import CHAMPION, model_name, register
from champions import write_model

if TYPE_CHECKING:
    from pathlib import Path

    from carrossel.tracking.store import Store

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*type hint:UserWarning"),
]
NOW = pd.Timestamp("2020-03-01", tz="UTC")
DEAD = "http://127.0.0.1:9"


class Served:
    """A dataset whose champion is version 1."""

    def __init__(self, dataset: str, store: Store, root: Path) -> None:
        self.dataset, self.store, self.root = dataset, store, root

    def find(self, **more: Any) -> Any:
        return find_champion(self.dataset, self.root, **{"expires": None, "now": NOW, "store": self.store, **more})

    def local(self, **more: Any) -> Any:
        return local_champion(self.dataset, self.root, **{"expires": None, "now": NOW, **more})

    @property
    def pointer(self) -> Path:
        return self.root / ".carrossel" / "champions" / f"{self.dataset}.json"


@pytest.fixture(scope="module")
def version(registry_store: Store, bars: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """One registered version for all tests, logged as real ones are, `model.onnx` among its files."""
    import warnings

    folder = write_model(tmp_path_factory.mktemp("models") / "served" / "lstm", 0.3, bars)
    (folder / "model.onnx").write_bytes(b"onnx")
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setenv("CARROSSEL_ROOT", str(registry_store.root))
        patch.setattr("carrossel.tracking.relog.draw_figures", lambda *_: {})
        found = register(registry_store, "served", folder, "a test")
    registry_store.client.set_registered_model_alias(model_name("served"), CHAMPION, found.version)
    return found.version, folder


@pytest.fixture
def served(registry: Store, version: tuple[str, Path], tmp_path: Path) -> Served:
    return Served("served", registry, tmp_path)


def test_the_champions_files_are_copied_and_nothing_else(served: Served, version: tuple[str, Path]) -> None:
    found = served.find()
    assert (found.version, found.reason) == ("1", "version 1 (lstm) is served's champion")
    assert found.folder == served.root / ".carrossel" / "champions" / "served" / "1"
    for name in ("manifest.json", "model.safetensors", "model.onnx"):
        assert (found.folder / name).read_bytes() == (version[1] / name).read_bytes()
    assert sorted(file.name for file in found.folder.iterdir()) == [
        "copy.json",
        "manifest.json",
        "model.onnx",
        "model.safetensors",
    ]
    assert found.problem is None
    assert served.local() == found


def test_a_registry_that_is_away_leaves_what_served_before_and_says_so(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = served.find()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", DEAD)
    away = served.find(store=None)
    assert (away.version, away.folder) == (found.version, found.folder)
    assert away.reason.startswith("version 1 (lstm) is served's champion; the registry's can't be had: tracking server")
    assert away.problem.startswith("the registry's can't be had: tracking server http://127.0.0.1:9")


def test_without_registry_and_copy_persistence_serves(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", DEAD)
    found = served.find(store=None)
    assert (found.version, found.folder) == (None, None)
    assert found.reason.startswith("persistence serves: no champion of served has been copied yet; the registry's")


def test_without_a_champion_persistence_serves(served: Served) -> None:
    served.dataset = "nobody"
    assert served.find().reason == served.local().reason == "persistence serves: nobody has no champion"
    assert served.find().problem is None


@pytest.mark.parametrize(("expires", "serves"), [("1d", False), ("30d", True), (None, True)])
def test_a_champion_expires_by_the_age_of_its_newest_training_bar(
    served: Served, expires: str | None, serves: bool
) -> None:
    last = pd.Timestamp("2020-02-07 11:00", tz="UTC")  # of 900 hourly bars from the first of January on
    found = served.find(expires=expires)
    assert (found.version == "1") is serves
    if expires:
        edge = last + pd.Timedelta(int(expires[:-1]), "D")
        assert served.local(expires=expires, now=edge - pd.Timedelta("1s")).version == "1"
        assert served.local(expires=expires, now=edge).reason.startswith(
            f"persistence serves: served's champion, version 1, has expired: its newest training bar is {last}"
        )
        assert served.local(expires=expires, now=edge).problem.startswith("served's champion, version 1, has expired")


def test_a_damaged_copy_does_not_serve_and_is_copied_again(served: Served) -> None:
    folder = served.find().folder
    (folder / "model.safetensors").write_bytes(b"other weights")
    assert served.local().reason == "persistence serves: the copy of served's champion, version 1, is damaged"
    assert served.local().problem == "the copy of served's champion, version 1, is damaged"
    assert served.find().version == "1"
    shutil.rmtree(folder)
    assert served.local().version is None
    assert served.find().version == served.local().version == "1"


@pytest.mark.parametrize(
    "pointer",
    [
        {"version": "../../elsewhere", "files": {"manifest.json": ""}},
        {"version": "1", "files": {"manifest.json": "", "../../../params.yaml": ""}},
        {"version": "1", "files": []},
        ["1"],
    ],
)
def test_a_pointer_that_leads_elsewhere_or_nowhere_is_not_followed(served: Served, pointer: Any) -> None:
    served.find()
    served.pointer.write_text(json.dumps(pointer))
    assert served.local().version is None


def test_a_version_whose_files_lie_outside_of_the_store_is_not_copied(served: Served, tmp_path: Path) -> None:
    served.dataset = "outside"
    client = served.store.client
    client.create_registered_model(model_name("outside"))
    for source in (tmp_path.as_uri(), f"{(served.store.artifacts or tmp_path).as_uri()}/../secrets"):
        number = str(client._get_registry_client().store.create_model_version(model_name("outside"), source).version)
        client.set_registered_model_alias(model_name("outside"), CHAMPION, number)
        found = served.find()
        assert found.version is None
        assert "files " in found.reason


def test_files_that_are_not_those_registered_are_not_copied(served: Served, version: tuple[str, Path]) -> None:
    client = served.store.client
    tag = "carrossel.sha256.model.safetensors"
    registered = client.get_model_version(model_name("served"), version[0]).tags[tag]
    client.set_model_version_tag(model_name("served"), version[0], tag, "0" * 64)
    try:
        found = served.find()
    finally:
        client.set_model_version_tag(model_name("served"), version[0], tag, registered)
    assert found.version is None
    assert "model.safetensors isn't the file that was registered" in found.reason


def test_the_local_champion_needs_no_mlflow(served: Served) -> None:
    served.find()
    program = (
        "import sys, pandas as pd; from pathlib import Path; from carrossel.online.champion import local_champion\n"
        "found = local_champion('served', Path(sys.argv[1]), expires=None, now=pd.Timestamp('2020-03-01', tz='UTC'))\n"
        "print(found.version, {'mlflow', 'torch', 'sqlalchemy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(served.root)], capture_output=True, text=True, check=True)
    assert done.stdout == "1 set()\n"
