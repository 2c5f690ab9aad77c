"""An audit as it goes: usage and rounds on a running service, a bundle, and then the service is gone."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.server_process import shown_by_up

REVIEW_SECONDS: Final = 1.0
"""Those of docs/examples/pool.yaml."""

ROOT: Final = Path(__file__).parents[2]
KEY: Final = re.compile(r"moiety_[0-9a-f]{16}_[A-Za-z0-9_-]{43}")


@dataclass
class Commands:
    """The `moiety` command as different people run it."""

    address: str
    folder: Path

    def run(self, *arguments: object, key: str = "", code: int = 0) -> Any:
        environment = {**os.environ, "MOIETY_ADDRESS": self.address, "MOIETY_API_KEY": key}
        command = [sys.executable, "-m", "services.cli", *map(str, arguments), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
        assert done.returncode == code, done.stderr + done.stdout
        return json.loads(done.stdout) if done.stdout else None


@pytest.fixture
def service(data_folder: Path) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """`moiety up`, its address and the first operator's key."""
    environment = {**os.environ, "MOIETY_LISTEN": "127.0.0.1:0", "MOIETY_CHECKPOINT_SECONDS": "0.1"}
    command = [sys.executable, "-m", "services.cli", "up", "--data", str(data_folder / "audit")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as process:
        printed = shown_by_up(process)
        address, operator = re.search(r"127\.0\.0\.1:\d+", printed), KEY.search(printed)
        assert address
        assert operator
        yield process, address[0], operator[0]
        process.terminate()
        process.communicate(timeout=120)


def test_a_bundle_outlives_the_service_and_is_verified_without_it(
    service: tuple[subprocess.Popen[str], str, str], data_folder: Path, tmp_path: Path
) -> None:
    process, address, operator = service
    moiety = Commands(address, tmp_path)
    people = {
        principal: str(moiety.run("key", "issue", principal, key=operator)["secret"])
        for principal in use_the_service(moiety, operator)
    }
    size = take_it_away(moiety, operator, people)
    vkey = moiety.run("log", "vkey", data_folder / "audit" / "signing-key", "folk")["verifier_key"]

    process.send_signal(signal.SIGTERM)
    process.wait(timeout=120)

    for source in (tmp_path / "folk.tar", tmp_path / "log"):
        found = moiety.run("verify", source, "--key", vkey, "--since", tmp_path / "kept")
        assert found["holds"]
        outcomes = {step["number"]: step["outcome"] for step in found["steps"]}
        assert {outcomes.pop(number) for number in range(2, 15)} == {"HELD"}
        assert outcomes == {1: "HELD" if source.is_file() else "LEFT_OUT"}
        assert found["checkpoint"]["size"] == size
        assert [(each["state"], each["calculated_by"], each["decided_by"]) for each in found["rounds"]] == [
            ("POSTED", "operators/first", "operators/second"),
            ("REJECTED", "operators/first", "operators/second"),
            ("POSTED", "operators/first", "operators/second"),
        ]
    assert moiety.run("verify", tmp_path / "third.tar", "--key", vkey, "--rounds", "3")["holds"]
    receipt = ("verify", tmp_path / "receipt.tlog-proof", "--key", vkey, "--only-batch", tmp_path / "batch.arrow")
    assert moiety.run(*receipt)["holds"]

    altered = bytearray((tmp_path / "folk.tar").read_bytes())
    altered[len(altered) // 2] ^= 1
    (tmp_path / "altered.tar").write_bytes(altered)
    assert not moiety.run("verify", tmp_path / "altered.tar", "--key", vkey, code=1)["holds"]


PAY: Final = ("revenue", "report", "folk", "--currency", "EUR", "--amount")


def use_the_service(moiety: Commands, operator: str) -> tuple[str, ...]:
    """Usage, revenue, a round that is posted and one that is rejected; gives who takes part."""
    moiety.run("apply", "docs/examples/pool.yaml", key=operator)
    platform = moiety.run("key", "issue", "platforms/tunesmith", key=operator)["secret"]
    moiety.run("operator", "add", "second", key=operator)
    moiety.run("auditor", "add", "ada", key=operator)
    reviewer = moiety.run("key", "issue", "operators/second", key=operator)["secret"]
    usage = ("usage", "submit", "folk", "docs/examples/usage.ndjson", "--method", "melody-ngram")
    moiety.run(*usage, key=platform)
    moiety.run(*PAY, "1000.00", "--request-id", "january", key=platform)
    moiety.run("round", "calculate", "folk", key=operator)
    time.sleep(REVIEW_SECONDS)
    moiety.run("round", "approve", "folk", 1, key=reviewer)
    later = moiety.folder / "february.ndjson"
    later.write_text(Path("docs/examples/usage.ndjson").read_text().replace('"id": "', '"id": "february-'))
    moiety.run("usage", "submit", "folk", later, "--method", "melody-ngram", key=platform)
    moiety.run(*PAY, "17.31", "--request-id", "february", key=platform)
    moiety.run("round", "calculate", "folk", key=operator)
    moiety.run("round", "reject", "folk", 2, "--reason", "too early", key=reviewer)
    return "platforms/tunesmith", "auditors/ada", "operators/second"


def take_it_away(moiety: Commands, operator: str, people: dict[str, str]) -> int:
    """An auditor's export, more that happens, the same export again and bundles; a platform's receipt. The size."""
    folder, auditor, platform = moiety.folder, people["auditors/ada"], people["platforms/tunesmith"]
    wait_for_checkpoint(moiety, auditor)
    moiety.run("log", "export", "folk", folder / "log", key=auditor)
    (folder / "kept").write_bytes((folder / "log" / "checkpoint").read_bytes())
    moiety.run(*PAY, "0.01", "--request-id", "march", key=platform)
    moiety.run("round", "calculate", "folk", key=operator)
    time.sleep(REVIEW_SECONDS)
    moiety.run("round", "approve", "folk", 3, key=people["operators/second"])
    size = wait_for_checkpoint(moiety, auditor)
    moiety.run("log", "export", "folk", folder / "log", key=auditor)
    moiety.run("bundle", "folk", folder / "folk.tar", key=auditor)
    moiety.run("bundle", "folk", folder / "third.tar", "--rounds", "3", key=auditor)
    entries = [leaf["entry"] for leaf in moiety.run("log", "list", "folk", key=auditor)]
    entry = next(entry for entry in entries if entry["type"] == "usage.v1")
    batch, digest = f"tunesmith~{entry['batch_id']}", entry["body_sha256"]
    moiety.run("usage", "proof", "folk", batch, "--out", folder / "receipt.tlog-proof", key=platform)
    (folder / "batch.arrow").write_bytes((folder / "log" / "body" / digest[:2] / digest).read_bytes())
    return size


def wait_for_checkpoint(moiety: Commands, key: str) -> int:
    """Until one is signed of the log as it is; its size."""
    size = int(moiety.run("log", "head", "folk", key=key)["size"])
    for _ in range(200):
        if moiety.run("log", "checkpoint", "folk", key=key)["size"] == size:
            return size
        time.sleep(0.1)
    raise AssertionError(f"no checkpoint of {size} leaves was signed")
