"""What is said where TorchRec is not: before anything is trained, with the way out. Needs no torch."""

import subprocess
import sys

import pytest
from shops import pools_of, random_positives

from recsys.cf.models import torchrec_ranks
from recsys.cf.models.torchrec_fit import batch_size_of, fit_bpr_torchrec
from recsys.cf.models.torchrec_job import Process
from recsys.cf.models.torchrec_ranks import require_torchrec
from recsys.config.load import load_config
from recsys.config.schema import BprConfig, TorchRecConfig
from recsys.errors import ConfigError


def test_fit_without_the_extra_names_what_is_missing_and_how_to_get_it(monkeypatch):
    find = torchrec_ranks.importlib.util.find_spec
    hidden = ("torchrec", "fbgemm_gpu")
    monkeypatch.setattr(
        torchrec_ranks.importlib.util, "find_spec", lambda name: None if name in hidden else find(name)
    )
    monkeypatch.setattr(torchrec_ranks, "_NEEDED", ("numba", *hidden))
    with pytest.raises(ConfigError, match="torchrec, fbgemm_gpu") as told:
        fit_bpr_torchrec(
            pools_of(random_positives(5, 4, 2, seed=1)), BprConfig(), settings=TorchRecConfig(), seed=1
        )
    assert "make torchrec" in str(told.value)
    assert "--no-deps torchrec" in str(told.value)


def test_who_asks_for_a_fit_needs_no_torch():
    modules = "recsys.cf.models.torchrec_fit, recsys.cf.models.torchrec_hybrid_fit"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_another_python_is_asked_itself(monkeypatch):
    monkeypatch.setattr(torchrec_ranks, "_NEEDED", ("json", "no_such_package_at_all"))
    with pytest.raises(ConfigError, match="no_such_package_at_all"):
        require_torchrec(TorchRecConfig(python=sys.executable))
    monkeypatch.setattr(torchrec_ranks, "_NEEDED", ("json",))
    require_torchrec(TorchRecConfig(python=sys.executable))


def test_python_that_is_none_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"torchrec\.python"):
        require_torchrec(TorchRecConfig(python=str(tmp_path / "python")))


def test_settings_that_cannot_work_are_refused_before_a_night():
    with pytest.raises(ConfigError, match="rendezvous"):
        load_config(None, ["torchrec.hosts=2"])
    with pytest.raises(ConfigError, match="shared_directory"):
        load_config(None, ["torchrec.hosts=2", "torchrec.rendezvous=a:1"])


@pytest.mark.parametrize(("n_items", "expected"), [(1, 256), (522, 512), (2_200, 2_048), (10**7, 16_384)])
def test_batch_follows_the_number_of_items(n_items, expected):
    class Pools:
        pass

    pools = Pools()
    pools.n_items = n_items
    assert batch_size_of(pools) == expected


def test_process_is_told_from_a_later_one_of_its_number():
    this = Process.this()
    assert not this.is_gone()
    assert Process(this.host, this.pid, this.started - 100).is_gone()
    assert not Process("another-host", this.pid, 0.0).is_gone(), "nobody can see that"
