r"""The measurement of the installed code: one digest over every file of the package, the same for the same release.

```
digest = SHA-256("hansa/code/1\\n" + for every file, in the order of its path: path "\\0" SHA-256(content) "\\n")
```

Paths are relative to the package, with `/`. Left out is what an interpreter writes by itself: `__pycache__`, files that
end in `.pyc`, and numba's caches.

Guarantees: a file changed, added, removed or renamed changes the digest.
Does NOT guarantee: anything about the interpreter, the libraries or the machine; and code that lies can lie about this.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from hansa.errors import IdentityError

CONTEXT: Final = b"hansa/code/1\n"
PACKAGE: Final = Path(__file__).resolve().parents[2]
_WRITTEN_BY_INTERPRETERS: Final = frozenset({".pyc", ".pyo", ".nbi", ".nbc"})


def measure_package(package: Path = PACKAGE) -> str:
    """Return the digest of the files below `package`, hexadecimal.

    Raises:
        IdentityError: A file cannot be read, or there is none.
    """
    files = sorted(
        (path for path in package.rglob("*") if path.is_file() and _is_code(path.relative_to(package))),
        key=lambda path: path.relative_to(package).as_posix(),
    )
    if not files:
        raise IdentityError(f"measurement: {package}: no files; install the package again")
    whole = hashlib.sha256(CONTEXT)
    for path in files:
        try:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise IdentityError(f"measurement: {path}: {error.strerror}; install the package again") from error
        whole.update(f"{path.relative_to(package).as_posix()}\0{content}\n".encode())
    return whole.hexdigest()


def _is_code(path: Path) -> bool:
    return "__pycache__" not in path.parts and path.suffix not in _WRITTEN_BY_INTERPRETERS
