"""Questions that read all that a scene has, how each is answered, and which tables it reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from grpc import StatusCode
from structlog.testing import capture_logs

from ledger.acts.controls import Controls
from ledger.acts.entries import ControlsContent
from ledger.store.desk.vault import add_key
from ledger.store.postgres.statements import Statements
from moiety import Collective, Method, Policy
from moiety.v1.registry_pb2 import COMMONS_RULE_FUND
from tests.support.deployment import START, Deployment, SteppedClock, deployed
from tests.support.fsck_everything import PAID, build_everything
from tests.support.paying import IBANS, account
from tests.support.scene import METHOD, POOL


@dataclass(frozen=True)
class Question:
    """Something that is read.

    Attributes:
        name: what it is called.
        ask: asks for it; gives what it says, or with which status it fails.
        besides: tables that it reads as other questions do, of which it is not asked.
    """

    name: str
    ask: Callable[[], bytes | StatusCode]
    besides: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Proposed:
    """What waits: the names of proposals, and a leaf of the pool that pays which corrects its round."""

    account: str
    contact: str
    terms: str
    members: str
    corrects: int


@dataclass
class Reader:
    """Who asks all questions, and knows which tables each reads."""

    questions: Sequence[Question]
    sent: list[str]
    """Statements so far."""
    reads: list[set[str]] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        for question in self.questions:
            self.sent.clear()
            answer = question.ask()
            assert isinstance(answer, bytes), (question.name, answer)
            self.answers.append(answer)
            self.reads.append(set(re.findall(r"\w+", " ".join(self.sent))) - question.besides)

    def asked(self, table: str, column: str = "") -> Iterator[tuple[str, bytes | StatusCode, bytes]]:
        """(question, answer, sound answer) of each that reads a table, or a column of it."""
        for question, reads, sound in zip(self.questions, self.reads, self.answers, strict=True):
            if table in reads and (not column or column in reads):
                yield question.name, question.ask(), sound


@dataclass(frozen=True)
class Everything:
    """A service on a database with rows in every table, what waits in it, and the statements that it sends."""

    deployment: Deployment
    proposed: Proposed
    sent: list[str]


@contextmanager
def everything(database_url: str, payee_key: Path) -> Iterator[Everything]:
    """The scene."""
    add_key(payee_key)
    settings: dict[str, Any] = {"payee_key_file": payee_key, "webhook_networks": "127.0.0.0/8", "webhook_http": True}
    with deployed(database_url, SteppedClock(START), **settings) as deployment, noted() as sent, capture_logs():
        build_everything(deployment)
        operator = deployment.client("operators/olive")
        operator.set_contact("collectives/irish", "office@irish.example")
        paid_to = deployment.client("collectives/breton").set_payee("breton", account(IBANS["scottish"])).proposal
        doubted = operator.create_method(PAID, METHOD, Method(display_name="by n-grams", confidence_ppm=500_000))
        operator.create_policy(POOL, Policy(commons_rule=COMMONS_RULE_FUND, review_seconds=120, public=True))
        deployment.act(ControlsContent(controls=Controls.of_two().model_copy(update={"registry": 2})))
        written_to = operator.set_contact("collectives/irish", "new@irish.example").proposal
        terms = operator.create_policy(POOL, Policy(public=True, review_seconds=60)).proposal
        members = operator.update_collective("breton", Collective(display_name="breton", members=20)).proposal
        yield Everything(deployment, Proposed(paid_to, written_to, terms, members, doubted.leaf_index), sent)


@contextmanager
def noted() -> Iterator[list[str]]:
    """The statements that are sent meanwhile."""
    sent: list[str] = []

    def noting(send: Callable[..., Any]) -> Callable[..., Any]:
        def noted(sender: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
            sent.append(str(query))
            return send(sender, query, *args, **kwargs)

        return noted

    with pytest.MonkeyPatch.context() as patched:
        for kind, name in ((psycopg.Cursor, "execute"), (Statements, "_send")):
            patched.setattr(kind, name, noting(getattr(kind, name)))
        yield sent
