"""Talking to the Prefect server between tasks, where no rule of a task tries again.

The client of a flow run asks a server that is away again after 2, 4, 8, 16 and 32 s (give or take a fifth), and
then raises. New clients, such as the one that takes a task's slots, give up at the first refusal.
"""

from collections.abc import Callable
from typing import TypeVar

import httpx
from prefect.client.orchestration import get_client
from prefect.logging import get_run_logger

_Shown = TypeVar("_Shown")


def tell(show: Callable[[_Shown], None], what: _Shown) -> None:
    """Show something in the Prefect UI; that it cannot be shown is a warning.

    A run whose work is done, and whose champion may have moved, has not failed because nobody could be told.
    """
    try:
        show(what)
    except httpx.HTTPError as error:
        get_run_logger().warning("%s: the Prefect UI lacks it, all else goes on: %r", show.__name__, error)


def wait_for_answer() -> None:
    """Return when the server answers, before a task with tags is submitted.

    Prefect takes slots for such a task, outside of what its rule tries again and by a client that gives up at
    once: a server that restarts just then would end the flow and stop its other training.
    Raises httpx.TransportError after a minute.
    """
    with get_client(sync_client=True) as client:
        client.hello()
