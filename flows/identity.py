"""What a run is called in the Prefect UI and in the logs: by the data version it pinned."""

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from recsys.log import bind
from recsys.pipeline.run import RunReference


def show_identity(run: RunReference) -> None:
    """Rename the current flow run from what was asked ("latest") to what it is, and tag it with the run id."""
    bind(run_id=run.run_id, data_version=run.data_version, fingerprint=run.fingerprint[:8])
    name = f"{flow_run.flow_name} {run.data_version}"
    with get_client(sync_client=True) as client:
        client.update_flow_run(flow_run.id, name=name, tags=[*flow_run.tags, run.run_id])
