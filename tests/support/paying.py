"""Pools whose collectives are owed money and can be paid from a bank account."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pytest

from ledger.acts.controls import Controls
from ledger.acts.entries import ControlsContent
from ledger.store.desk.vault import add_key
from moiety import AccountDetails, BankAccount, Method, Policy, Pool
from moiety.v1.registry_pb2 import DISTRIBUTE_RECEIVED
from services.cli.app import main
from services.exports.source import PoolSource
from services.exports.tiles.bundles import write_bundle
from tests.support.deployment import Deployment
from tests.support.exports import report_of
from tests.support.fsck_scene import LOG_KEY, sign
from tests.support.independent import verifier
from tests.support.scene import METHOD, NAMED_PLATFORMS, POOL, Scene, event, open_scene

IBANS: Final = {
    "irish": "IE29AIBK93115212345678",
    "breton": "FR1420041010050500013M02606",
    "scottish": "GB29NWBK60161331926819",
}
OURS: Final = "DE89370400440532013000"


def account(iban: str, **more: object) -> AccountDetails:
    fields: dict[str, object] = {"holder": "Trad", "town": "Town", "country": "IE", "currency": "EUR", "iban": iban}
    return AccountDetails(**{**fields, **more})  # type: ignore[arg-type]


def pay_scene(deploy: Callable[..., Deployment], tmp_path: Path, *, pools: Sequence[str] = (POOL,)) -> Scene:
    """Two collectives are owed money by pools of one account, and have accounts that can be paid."""
    return owe(open_scene(deploy(payee_key_file=payee_key(tmp_path)), distribute=DISTRIBUTE_RECEIVED), pools)


def payee_key(tmp_path: Path) -> Path:
    """A new key that accounts are encrypted with."""
    key = tmp_path / "payee-key"
    add_key(key)
    return key


def owe(scene: Scene, pools: Sequence[str]) -> Scene:
    """Have pools of one account, opened unless they are there, owe money to two collectives who can be paid."""
    operator, platform = scene.operator, scene.platform
    for pool in pools:
        if pool != POOL:
            operator.create_pool(
                pool,
                Pool(
                    display_name=pool,
                    currency="EUR",
                    policy=Policy(),
                    platforms=NAMED_PLATFORMS,
                    distribute=DISTRIBUTE_RECEIVED,
                ),
            )
            operator.create_method(pool, METHOD, Method(display_name="n-gram votes", confidence_ppm=1_000_000))
        platform.report_revenue(pool, 1000, "EUR", request_id="r")
        operator.record_receipt(pool, 1000, platform="tunesmith", request_id="r")
        used = event(1, shares={"irish": 600_000_000, "breton": 400_000_000})
        platform.submit_events(pool, [used], METHOD, batch_id="b")
        operator.calculate_round(pool, request_id="q")
    for name in ("irish", "breton"):
        operator.set_payee(name, account(IBANS[name]))
    names = [f"pools/{pool}" for pool in pools]
    details, opening = account(OURS), 1000 * len(pools)
    operator.set_bank_account(
        "main", BankAccount(display_name="Moiety", details=details, pools=names, opening_minor=opening)
    )
    scene.deployment.clock.advance(days=3)
    return scene


def require_sound(scene: Scene, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two verifiers and the check of the database agree with the books."""
    sign(scene.deployment)
    bundle = tmp_path / "folk.tar"
    write_bundle(PoolSource(scene.deployment.client("auditors/ada"), POOL), bundle)
    verifier.verify(bundle)
    report = report_of(bundle, LOG_KEY.verifier_key)
    assert report.finding is None, report.finding
    monkeypatch.setenv("MOIETY_DATABASE_URL", database_url)
    with pytest.raises(SystemExit) as caught:
        main(["db", "fsck"])
    assert caught.value.code == 0


def of_two(scene: Scene) -> Scene:
    """The scene once whatever moves money needs two people, whose keys two people issued."""
    scene.deployment.act(ControlsContent(controls=Controls.of_two()))
    olive, otto = (scene.deployment.client(f"operators/{name}") for name in ("olive", "otto"))
    return Scene(scene.deployment, olive, otto, scene.platform)
