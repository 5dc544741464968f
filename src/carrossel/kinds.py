"""Open rooms: a package whose every module adds one kind of thing, found by its file's name.

`cells/gru.py` is kind `gru`. Only the asked-for module is imported, so a stage that trains a GRU runs no other cell's code,
and DVC can retrain one cell when one file changed. Modules named `base` or starting with `_`, and packages, add no kind.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Generic, TypeVar

from carrossel.errors import UnknownKind

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


class Registry(Generic[T]):
    """The kinds of one room.

    Args:
        package: dotted name of the room, such as `carrossel.cells`.
        noun: what one of them is called in messages, such as `cell`.
    """

    def __init__(self, package: str, noun: str) -> None:
        self.package = package
        self.noun = noun
        self._classes: dict[str, type[T]] = {}

    def add(self, kind: str, cls: type[T]) -> None:
        """Register `cls`; called from the base class's `__init_subclass__`.

        Raises:
            ValueError: if another class already has that kind.
        """
        known = self._classes.get(kind)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"{self.noun} kind {kind!r} is both {known.__qualname__} and {cls.__qualname__}")
        self._classes[kind] = cls

    def kinds(self) -> Sequence[str]:
        """All kinds, sorted, without importing any of them."""
        package = importlib.import_module(self.package)
        files = {m.name for m in pkgutil.iter_modules(package.__path__) if not m.ispkg}
        return sorted({name for name in files if name != "base" and not name.startswith("_")} | set(self._classes))

    def load(self, kind: str) -> type[T]:
        """The class of a kind; imports its file on first use.

        Raises:
            UnknownKind: naming the kinds there are.
        """
        if kind not in self._classes and kind in self.kinds():
            importlib.import_module(f"{self.package}.{kind}")
        try:
            return self._classes[kind]
        except KeyError:
            known = ", ".join(self.kinds())
            raise UnknownKind(f"{self.noun} kind {kind!r} doesn't exist. Choose one of: {known}.") from None
