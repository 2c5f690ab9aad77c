"""Witnesses: having others cosign that a log only grew (C2SP tlog-witness, as client).

A witness that is down, slow or in disagreement never delays signing: a separate timer asks it, and asks again the next
time. Its answer is kept only after its key has verified it.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from threading import Event
from typing import Final
from urllib.parse import urlsplit

import sqlalchemy as sa
import structlog

from ledger.errors import FormatError, InvalidInputError, LedgerError, SignatureError, StoreUnavailableError
from ledger.log.checkpoint import read_checkpoint
from ledger.log.note_keys import SignatureType, VerifierKey
from ledger.log.notes import Note, parse_note, parse_signatures, verify_signatures
from ledger.log.witnessing import SIZE_CONTENT_TYPE, AddCheckpoint, parse_size
from ledger.store.logs import checkpoints, log, proofs
from ledger.store.logs.checkpoints import MAX_TIME_SECONDS, StoredCheckpoint, StoredCosignature
from ledger.store.logs.log import REGISTRY, PoolRef
from ledger.store.logs.proofs import ConsistencyProof
from ledger.store.pools.each_pool import ask_each
from ledger.store.postgres.database import Database
from services.cutoff import cut_off_after
from services.signing.folder import CheckpointFolder
from services.signing.signer import Signer

logger: Final = structlog.get_logger("moiety.witness")

ANSWER_SECONDS: Final = 5.0
"""How long a witness has for the whole exchange."""

MAX_ANSWER_BYTES: Final = 2**16
"""The longest answer that is read: a few signature lines."""

MAX_WITNESSES: Final = 64
"""A note with this many cosignatures can still be read by everyone who reads a hundred signatures."""


@dataclass(frozen=True, slots=True)
class Witness:
    """The address of a witness, and the key with which it cosigns."""

    url: str
    key: VerifierKey

    @classmethod
    def parse_all(cls, text: str) -> tuple[Witness, ...]:
        """Returns the witnesses of a setting: `URL VKEY`, separated by commas.

        Raises:
            InvalidInputError: the setting is not in this form.
        """
        field = "MOIETY_WITNESSES"
        found = []
        for item in filter(None, (part.strip() for part in text.split(","))):
            url, _, vkey = item.partition(" ")
            if not _is_prefix(url):
                raise InvalidInputError.of(field, f"must be `URL VKEY` with commas between, got {item[:200]!r}")
            try:
                key = VerifierKey.parse(vkey.strip())
            except FormatError as error:
                raise InvalidInputError.of(field, str(error)) from None
            if key.type is not SignatureType.COSIGNATURE:
                raise InvalidInputError.of(field, f"{key.name} is not a witness's key, which is of type 0x04")
            found.append(cls(url.rstrip("/"), key))
        if len(found) > MAX_WITNESSES:
            raise InvalidInputError.of(field, f"must be at most {MAX_WITNESSES}, got {len(found)}")
        return tuple(found)


def _is_prefix(url: str) -> bool:
    """Returns whether it is an HTTP URL to which paths can be appended."""
    try:
        address = urlsplit(url)
        port = address.port
    except ValueError:
        return False
    plain = not (address.query or address.fragment or address.username)
    return address.scheme in ("http", "https") and bool(address.hostname) and plain and port != 0


class WitnessRefusedError(LedgerError):
    """A witness does not cosign. `status` is the HTTP status, 0 without a usable answer."""

    def __init__(self, witness: str, status: int, reason: str) -> None:
        super().__init__(witness, status, reason)
        self.witness = witness
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.witness}: {self.reason}"


class ConflictError(WitnessRefusedError):
    """The witness has cosigned another size than the request is based on. `size` is that one."""

    def __init__(self, witness: str, size: int) -> None:
        super().__init__(witness, HTTPStatus.CONFLICT, f"has cosigned {size} leaves")
        self.size = size


_REASONS: Final[dict[int, str]] = {
    HTTPStatus.FORBIDDEN: "knows the log, and trusts another key for it",
    HTTPStatus.NOT_FOUND: "does not know the log",
    HTTPStatus.UNPROCESSABLE_ENTITY: "has cosigned a log that this one does not extend",
    HTTPStatus.BAD_REQUEST: "does not understand the request",
}


def ask(witness: Witness, request: AddCheckpoint) -> bytes:
    """Ask a witness for its cosignature and return its answer's signature lines.

    Raises:
        ConflictError: the witness has seen another size.
        WitnessRefusedError: the witness does not answer with status 200.
    """
    name = witness.key.name
    address = urlsplit(witness.url)
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.hostname or "", address.port, timeout=ANSWER_SECONDS)
    ends, over = time.monotonic() + ANSWER_SECONDS, Event()
    try:
        connection.connect()
        deadline = cut_off_after(ends - time.monotonic(), connection.sock, over)
        try:
            connection.request("POST", f"{address.path}/add-checkpoint", body=request.to_bytes())
            response = connection.getresponse()
            status, content_type = response.status, response.getheader("Content-Type", "")
            body = _read(response, time.monotonic() + ANSWER_SECONDS)
        finally:
            deadline.cancel()
        if over.is_set():
            raise http.client.HTTPException(f"more than {ANSWER_SECONDS:g} seconds")
    except (OSError, http.client.HTTPException) as error:
        raise WitnessRefusedError(name, 0, f"does not answer: {error}") from None
    finally:
        connection.close()
    if status == HTTPStatus.OK:
        return body
    if status == HTTPStatus.CONFLICT and content_type.partition(";")[0].strip() == SIZE_CONTENT_TYPE:
        try:
            raise ConflictError(name, parse_size(body))
        except FormatError as error:
            raise WitnessRefusedError(name, status, f"answers a conflict without a size: {error}") from None
    raise WitnessRefusedError(name, status, _REASONS.get(status, f"answers with status {status}"))


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """Returns the body, if it is short and complete by the deadline; a slow witness counts as not answering."""
    body = b""
    while piece := response.read1(MAX_ANSWER_BYTES):
        body += piece
        if len(body) > MAX_ANSWER_BYTES or time.monotonic() > deadline:
            raise http.client.HTTPException(f"more than {MAX_ANSWER_BYTES} bytes or {ANSWER_SECONDS:g} seconds")
    return body


def read_cosignature(witness: Witness, note: Note, answer: bytes) -> StoredCosignature:
    """The witness's cosignature among the lines of its answer, verified; others are ignored.

    Raises:
        WitnessRefusedError: no line is a valid cosignature of the witness.
    """
    try:
        lines = parse_signatures(answer.decode("utf-8"))
        opened = verify_signatures(Note(note.text, lines), [witness.key])
    except (UnicodeDecodeError, FormatError, SignatureError) as error:
        raise WitnessRefusedError(
            witness.key.name, HTTPStatus.OK, f"answers without a cosignature of its own: {error}"
        ) from None
    found = opened.verified[0]
    if found.time_seconds is None or found.time_seconds > MAX_TIME_SECONDS:
        raise WitnessRefusedError(witness.key.name, HTTPStatus.OK, "states a time past the year 9999")
    return StoredCosignature(witness.key, found.signature, found.time_seconds)


AGAIN_SECONDS: Final = 600.0
"""How long until a witness is asked again about a log that did not grow, while a round's review runs."""

