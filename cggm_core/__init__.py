"""CGGM Lab: see why a multimodal network relies on one modality, and what to do about it.

Public names are resolved on first use (PEP 562), so importing the package loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cggm_core.config import RunConfig, Training
    from cggm_core.engine.watch import watch
    from cggm_core.engine.watcher import Watch
    from cggm_core.errors import CggmError
    from cggm_core.protocols.method import BalanceMethod
    from cggm_core.protocols.model import MultimodalModel
    from cggm_core.protocols.step import Step
    from cggm_core.store import Catalogue, open_reader, open_writer

__version__ = "0.1.0"

_PUBLIC = {
    "BalanceMethod": "cggm_core.protocols.method",
    "Catalogue": "cggm_core.store",
    "CggmError": "cggm_core.errors",
    "MultimodalModel": "cggm_core.protocols.model",
    "RunConfig": "cggm_core.config",
    "Step": "cggm_core.protocols.step",
    "Training": "cggm_core.config",
    "Watch": "cggm_core.engine.watcher",
    "open_reader": "cggm_core.store",
    "open_writer": "cggm_core.store",
    "watch": "cggm_core.engine.watch",
}

__all__ = [
    "BalanceMethod",
    "Catalogue",
    "CggmError",
    "MultimodalModel",
    "RunConfig",
    "Step",
    "Training",
    "Watch",
    "__version__",
    "open_reader",
    "open_writer",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has: {', '.join(__all__)}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
