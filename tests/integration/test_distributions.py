"""Sdist and wheel: complete, and enough with the core's dependencies alone; nothing of `dev` or an extra is visible."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import Distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".ci"))
from licences import closure  # noqa: E402

_BUILD = "import sys; from setuptools import build_meta as backend; print(backend.build_{0}(sys.argv[1]))"
# no file that a build would make: what is left is what git would hold
_MADE = ("__pycache__", "*.egg-info", "*.nb[ci]", ".git", ".*_cache", ".hypothesis", "build", "dist", ".venv")

pytestmark = pytest.mark.slow


def build(kind: str, source: Path, target: Path) -> Path:
    """Return the path of the sdist or wheel that the project's build backend makes of ``source``."""
    done = subprocess.run(
        [sys.executable, "-c", _BUILD.format(kind), str(target)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return target / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory) -> tuple[Path, Path]:
    """Return (sdist, wheel); the wheel is made of the unpacked sdist alone."""
    place = tmp_path_factory.mktemp("dist")
    source = place / "source"
    source.mkdir()
    for name in ("recsys", "flows", "deployments", "docker", "tests/unit"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns(*_MADE))
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "SECURITY.md", "constraints.txt"):
        shutil.copy2(ROOT / name, source / name)
    for name in ("docker/.env", "docker/data/reviews.py"):  # what must never leave the machine
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("secret")
    sdist = build("sdist", source, place)
    with tarfile.open(sdist) as archive:
        archive.extractall(place / "unpacked", filter="data")
    [unpacked] = (place / "unpacked").iterdir()
    return sdist, build("wheel", unpacked, place)


def files_of(folder: Path) -> set[str]:
    """Return every file below recsys and flows that is no product of running or building."""
    found = (path for name in ("recsys", "flows") for path in (folder / name).rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder))
        for path in found
        if "__pycache__" not in path.parts and path.suffix not in (".nbc", ".nbi", ".pyc")
    }


def test_sdist_and_wheel_hold_every_file_of_the_packages(distributions) -> None:
    sdist, wheel = distributions
    expected = files_of(ROOT)
    assert "recsys/reporting/templates/report.html" in expected
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert expected <= packed
    assert {"README.md", "LICENSE", "pyproject.toml", "SECURITY.md", "constraints.txt"} <= packed
    assert {"deployments/prefect.yaml", "docker/Dockerfile.cpu", "docker/.env.example"} <= packed
    assert not {"docker/.env", "docker/data/reviews.py"} & packed
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in names if ".dist-info/" not in name} == expected


def link_core(site_packages: Path) -> int:
    """Show an environment the dependencies of the core and nothing else; return how many packages they are."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = closure(project["dependencies"])
    for package in packages.values():
        for top in top_levels(package):
            target = site_packages / top.name
            if not target.exists():
                target.symlink_to(top)
    return len(packages)


def top_levels(package: Distribution) -> set[Path]:
    """Return the entries of site-packages that belong to a package: folders, modules, its metadata."""
    root = Path(str(package.locate_file("")))
    tops = {file.parts[0] for file in package.files or () if file.parts[0] != ".."}
    return {root / top for top in tops if (root / top).exists() and top != "__pycache__"}


@pytest.fixture(scope="module")
def lean(distributions, tmp_path_factory) -> Path:
    """Return the bin folder of an environment with the wheel and the core's dependencies."""
    place = tmp_path_factory.mktemp("lean")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    [site_packages] = (place / "lib").glob("python*/site-packages")
    assert link_core(site_packages) > 50
    for absent in ("pytest", "hypothesis", "mypy", "torch", "optuna", "moto", "sklearn"):
        assert not (site_packages / absent).exists()
    command = [sys.executable, "-m", "pip", "--python", str(place / "bin" / "python"), "install", "--no-deps"]
    command += ["--no-index", "--quiet", str(distributions[1])]
    subprocess.run(command, check=True, env=outside(), cwd=place)
    return place / "bin"


def outside() -> dict[str, str]:
    """Return the environment without the way to this source tree."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(program: Path, *arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [str(program), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**outside(), "RECSYS_LOG_DIR": str(cwd / "logs")},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_runs_a_night_without_dev_extras(lean: Path, tmp_path: Path) -> None:
    recsys = lean / "recsys"
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert run(recsys, "--version", cwd=tmp_path) == f"train-cf {version}\n"
    run(recsys, "demo-data", "--size", "small", "--output", "raw", cwd=tmp_path)
    run(recsys, "prepare", "raw/reviews.csv", "--items", "raw/products.csv", cwd=tmp_path)
    settings = ["als.preset=default", "als.iterations=3", "bpr.preset=original", "bpr.epochs=3"]
    options = [part for one in settings for part in ("--set", one)]
    result = json.loads(run(recsys, "run", "--json", *options, cwd=tmp_path))
    assert set(result["models"]) == {"als", "bpr"}
    assert "</html>" in (tmp_path / "artifacts/cf/report.html").read_text()
    run(lean / "python", "-c", "import flows.train_cf, flows.tune_cf", cwd=tmp_path)


def test_the_versions_agree(distributions) -> None:
    import recsys

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert recsys.__version__ == project["version"]
    assert f"train_cf-{recsys.__version__}-py3-none-any.whl" == distributions[1].name
