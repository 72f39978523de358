"""Documents for operators stay true: tests that SECURITY.md names exist, licences and compose follow the project."""

import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
for folder in ("docker", ".ci"):
    sys.path.insert(0, str(ROOT / folder))
import audit  # noqa: E402
from check_compose import example_environment, interpolated  # noqa: E402
from dockerfile_steps import read_steps  # noqa: E402
from hashes import requirements  # noqa: E402

DOCKERFILES = [ROOT / "docker" / f"Dockerfile.{kind}" for kind in ("cpu", "gpu", "spark", "torchrec")]


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if "==" in line and not line.startswith("#")]
    return {name.replace(".", "-").replace("_", "-").lower(): version for name, version in pairs}


@pytest.fixture(scope="module")
def compose():
    text = (ROOT / "docker" / "compose.yaml").read_text()
    return yaml.safe_load(interpolated(text, example_environment()))


def test_every_test_that_the_threat_model_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text())
    assert len(named) > 15
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / file).exists() or f"def {name}(" not in (ROOT / file).read_text()
    ]
    assert not missing


def test_licences_are_those_of_the_pinned_versions() -> None:
    rows = re.findall(r"^\| ([\w-]+) \| (\S+) \| (.+) \|$", (ROOT / "docs" / "licences.md").read_text(), re.M)
    listed = {name: version for name, version, _ in rows if name not in ("package", "---")}
    versions = pinned()
    assert {name: versions.get(name) for name in listed} == listed, "make licences"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    direct = {re.split(r"[<>=\[; ]", one)[0].replace("_", "-").lower() for one in project["dependencies"]}
    assert direct <= set(listed), "make licences"
    unclear = [name for name, _, licence in rows if licence == "not stated"]
    assert not unclear


def test_no_dependency_of_the_core_is_under_a_licence_that_binds_its_users() -> None:
    core = (ROOT / "docs" / "licences.md").read_text().partition("## Extra")[0]
    bound = [line for line in core.splitlines() if re.search(r"\bA?GPL|GNU (Affero )?General", line)]
    # its metadata offers the Artistic License as well
    assert all("text-unidecode" in line and "Artistic" in line for line in bound), bound


def test_every_variable_of_compose_is_explained_in_the_example() -> None:
    text = (ROOT / "docker" / "compose.yaml").read_text()
    assert set(re.findall(r"\$\{(\w+)", text)) == set(example_environment())


def test_a_secret_that_is_not_set_stops_compose() -> None:
    text = (ROOT / "docker" / "compose.yaml").read_text()
    for secret in ("POSTGRES_PASSWORD", "PREFECT_AUTH", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        for environment in (example_environment() | {secret: ""}, example_environment()):
            if environment[secret]:
                del environment[secret]
            with pytest.raises(SystemExit, match=secret):
                interpolated(text, environment)


def test_services_are_pinned_limited_restarted_and_watched(compose) -> None:
    for name, service in compose["services"].items():
        tag = service["image"].rsplit(":", 1)[1]
        assert tag not in ("latest", ""), name
        assert service["restart"] in ("unless-stopped", "on-failure"), name
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}, name
        assert "no-new-privileges:true" in service["security_opt"], name
        if not service["image"].startswith("train-cf"):
            assert service["healthcheck"]["test"], name
        else:
            assert service["cap_drop"] == ["ALL"], name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name


def test_references_of_compose_lead_somewhere(compose) -> None:
    services, once = compose["services"], {"service_completed_successfully"}
    for name, service in services.items():
        assert set(service.get("networks", ())) <= set(compose["networks"]), name
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source.startswith((".", "/")) or source in compose["volumes"], (name, volume)
        for other, condition in service.get("depends_on", {}).items():
            assert other in services, name
            if condition["condition"] in once:
                assert services[other]["restart"] == "on-failure", other


def test_no_container_but_the_server_reaches_the_database(compose) -> None:
    inside = {name for name, one in compose["services"].items() if "database" in one["networks"]}
    assert inside == {"postgres", "prefect-server"}


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.suffix)
def test_images_run_as_nobody_in_the_project_with_a_health_check(path: Path) -> None:
    steps = read_steps(path)
    final = steps[max(place for place, step in enumerate(steps) if step.word == "FROM") :]
    words = {step.word: step.rest for step in final}
    assert words["USER"] == "10001:10001"
    assert words["WORKDIR"] == "/opt/train-cf"
    assert "RECSYS_PROJECT=/opt/train-cf" in words["ENV"]
    assert "--with-healthcheck" in words["CMD"]
    assert "127.0.0.1:8080/health" in words["HEALTHCHECK"]
    copied = [step.rest for step in steps if step.word == "COPY" and not step.rest.startswith("--from")]
    for sources in copied:
        for source in sources.split()[:-1]:
            assert list(ROOT.glob(source)) or source.endswith("[t]"), source


def test_builds_see_no_secret(tmp_path: Path) -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"  # everything is out, then named folders are in
    assert rules.index("docker/.env") > rules.index("!docker/")


def test_an_audit_that_did_not_happen_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.skipped("no network") == 0
    assert "skipped, nothing was audited" in capsys.readouterr().out


def test_a_vulnerability_ends_the_audit_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    sound = {"name": "a", "version": "1", "vulns": []}
    unknown = {"name": "b", "skip_reason": "not found"}
    weak = {"name": "c", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
    assert audit.judged([sound, unknown]) == 0
    assert "1 of 2 versions audited" in capsys.readouterr().out
    assert audit.judged([sound, weak]) == 1
    assert "c 2: PYSEC-1, fixed in 3" in capsys.readouterr().out


def test_hashes_are_taken_from_pips_report_and_never_left_out() -> None:
    wheel = {
        "metadata": {"name": "NumPy", "version": "2"},
        "download_info": {"archive_info": {"hashes": {"sha256": "ab"}}},
    }
    project = {"metadata": {"name": "train-cf", "version": "0"}, "download_info": {"dir_info": {}}}
    assert requirements({"install": [wheel, project]}) == ["numpy==2 --hash=sha256:ab\n"]
    wheel["download_info"]["archive_info"] = {}
    with pytest.raises(SystemExit, match="SHA-256 of NumPy"):
        requirements({"install": [wheel]})


def test_preparations_of_a_deployment_wait_for_each_other() -> None:
    """Two appends to latest at once would both end up in it, but one of them is made twice."""
    document = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())
    found = [one for one in document["deployments"] if one["entrypoint"].endswith(":prepare_data")]
    assert len(found) == 2
    assert [one.get("concurrency_limit") for one in found] == [
        {"limit": 1, "collision_strategy": "ENQUEUE"}
    ] * 2
