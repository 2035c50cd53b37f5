"""hansa: rival brokers forecast market liquidity together; nobody sees anybody's data.

A quant without a federation needs three names, loaded when they are first used:

| name | what |
|---|---|
| `load_model(path)` | a model from its two files; `model.forecast(bars)` gives quantiles |
| `lsi(bars)` | the liquidity stress index of bars |
| `Model` | what `load_model` returns |
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hansa.scoring import Model, load_model, lsi

__version__ = "0.1.0"
__all__ = ["Model", "__version__", "load_model", "lsi"]


def __getattr__(name: str) -> object:
    """Load one of the names above: `import hansa` itself loads nothing heavy."""
    if name in {"Model", "load_model", "lsi"}:
        return getattr(import_module("hansa.scoring"), name)
    raise AttributeError(f"module 'hansa' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
