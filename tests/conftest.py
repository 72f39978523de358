"""What all tests share: where the real data sets would be, and helpers of neighbouring test folders."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from servers import other_s3, s3, seaweedfs  # noqa: F401  (fixtures)
from stored_versions import contents  # noqa: F401  (fixture)

# a loaded machine is no failure: what an example may take is pytest's timeout
# and where a change waits to land, the same examples come each time; new ones are tried at every other run
settings.register_profile("project", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("project")

ROOT = Path(__file__).resolve().parent.parent
for folder in ("unit", "integration"):
    sys.path.insert(0, str(Path(__file__).parent / folder))


@pytest.fixture
def real_data():
    """Return the folder of real data sets beside the project; skip the test where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data sets (../shared/data) are not on this machine")
    return folder


@pytest.fixture(autouse=True, scope="session")
def _logs_of_tests(tmp_path_factory):
    """Keep the log files of commands under test out of the project."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_LOG_DIR", str(tmp_path_factory.mktemp("logs")))
        yield
