"""Packages that only some people have."""

from __future__ import annotations

import importlib
from typing import Any

from cggm_core.errors import CapabilityError


def need(module: str, extra: str) -> Any:
    """A module of an optional package.

    Args:
        module: to import.
        extra: of this project, which installs it.

    Raises:
        CapabilityError: if it is not installed, with the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        package = module.split(".")[0]
        raise CapabilityError(
            f"{package} is not installed; it is needed here only: pip install 'cggm-lab[{extra}]', or pip install "
            f"{package}"
        ) from error
