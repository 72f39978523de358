"""What the Prefect UI shows of a run: metrics, report, curves, and where the models lie."""

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from recsys.reporting.images import data_uri, training_curves
from recsys.reporting.study import render_study_markdown
from recsys.reporting.tables import champion_note, metric_rows, render_markdown
from recsys.types import Json


def show_result(result: Json) -> None:
    """Create the artifacts of a run from its result document."""
    create_table_artifact(
        key="train-cf-metrics",
        table=metric_rows(result),
        description=f"Models against baseline and champion on data version {result['data_version']}. "
        f"{champion_note(result) or ''}".strip(),
    )
    create_markdown_artifact(
        key="train-cf-report",
        markdown=render_markdown(result),
        description=f"Decision and numbers of run {result['run_id']}",
    )
    for model, facts in result["models"].items():
        for image in training_curves(result, model):
            create_image_artifact(
                data_uri(image.svg),
                key=f"train-cf-{model}-{image.what.replace(' ', '-')}",
                description=f"{model.upper()}, {image.what}: {image.legend}. "
                f"Best of {facts['iterations']} steps: {facts['best_iteration']}",
            )
    for model, uri in result["artifacts"].items():
        create_link_artifact(
            uri,
            key=f"train-cf-{model}-model",
            link_text=result["models"][model]["model_id"],
            description=f"The files of this {model.upper()} in the registry",
        )


def show_prepared(prepared: Json) -> None:
    """Create the artifact of a data version: what each step of the preparation dropped, and why."""
    create_table_artifact(
        key="prepare-data-funnel",
        table=[step for step in prepared["funnel"] if step["rows"]],
        description=f"Rows dropped on the way from {prepared['rows_in']} to {prepared['rows_out']}, "
        f"data version {prepared['version']}",
    )


def show_study(result: Json) -> None:
    """Create the artifact of a study: verdict, comparison, stages and the best trials."""
    create_markdown_artifact(
        key=f"tune-cf-{result['space'].lower().replace('_', '-')}",
        markdown=render_study_markdown(result),
        description=f"Study {result['study_id']} on data version {result['data_version']}",
    )


def show_lists(result: Json) -> None:
    """Create the artifact of a set of recommendations: how many lists of which model, and where they lie."""
    settings, measured = result["settings"], result["recall"]
    rows = {
        "model": result["model_id"],
        "data version": result["data_version"],
        "users": f"{result['n_users']:,}",
        "items per user": settings["k"],
        "method": settings["method"],
        "recall": "exact" if measured is None else f"{measured['value']:.4f}",
        "lists shorter than that": f"{result['n_short']:,}",
        "files": result["n_files"],
        "MB": f"{result['n_bytes'] / 1e6:.1f}",
        "where": f"{result['store'].rstrip('/')}/{result['prefix']}",
    }
    create_table_artifact(
        key="recommend-all-lists",
        table=[{"what": name, "value": str(value)} for name, value in rows.items()],
        description=f"Recommendations {result['set_id']} of {result['model_id']}",
    )
