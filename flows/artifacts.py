"""What the Prefect UI shows of a run: the table of metrics and the report as Markdown."""

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from recsys.reporting.tables import metric_rows, render_markdown
from recsys.types import Json


def show_result(result: Json) -> None:
    """Create the artifacts of a run from its result document."""
    create_table_artifact(
        key="train-cf-metrics",
        table=metric_rows(result),
        description=f"Models against baseline and champion on data version {result['data_version']}",
    )
    create_markdown_artifact(
        key="train-cf-report",
        markdown=render_markdown(result),
        description=f"Decision and numbers of run {result['run_id']}",
    )
