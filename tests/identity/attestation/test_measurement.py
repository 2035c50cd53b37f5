from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import hansa
from hansa.errors import AttestationError, IdentityError
from hansa.identity.attestation.binding import Binding
from hansa.identity.attestation.measurement import PACKAGE, measure_package
from recorded_quotes import BINDING


@pytest.fixture
def package(tmp_path: Path) -> Path:
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "a.py").write_text("a = 1\n")
    (tmp_path / "b.py").write_text("b = 2\n")
    return tmp_path


def test_the_measurement_is_what_the_formula_says(package: Path) -> None:
    first, second = hashlib.sha256(b"b = 2\n").hexdigest(), hashlib.sha256(b"a = 1\n").hexdigest()
    words = f"hansa/code/1\nb.py\0{first}\nroom/a.py\0{second}\n"

    assert measure_package(package) == hashlib.sha256(words.encode()).hexdigest()


def test_a_changed_added_removed_or_renamed_file_changes_it(package: Path) -> None:
    seen = {measure_package(package)}
    (package / "b.py").write_text("b = 3\n")
    seen.add(measure_package(package))
    (package / "b.py").rename(package / "c.py")
    seen.add(measure_package(package))
    (package / "d.py").touch()
    seen.add(measure_package(package))
    (package / "c.py").unlink()
    seen.add(measure_package(package))

    assert len(seen) == 5


def test_what_the_interpreter_writes_does_not_count(package: Path) -> None:
    before = measure_package(package)
    (package / "room" / "__pycache__").mkdir()
    (package / "room" / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"x")

    assert measure_package(package) == before


def test_an_empty_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="no files"):
        measure_package(tmp_path)


def test_the_installed_package_is_the_one_measured() -> None:
    assert Path(hansa.__file__).parent == PACKAGE
    assert len(measure_package()) == 64


def test_report_data_are_pinned() -> None:
    assert BINDING.qualifying_data().hex() == "5d76d528594e72d033d5317640ab5be976417647eeea8b84e3da7ff12a75eca1"
    assert len(BINDING.report_data()) == 64
    assert BINDING.carried_by("tpm") == BINDING.qualifying_data()
    assert BINDING.carried_by("tdx") == BINDING.report_data()


def test_a_binding_travels_as_json() -> None:
    assert Binding.from_bytes(BINDING.to_bytes()) == BINDING
    with pytest.raises(AttestationError, match="binding"):
        Binding.from_bytes(b"{}")
