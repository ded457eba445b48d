"""Dependencies are written once: the lock is made from pyproject.toml, and conda users get the same lock."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PINS = [Requirement(text) for text in re.findall(r"^([A-Za-z0-9].*?) \\$", LOCK, flags=re.MULTILINE)]
WANTED = [
    Requirement(text)
    for text in (*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["dev"])
]


def test_every_dependency_is_pinned_within_its_bounds():
    for wanted in WANTED:
        pins = [pin for pin in PINS if canonicalize_name(pin.name) == canonicalize_name(wanted.name)]
        assert pins, f"{wanted.name} is not in requirements.lock: run make lock"
        for pin in pins:
            version = next(iter(pin.specifier)).version
            assert wanted.specifier.contains(version), f"{pin} is outside {wanted}: run make lock"


def test_the_lock_serves_linux_windows_and_apple_silicon():
    platforms = [
        {"sys_platform": "linux", "platform_machine": "x86_64"},
        {"sys_platform": "win32", "platform_machine": "AMD64"},
        {"sys_platform": "darwin", "platform_machine": "arm64"},
    ]
    for wanted in WANTED:
        for place in platforms:
            for python in ("3.11", "3.12", "3.13"):
                marked = {**place, "python_version": python, "python_full_version": f"{python}.5"}
                hits = [
                    pin
                    for pin in PINS
                    if canonicalize_name(pin.name) == canonicalize_name(wanted.name)
                    and (pin.marker is None or pin.marker.evaluate(marked))
                ]
                assert len(hits) == 1, f"{wanted.name} on {place['sys_platform']}, Python {python}: {hits}"


def test_every_pin_is_hashed_and_no_index_is_named():
    blocks = re.split(r"\n(?=[A-Za-z0-9])", LOCK.strip())
    assert len(blocks) == len(PINS)
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in LOCK
    assert "index-url" not in LOCK


def test_dependencies_have_lower_bounds_and_no_silent_upper_ones():
    for wanted in WANTED:
        operators = {part.operator for part in wanted.specifier}
        assert operators & {">=", ">"}, f"{wanted.name} has no lower bound"
        assert not operators & {"<", "<=", "==", "~="}, f"{wanted.name}: an upper bound needs its reason and a test"


def test_conda_gets_python_and_the_same_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python, pip, packages = environment["dependencies"]
    assert pip == "pip"
    assert packages == {"pip": ["-r requirements.lock"]}
    wanted = PROJECT["project"]["requires-python"].replace(" ", "")
    assert python.replace("python", "").strip().replace(" ", "") == wanted


def test_preprocessing_does_not_load_torch():
    code = (
        "import sys; from dfutils import cli; from dfutils.core import params, stages;"
        "from dfutils.faces import batch, review; from dfutils.forgery import own_videos, photographs, sample;"
        "from dfutils.splits import leakage, policies; from dfutils.data import catalog, indexing, kaggle, obtaining;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_wheel_holds_every_file_of_the_package():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    declared = {
        path
        for package, globs in patterns.items()
        for glob in globs
        for path in ROOT.joinpath(*package.split(".")).glob(glob)
    }
    files = [path for path in (ROOT / "dfutils").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert declared == {path for path in files if path.suffix != ".py"}
    assert all((path.parent / "__init__.py").exists() for path in files if path.suffix == ".py")
