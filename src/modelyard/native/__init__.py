"""The hot paths once more, in C: what is ordinary is answered sooner, all else is left to the Python that reads the same.

Each function here has a twin in Python and answers as that does, or says that the twin has to be asked. ``built`` is None
where there was no C compiler when Modelyard was installed: then everything is Python's, and works.
"""

from types import ModuleType
from typing import Any

built: ModuleType | None
try:
    from modelyard.native import _native as built
except ImportError:  # Built where there is a compiler; whoever imports this asks first.
    built = None


def part(name: str) -> Any:
    """What the C has of that name; None where there is none, as in a tree whose C was built before it was written."""
    return getattr(built, name, None)
