"""Bring a Prefect server in line with this folder: pools, deployments, alert block, automations.

PREFECT_API_URL=http://host:4200/api python deployments/deploy.py

Safe to run again: what exists is updated, nothing is made twice. RECSYS_ALERT_WEBHOOK names the URL that gets
the alerts; without it the automations that alert are left out, and those that act by themselves are made.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from prefect.automations import AutomationCore
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import get_current_settings

HERE = Path(__file__).resolve().parent
PREFECT_FILE = ("--prefect-file", str(HERE / "prefect.yaml"))
ALERT_BLOCK = "train-cf-alerts"
# A GPU holds one training at a time, however many workers look at the pool; so does a machine of TorchRec ranks.
POOLS = {"cpu": None, "gpu": 1, "spark": None, "torchrec": 1}
_DEPLOYMENT = re.compile(r"\{deployment:([^}]+)\}")


def main() -> int:
    """Do everything in its order; return the exit code of the process."""
    if get_current_settings().api.url is None:
        sys.stderr.write("error: set PREFECT_API_URL to the server's API, such as http://host:4200/api\n")
        return 2
    with get_client(sync_client=True) as client:
        for name, limit in POOLS.items():
            make_pool(client, name, limit)
        deployed = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", *PREFECT_FILE],
            cwd=HERE.parent,
            # read by the workers when they run, not here
            env={name: value for name, value in os.environ.items() if name != "RECSYS_PROJECT"},
            check=False,
        )
        if deployed.returncode:
            return deployed.returncode
        automations = yaml.safe_load((HERE / "automations.yaml").read_text())["automations"]
        make_automations(client, automations, os.environ.get("RECSYS_ALERT_WEBHOOK"))
    return 0


def make_pool(client: SyncPrefectClient, name: str, limit: int | None) -> None:
    """Create a pool of process workers, or set the limit of the one that exists."""
    try:
        client.create_work_pool(WorkPoolCreate(name=name, type="process", concurrency_limit=limit))
    except ObjectAlreadyExists:
        client.update_work_pool(name, WorkPoolUpdate(concurrency_limit=limit))
    sys.stdout.write(f"pool {name}: one run at a time\n" if limit == 1 else f"pool {name}\n")


def make_automations(client: SyncPrefectClient, automations: list[dict[str, Any]], url: str | None) -> None:
    """Create or update the automations by name; those that alert need the URL of a webhook."""
    webhook = str(Webhook(url=url).save(ALERT_BLOCK, overwrite=True)) if url else None
    known = {one.name: one.id for one in client.read_automations()}
    for document in automations:
        text = json.dumps(document)
        if "{webhook}" in text and webhook is None:
            sys.stdout.write(f"automation {document['name']}: left out, RECSYS_ALERT_WEBHOOK is not set\n")
            continue
        text = text.replace("{webhook}", webhook or "")
        text = _DEPLOYMENT.sub(lambda found: str(client.read_deployment_by_name(found[1]).id), text)
        automation = AutomationCore.model_validate_json(text)
        if automation.name in known:
            client.update_automation(known[automation.name], automation)
        else:
            client.create_automation(automation)
        sys.stdout.write(f"automation {automation.name}\n")


if __name__ == "__main__":
    sys.exit(main())
