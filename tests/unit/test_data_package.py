"""What `recsys.cf.data` offers by name, and that asking for the package alone costs nothing."""

import subprocess
import sys

import pytest

import recsys.cf.data as data


def test_every_public_name_is_there_and_no_other():
    for name in data.__all__:
        assert getattr(data, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        data.nothing  # noqa: B018


def test_the_package_alone_imports_no_heavy_library():
    code = "import sys, recsys.cf.data; print(sorted({'polars', 'scipy', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
