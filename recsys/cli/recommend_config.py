"""The command that proposes a configuration."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from recsys.cli.options import DataVersionOption, JsonOption, StoreOption
from recsys.cli.output import emit
from recsys.errors import ConfigError


def add_commands(app: typer.Typer) -> None:
    """Add recommend-config to the top level."""
    app.command("recommend-config")(recommend_config_command)


def recommend_config_command(
    store: StoreOption,
    data_version: DataVersionOption = "latest",
    users: Annotated[int | None, typer.Option(help="Instead of a data version: trainable users.")] = None,
    items: Annotated[int | None, typer.Option(help="Items.")] = None,
    nnz: Annotated[int | None, typer.Option(help="Train interactions.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Propose a configuration for a data version, or for a shop of given size: YAML with reasons."""
    from recsys.cf.tuning.recommend import (  # compiled code takes a second to import
        Shop,
        as_yaml,
        needed_bytes,
        recommend_settings,
        shop_of,
    )

    if users is not None and items is not None and nnz is not None:
        shop = Shop(users, items, nnz)
    elif users is None and items is None and nnz is None:
        from recsys.cf.data.version import resolve_version, store_stats
        from recsys.storage.open import open_store

        opened = open_store(store)
        shop = shop_of(store_stats(opened, resolve_version(opened, data_version)))
    else:
        raise ConfigError("give --users, --items and --nnz together, or none of them and a data version")
    settings = recommend_settings(shop)
    if as_json:
        emit(
            {
                "shop": asdict(shop),
                "settings": [asdict(one) for one in settings],
                "needed_bytes": needed_bytes(shop, settings),
            }
        )
        return
    sys.stdout.write(as_yaml(shop, settings))
