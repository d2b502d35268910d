"""The Makefile chooses a Python that starts, and mixes no two in one environment."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from scripts import ROOT

from metarl.envs.opengl import ADVICE

VERSIONS = ("3.11", "3.12", "3.13", "3.14")


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def make(clone: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """`make`, where commands of the folder `programs` come first."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "MAKEFLAGS")}
    environment["PATH"] = f"{clone / 'programs'}:/usr/bin:/bin"
    return subprocess.run(["make", *words], cwd=clone, env=environment, capture_output=True, text=True, check=False)


def test_the_first_python_that_starts_is_taken(clone: Path) -> None:
    program(clone / "programs" / "python3.11", "echo 'pyenv: python3.11: command not found' >&2; exit 127")
    program(clone / "programs" / "python3.12", "exit 0")
    done = make(clone, "--dry-run", "setup")
    assert "\npython3.12 -m venv .venv\n" in done.stdout
    assert done.stderr == ""
    program(clone / ".venv" / "bin" / "python", "exit 0")
    assert "\n.venv/bin/python -m venv .venv\n" in make(clone, "--dry-run", "setup").stdout


def test_an_environment_of_another_python_is_left_alone(clone: Path) -> None:
    program(clone / ".venv" / "bin" / "python", "echo '(3, 13)'")
    (clone / ".venv" / "installed").touch()
    for version, status in (("(3, 13)", 0), ("(3, 12)", 2)):
        python = program(clone / "programs" / "python", f"echo '{version}'")
        done = make(clone, "setup", f"PYTHON={python}")
        assert done.returncode == status, done.stderr
        assert ("error: .venv was made by another Python" in done.stdout) == bool(status)


def test_the_pythons_that_are_supported_are_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [words.rpartition(" ")[2] for words in project["classifiers"] if ":: Python :: 3." in words]
    assert named == list(VERSIONS)
    assert project["requires-python"] == f">={VERSIONS[0]}"
    makefile = (ROOT / "Makefile").read_text()
    assert "(3, 11) <= sys.version_info[:2] <= (3, 14)" in makefile
    assert " ".join(f"python{version}" for version in VERSIONS) in makefile
    page = (ROOT / "docs" / "how-to" / "install.md").read_text()
    assert re.findall(r"^\| (3\.\d+)", page, re.M) == list(VERSIONS)


def test_what_opengl_takes_is_the_same_everywhere() -> None:
    packages = re.findall(r"^OPENGL := (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert len(packages) == 1
    assert ADVICE["egl"].endswith(f"apt-get install {packages[0]})")
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    named = {page.name: re.findall(r"`(libegl1 [^`]*)`", page.read_text()) for page in pages}
    assert {page: found for page, found in named.items() if found} == dict.fromkeys(
        ("README.md", "first-run.md", "films.md", "install.md"), packages
    )