Waits = Callable[[sa.Connection, Sequence[PoolRef]], list[PoolRef]]


def _nowhere(_: sa.Connection, __: Sequence[PoolRef]) -> list[PoolRef]:
    """No round waits."""
    return []


class Cosigner:
    """Has every witness cosign the last checkpoint of each pool, and again while a round waits for time to pass.

    `waits` says in which of some pools a round does.
    """

    def __init__(
        self,
        database: Database,
        signer: Signer,
        folder: CheckpointFolder,
        witnesses: tuple[Witness, ...],
        waits: Waits = _nowhere,
    ) -> None:
        self._database = database
        self._signer = signer
        self._folder = folder
        self._witnesses = witnesses
        self._said: dict[tuple[str, str], str] = {}
        self._waits = waits
        self._cosigned: dict[tuple[str, str], int] = {}
        self._asked_at: dict[tuple[str, str], float] = {}
        """By witness and log, when the last answer came, by the monotonic clock."""
        self._stopped = Event()

    def stop(self) -> None:
        """Ask no other witness; one that is being asked may still answer in time."""
        self._stopped.set()

    def looks(self) -> list[Callable[[], int]]:
        """A call for each witness, to be made again and again in a thread of its own, so that none waits for another.

        Each asks for what is missing once, and gives how many cosignatures came.
        """
        return [partial(self._look, witness) for witness in self._witnesses]

    def _look(self, witness: Witness) -> int:
        try:
            sizes = [(pool, size) for pool, size, _ in ask_each(self._database, log.read_heads).found]
        except LedgerError as error:
            logger.warning("cannot read logs", reason=str(error))
            return 0
        return self._ask_about(witness, sizes)

    def _ask_about(self, witness: Witness, sizes: list[tuple[PoolRef, int]]) -> int:
        came = 0
        for pool, size in sizes:
            place = (witness.key.name, pool.name)
            if self._stopped.is_set():
                break
            again = self._cosigned.get(place) == size
            if again and not self._is_due_again(place, pool):
                continue
            try:
                asked, cosigned = self.cosign(witness, pool, again=again)
            except WitnessRefusedError as error:
                self._report(witness, pool, str(error))
                if not error.status:
                    break  # it is down, also for the next pool
            except StoreUnavailableError as error:
                logger.warning("not cosigned", pool=pool.name, witness=witness.key.name, reason=str(error))
            except Exception:
                logger.exception("not cosigned", pool=pool.name, witness=witness.key.name)
            else:
                self._said.pop(place, None)
                self._cosigned[place] = cosigned
                self._asked_at[place] = time.monotonic()
                came += asked
        return came

    def _is_due_again(self, place: tuple[str, str], pool: PoolRef) -> bool:
        """Whether a witness should say once more that the log is as it was: that time has passed ends a review."""
        if time.monotonic() - self._asked_at.get(place, -AGAIN_SECONDS) < AGAIN_SECONDS:
            return False
        self._asked_at[place] = time.monotonic()
        with self._database.transaction() as connection:
            return pool != REGISTRY and bool(self._waits(connection, [pool]))

    def cosign(self, witness: Witness, pool: PoolRef, *, again: bool = False) -> tuple[bool, int]:
        """Have a witness cosign the pool's last checkpoint, if it has not, or `again`.

        Returns whether it was asked, and the size up to which all is cosigned; 0 where nothing is signed.

        Raises:
            WitnessRefusedError: the witness does not cosign.
        """
        key = self._signer.pool_key(pool.name).verifier_key
        with self._database.transaction() as connection:
            latest = checkpoints.latest_checkpoint(connection, pool, key=key)
            if latest is None:
                return False, 0
            if not again and any(found.key == witness.key for found in latest.cosignatures):
                return False, latest.size
            old_size = checkpoints.last_cosigned_size(connection, pool, key, witness.key)
        try:
            answer = self._ask_from(witness, pool, latest, old_size)
        except ConflictError as conflict:
            answer = self._ask_from(witness, pool, latest, conflict.size)
        found = read_cosignature(witness, parse_note(latest.note), answer)
        with self._database.transaction() as connection:
            checkpoints.insert_cosignature(connection, pool, latest, found)
        logger.info("cosigned", pool=pool.name, size=latest.size, witness=witness.key.name)
        return True, latest.size

    def _ask_from(self, witness: Witness, pool: PoolRef, latest: StoredCheckpoint, old_size: int) -> bytes:
        name = witness.key.name
        if old_size > latest.size:
            reason = (
                f"has cosigned {old_size} leaves, and the last checkpoint here has {latest.size}: "
                "either another signer is ahead, or an old backup was restored"
            )
            raise WitnessRefusedError(name, HTTPStatus.CONFLICT, reason)
        with self._database.transaction() as connection:
            proof = proofs.consistency_proof(connection, pool, old_size, latest.size)
        request = AddCheckpoint(old_size, proof.hashes if old_size else (), latest.note)
        try:
            return ask(witness, request)
        except ConflictError as conflict:
            if conflict.size != old_size:
                raise
            # It has seen this very size, so with another root: what it cosigned is the other half of the evidence.
            kept = self._keep(pool, name, request, proof)
            reason = f"has cosigned another log of {old_size} leaves; the request is kept in {kept}"
            raise WitnessRefusedError(name, HTTPStatus.CONFLICT, reason) from None
        except WitnessRefusedError as refusal:
            if refusal.status != HTTPStatus.UNPROCESSABLE_ENTITY:
                raise
            kept = self._keep(pool, name, request, proof)
            reason = f"{refusal.reason}; the request is kept in {kept}"
            raise WitnessRefusedError(name, refusal.status, reason) from None

    def _keep(self, pool: PoolRef, witness: str, request: AddCheckpoint, proof: ConsistencyProof) -> Path | str:
        """Keep our half of the evidence: with the checkpoint that the witness has cosigned, it shows the fork.

        The proof beside the request is in the form that `moiety log fork --consistency` reads.
        """
        size = read_checkpoint(request.checkpoint)[0].size
        shown = {
            "old_size": request.old_size,
            "new_size": size,
            "old_root": proof.old_root.hex(),
            "new_root": proof.root.hex(),
            "hashes": [each.hex() for each in proof.hashes],
        }
        try:
            self._folder.keep_refused(pool.name, size, witness, "json", json.dumps(shown, indent=2).encode())
            return self._folder.keep_refused(pool.name, size, witness, "add-checkpoint", request.to_bytes())
        except StoreUnavailableError as error:  # which must not hide what the witness says
            return f"no file: {error}"

    def _report(self, witness: Witness, pool: PoolRef, text: str) -> None:
        place = (witness.key.name, pool.name)
        if self._said.get(place) != text:
            self._said[place] = text
            logger.warning("not cosigned", pool=pool.name, witness=witness.key.name, reason=text)
