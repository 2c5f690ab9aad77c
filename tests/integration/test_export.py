from __future__ import annotations
import pytest, subprocess, json
from pathlib import Path
from tests.conftest import Deployment
from tests.history import live, open_history
from tests.scene import POOL, Scene
from services.cli.app import main

@pytest.fixture(scope="module")
def scene(shared_deployment: Deployment) -> Scene:
    s = open_history(shared_deployment)
    live(s)
    return s

def test_x(scene, tmp_path):
    for r in scene.operator.list_rounds(POOL):
        print(r.number, r.start, r.end, r.state, r.pot_minor, r.fee_minor, r.attributed_minor, r.commons_minor, r.commons_kept_minor, r.carried_minor)
    print(scene.balances())
    key = scene.deployment.key("auditors/ada")
    with pytest.raises(SystemExit) as e:
        main(["export", POOL, "/tmp/h/exports-exp/out", "--parquet", "--beancount","--hledger", "--address", scene.deployment.address, "--api-key", key])
    assert e.value.code == 0
