"""Modules keyed by modality, whatever the modality's name is."""

from __future__ import annotations

import re
from collections.abc import ItemsView, Iterator, KeysView

from torch import nn


def _safe(name: str) -> str:
    """`name` as a key that a parameter's path can hold; reversible.

    A path is cut at dots, and `type` or `keys` would hide an attribute of the container.
    """
    return "m_" + name.replace("_", "__").replace(".", "_d")


def _plain(key: str) -> str:
    return re.sub("_[_d]", lambda found: "." if found[0] == "_d" else "_", key[2:])


class ByModality(nn.ModuleDict):
    """A module dictionary that takes every modality name, with dots, spaces or the name of a method."""

    def __getitem__(self, key: str) -> nn.Module:
        return super().__getitem__(_safe(key))

    def __setitem__(self, key: str, module: nn.Module) -> None:
        super().__setitem__(_safe(key), module)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(_safe(key))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and super().__contains__(_safe(key))

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def keys(self) -> KeysView[str]:
        """Modality names, in the order they were added."""
        return {_plain(key): None for key in self._modules}.keys()

    def items(self) -> ItemsView[str, nn.Module]:
        """Pairs of modality name and module."""
        return {_plain(key): module for key, module in self._modules.items()}.items()
