"""Commands of tuning: run studies, look at them, adopt their winners."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.options import (
    ConfigOption,
    DataVersionOption,
    ForceOption,
    JsonOption,
    SetOption,
    StoreOption,
)
from recsys.cli.output import console, emit, plain_table
from recsys.config.load import load_config
from recsys.config.schema import TrainingConfig
from recsys.config.settings import log_dir
from recsys.log import configure_logging
from recsys.storage.open import open_store
from recsys.types import Json

app = typer.Typer(
    help="Search better settings: run studies, list and report them, adopt a winner.", no_args_is_help=False
)
StudyArgument = Annotated[str, typer.Argument(help="Study id or its unique beginning; `recsys tune list`.")]
SpaceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--space", help="Search space: a name of `recsys tune spaces`, or a .yaml file; repeatable."
    ),
]


@app.callback(invoke_without_command=True)
def tune_command(
    context: typer.Context,
    store: StoreOption,
    spaces: SpaceOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    data_version: DataVersionOption = "latest",
    force: ForceOption = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log to the terminal.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the studies of the configuration (tuning.spaces) or of --space; killed ones go on where they were."""
    if context.invoked_subcommand is not None:
        return
    settings = load_config(config, overrides or ())
    configure_logging(log_dir(), verbose=verbose, run_context={})
    results = run_studies(store, settings, spaces, data_version, force, config)
    if as_json:
        emit({"studies": results})
        return
    for result in results:
        print_result(result)


def run_studies(
    store: str,
    settings: TrainingConfig,
    spaces: list[str] | None,
    data_version: str,
    force: bool,
    config: Path | None,
) -> list[Json]:
    """Return the results of these studies, one after the other, in this process."""
    from recsys.cf.tuning.spaces import load_space  # compiled code takes a second to import
    from recsys.pipeline.study import open_study
    from recsys.pipeline.tune import run_study

    def told(trial: Json) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"trial {trial['number']}: {trial['state']} {trial['value']:.4f}\n")

    loaded = [load_space(name) for name in spaces or settings.tuning.spaces]
    return [
        run_study(
            open_study(
                store,
                settings,
                space,
                data_version=data_version,
                force=force,
                config_path=str(config) if config else None,
            ),
            on_trial=told,
        )
        for space in loaded
    ]


def print_result(result: Json) -> None:
    """Print a study's result for people."""
    console().print(f"{result['study_id']}  {result['space']}, {result['n_trials']} trials")
    table = plain_table("stage", "trials", result["objective"], "seconds of fits")
    for stage in result["stages"]:
        best = stage["best_value"]
        table.add_row(
            stage["stage"],
            str(stage["n_trials"]),
            "" if best is None else f"{best:.4f}",
            f"{stage['seconds']:.1f}",
        )
    console().print(table)
    lines = [result["verdict"], f"report    {result['report']}"]
    lines += [f"warning   {warning}" for warning in result["warnings"]]
    if result["mlflow"]:
        lines.append(f"mlflow    {result['mlflow']}")
    if result["refit"]:
        lines.append(f"refit     {result['refit']['model_id']} (candidate, trained on all data)")
    lines.append(f"adopt     recsys tune adopt {result['study_id']} --config FILE")
    console().print("\n".join(lines))


@app.command("spaces")
def spaces_command(as_json: JsonOption = False) -> None:
    """List the search spaces that come with the product."""
    from recsys.cf.tuning.spaces import load_space, space_names

    spaces = [load_space(name) for name in space_names()]
    if as_json:
        emit({"spaces": [space.model_dump(mode="json") for space in spaces]})
        return
    table = plain_table("space", "model", "stages", "settings", keep=["space"])
    for space in spaces:
        stages = ", ".join(f"{stage.name} ({stage.sampler})" for stage in space.stages)
        table.add_row(
            space.name, space.model, stages, ", ".join(path.rpartition(".")[2] for path in space.paths())
        )
    console().print(table)


@app.command("list")
def list_command(store: StoreOption, as_json: JsonOption = False) -> None:
    """List the studies in the store, oldest first."""
    from recsys.pipeline.tune_finish import study_summaries

    found = study_summaries(open_store(store))
    if as_json:
        emit({"studies": found})
        return
    table = plain_table("study", "space", "trials", "ndcg@10", "against current", "adopted", keep=["study"])
    for one in found:
        difference = one["difference"]
        told = (
            f"{difference['difference']:+.4f} [{difference['low']:+.4f}, {difference['high']:+.4f}]"
            if difference
            else "not ended"
        )
        value = f"{one['value']:.4f}" if one["value"] is not None else ""
        adopted = "yes" if one["adopted"] else ""
        table.add_row(one["study_id"], one["space"], str(one["n_trials"]), value, told, adopted)
    console().print(table)


@app.command("show")
def show_command(study: StudyArgument, store: StoreOption, as_json: JsonOption = False) -> None:
    """Show the result of a study."""
    from recsys.errors import ConfigError
    from recsys.pipeline.study import finished_study, load_study

    result = finished_study(load_study(open_store(store), study))
    if result is None:
        raise ConfigError(f"study {study} has not ended; the command that started it goes on with it")
    if as_json:
        emit(result)
    else:
        print_result(result)


@app.command("adopt")
def adopt_command(
    study: StudyArgument,
    store: StoreOption,
    config: Annotated[
        Path, typer.Option("--config", help="Configuration file that gets the winner's settings.")
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the store.")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Also when it is worse than what was current.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the winner's settings into a configuration file and record that in the store."""
    from recsys.pipeline.study import load_study
    from recsys.pipeline.tune_adopt import adopt

    document = adopt(load_study(open_store(store), study), config, reason, force=force)
    if as_json:
        emit(document)
    else:
        settings = ", ".join(f"{path}={value}" for path, value in document["settings"].items())
        sys.stdout.write(f"{config}: {settings}\n")


@app.command("export")
def export_command(
    study: StudyArgument,
    store: StoreOption,
    storage: Annotated[
        str, typer.Option("--storage", help="Optuna storage to write, such as sqlite:///study.db.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Write a study as an Optuna database, for optuna-dashboard and Optuna's plots (extra tune)."""
    from recsys.cf.tuning.optuna_study import to_optuna
    from recsys.pipeline.study import OBJECTIVE, load_study, trial_documents

    found = load_study(open_store(store), study)
    to_optuna(found.study_id, trial_documents(found), objective=OBJECTIVE, storage=storage)
    if as_json:
        emit({"study_id": found.study_id, "storage": storage})
    else:
        sys.stdout.write(f"{storage}: study {found.study_id}\n")
