"""What is asked for twice at the same time, as by a double click: it is done or proposed once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa

from moiety import BankAccount, Client
from tests.support.books import head_held, wait_until, waiting_backends
from tests.support.deployment import Deployment
from tests.support.paying import OURS, account, of_two, pay_scene
from tests.support.scene import POOL

DAY: Final = "2026-01-05"
OTHER: Final = account("IE64IRCE92050112345678", holder="Other")
ASKED: Final[dict[str, Callable[[Client], Any]]] = {
    "payee": lambda client: client.set_payee("irish", OTHER),
    "bank account": lambda client: client.set_bank_account(
        "main", BankAccount(display_name="Ours", details=account(OURS), pools=[f"pools/{POOL}"], opening_minor=1000)
    ),
    "contact": lambda client: client.set_contact("operators/olive", "olive@example.org"),
    "pay run": lambda client: client.create_pay_run("jan", "main", DAY),
}


@pytest.mark.parametrize("needed", [1, 2])
@pytest.mark.parametrize("what", ASKED)
def test_it_is_logged_once(
    what: str, needed: int, deploy: Callable[..., Deployment], tmp_path: Path, owner: sa.Engine
) -> None:
    scene = pay_scene(deploy, tmp_path)
    if needed > 1:
        scene = of_two(scene)
    before = size_of_registry(scene.operator)
    with ThreadPoolExecutor(2) as threads:
        with head_held(owner, "registry"):
            asked = [threads.submit(ASKED[what], scene.operator) for _ in range(2)]
            wait_until(lambda: len(waiting_backends(owner)) == len(asked))
        first, second = (each.result(timeout=240) for each in asked)
    assert first == second
    assert size_of_registry(scene.operator) == before + 1


def size_of_registry(client: Client) -> int:
    return client.get_log_head("registry").size
