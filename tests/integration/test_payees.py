"""Payees: who may set them, what is kept where, and what a stranger to the key can read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
import sqlalchemy as sa

from ledger.store.desk import tables as desk
from ledger.store.desk.vault import add_key, read_vault
from moiety import AbortedError, AccountDetails, Client, FailedPreconditionError, PermissionDeniedError
from services.cli.app import main
from tests.support.deployment import Deployment
from tests.support.scene import open_scene

pytestmark = pytest.mark.surface


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "payee-key"
    add_key(path)
    return path


def account(iban: str = "IE29AIBK93115212345678", **more: object) -> AccountDetails:
    fields: dict[str, object] = {"holder": "Trad", "town": "Dublin", "country": "IE", "currency": "EUR", "iban": iban}
    return AccountDetails(**{**fields, **more})  # type: ignore[arg-type]


OTHER: Final = "DE89370400440532013000"


def test_an_account_is_set_shown_and_logged_as_a_hash(deploy: Callable[..., Deployment], keys: Path) -> None:
    scene = open_scene(deploy(payee_key_file=keys))
    payee = scene.operator.set_payee("irish", account(street="Strand"))
    assert not payee.proposal
    assert (payee.payable_time.ToDatetime() - payee.create_time.ToDatetime()).days == 3
    assert scene.operator.get_payee("irish") == payee
    assert scene.operator.set_payee("irish", account(street="Strand")) == payee
    listed = list(scene.operator.list_payees())
    assert [(each.name, each.HasField("details")) for each in listed] == [("collectives/irish/payee", False)]
    with scene.deployment.running.parts.database.transaction() as connection:
        logged = b"".join(bytes(entry) for (entry,) in connection.exec_driver_sql("SELECT entry FROM leaf"))
        (sealed,) = connection.execute(sa.select(desk.account_details.c.sealed)).scalars()
    assert payee.details_hash.hex().encode() in logged
    assert b"IE29" not in logged
    assert b"IE29" not in bytes(sealed)


def test_a_collective_proposes_its_own_and_an_operator_decides(deploy: Callable[..., Deployment], keys: Path) -> None:
    scene = open_scene(deploy(payee_key_file=keys))
    irish = scene.deployment.client("collectives/irish")
    waiting = irish.set_payee("irish", account())
    assert waiting.proposal.startswith("registry/proposals/")
    with pytest.raises(PermissionDeniedError):
        irish.set_payee("breton", account())
    with pytest.raises(PermissionDeniedError):
        irish.get_payee("breton")
    with pytest.raises(PermissionDeniedError):
        irish.approve_proposal(waiting.proposal)
    scene.operator.approve_proposal(waiting.proposal)
    assert not scene.deployment.client("auditors/ada").get_payee("irish").HasField("details")
    assert irish.get_payee("irish").details.iban == "IE29AIBK93115212345678"


def test_an_approval_of_an_older_account_is_stale(deploy: Callable[..., Deployment], keys: Path) -> None:
    scene = open_scene(deploy(payee_key_file=keys))
    irish = scene.deployment.client("collectives/irish")
    old = irish.set_payee("irish", account())
    scene.operator.set_payee("irish", account(OTHER))
    with pytest.raises(AbortedError):
        scene.operator.approve_proposal(old.proposal)
    scene.operator.set_payee("irish", account())


def test_without_a_key_no_account_is_taken(deployment: Deployment) -> None:
    scene = open_scene(deployment)
    with pytest.raises(FailedPreconditionError, match="moiety key payees"):
        scene.operator.set_payee("irish", account())


def exits(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_keys_are_rotated_while_everything_stays_readable(
    deploy: Callable[..., Deployment], keys: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = open_scene(deploy(payee_key_file=keys))
    scene.operator.set_payee("irish", account())
    assert exits("key", "payees", str(keys)) == 0
    monkeypatch.setenv("MOIETY_DATABASE_URL", database_url)
    monkeypatch.setenv("MOIETY_PAYEE_KEY_FILE", str(keys))
    assert exits("db", "rotate") == 0
    newest, old = keys.read_text().split()
    assert newest != old
    keys.write_text(newest)
    later: Client = deploy(payee_key_file=keys).client("operators/olive")
    assert later.get_payee("irish").details.holder == "Trad"
    with pytest.raises(Exception, match="key"):
        scene.operator.get_payee("irish")
    with pytest.raises(Exception, match="cannot be read"):
        read_vault(keys.with_name("none"))


def test_an_exchanged_account_is_noticed(deploy: Callable[..., Deployment], keys: Path, owner: sa.Engine) -> None:
    scene = open_scene(deploy(payee_key_file=keys))
    scene.operator.set_payee("irish", account())
    scene.operator.set_payee("breton", account(OTHER))
    with owner.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE desk.account_details SET sealed = "
            "(SELECT sealed FROM desk.account_details WHERE owner = 'collectives/breton')"
        )
    with pytest.raises(Exception, match="registry's log"):
        scene.operator.get_payee("irish")


def test_fsck_compares_payees_with_the_registry_s_log(
    deploy: Callable[..., Deployment], keys: Path, owner: sa.Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = open_scene(deploy(payee_key_file=keys))
    scene.operator.set_payee("irish", account())
    monkeypatch.setenv("MOIETY_DATABASE_URL", database_url)
    assert exits("db", "fsck", "registry") == 0
    with owner.begin() as connection:
        connection.exec_driver_sql("UPDATE payee SET collective = 'breton'")
    assert exits("db", "fsck", "registry") == 1
