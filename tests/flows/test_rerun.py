"""What the automation "rerun after a crash" starts: the crashed night's own parameters, and its run id."""

from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from prefect.server.events.actions import RunDeployment
from prefect.server.schemas.responses import FlowRunResponse
from prefect.utilities.schema_tools.hydration import HydrationContext, hydrate

from flows.tasks import open_run_task
from flows.train_cf import train_cf
from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.prepare import prepare
from recsys.config.schema import DataConfig
from recsys.storage.open import open_store

DEPLOYMENTS = Path(__file__).resolve().parents[2] / "deployments"
NIGHT = {
    "store": "s3://bucket/it's <a> shop",
    "data_version": "v_1",
    "config_path": None,
    "overrides": ["bpr.epochs=3", "als.preset={{ default }}"],
    "force": True,
    "output": "/out",
}


def rerun_of(flow_run):
    """Return the parameters that Prefect renders for the rerun of a crashed flow run."""
    automations = yaml.safe_load((DEPLOYMENTS / "automations.yaml").read_text())["automations"]
    (action,) = next(one for one in automations if "rerun" in one["name"])["actions"]
    checked = RunDeployment.model_validate(action | {"deployment_id": uuid4()})
    context = HydrationContext(raise_on_error=True, render_jinja=True, jinja_context={"flow_run": flow_run})
    return hydrate(checked.parameters, context)


def crashed(**parameters):
    return FlowRunResponse(id=uuid4(), flow_id=uuid4(), name="night", parameters=parameters)


@pytest.mark.parametrize("night", [NIGHT, NIGHT | {"force": False}, {"force": True}, {}])
def test_the_rerun_has_every_parameter_of_the_crashed_night_and_knows_which_it_was(night):
    flow_run = crashed(**night)
    rendered = rerun_of(flow_run)
    assert rendered == {**night, "resumes": str(flow_run.id)}
    assert train_cf.validate_parameters(rendered)["resumes"] == flow_run.id


def test_the_rerun_of_a_night_that_resumed_another_resumes_that_one():
    first = str(uuid4())
    assert rerun_of(crashed(force=True, resumes=first))["resumes"] == first


def test_a_forced_run_has_one_id_for_all_its_attempts(tmp_path):
    write_demo_shop(tmp_path / "raw", size="small", seed=3)
    store = open_store(str(tmp_path / "store"))
    prepare(store, tmp_path / "raw" / "reviews.csv", None, DataConfig(), seed=42)

    def run_id(force, stamp):
        return open_run_task.fn(store.uri, "latest", None, (), force, None, stamp)[0].run_id

    night, other = uuid4().hex, uuid4().hex
    assert run_id(True, night) == run_id(True, night)
    assert len({run_id(True, night), run_id(True, other), run_id(False, night)}) == 3
    assert run_id(False, night) == run_id(False, other), "without force: by data and configuration alone"
