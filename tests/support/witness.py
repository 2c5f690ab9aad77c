"""A witness on a real socket, by the server's rules of C2SP tlog-witness: a third party's part, which is not ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

from ledger.errors import FormatError, ProofError, SignatureError
from ledger.log.checkpoint import Checkpoint, read_checkpoint
from ledger.log.merkle import EMPTY_ROOT, verify_consistency
from ledger.log.note_keys import SigningKey, VerifierKey
from ledger.log.notes import verify_signatures
from ledger.log.witnessing import SIZE_CONTENT_TYPE, AddCheckpoint

Answer = tuple[int, str, bytes]


@dataclass
class Witness:
    """What a witness knows: the logs it trusts by origin, and the last checkpoint that it cosigned of each."""

    key: SigningKey
    logs: dict[str, VerifierKey]
    time_seconds: int = 1_700_000_000
    latest: dict[str, Checkpoint] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    instead: Answer | None = None
    """What it answers whatever it is asked, for witnesses that break the rules."""

    url: str = ""
    _lock: Lock = field(default_factory=Lock)

    def add_checkpoint(self, body: bytes) -> Answer:
        """What the specification has a witness answer: status, content type, body."""
        with self._lock:
            answer = self.instead or self._judge(body)
            self.statuses.append(answer[0])
            return answer

    def _judge(self, body: bytes) -> Answer:
        try:
            request = AddCheckpoint.parse(body)
        except FormatError:
            return 400, "text/plain", b""
        checkpoint, note = read_checkpoint(request.checkpoint)
        if checkpoint.origin not in self.logs:
            return 404, "text/plain", b""
        try:
            verify_signatures(note, [self.logs[checkpoint.origin]])
        except SignatureError:
            return 403, "text/plain", b""
        last = self.latest.get(checkpoint.origin, Checkpoint(checkpoint.origin, 0, EMPTY_ROOT))
        conflict = 409, SIZE_CONTENT_TYPE, f"{last.size}\n".encode()
        if request.old_size != last.size or (last.size == checkpoint.size and last.root != checkpoint.root):
            return conflict
        try:
            verify_consistency(last.size, checkpoint.size, last.root, checkpoint.root, request.proof)
        except ProofError:
            return 422, "text/plain", b""
        self.latest[checkpoint.origin] = checkpoint
        return 200, "text/plain", (self.key.sign(note.text, self.time_seconds).line() + "\n").encode()


@contextmanager
def listening(witness: Witness, prefix: str = "/witness") -> Iterator[Witness]:
    """The witness on a socket of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            known = self.path == f"{prefix}/add-checkpoint"
            status, content_type, answer = witness.add_checkpoint(body) if known else (404, "text/plain", b"")
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        witness.url = f"http://127.0.0.1:{server.server_port}{prefix}"
        try:
            yield witness
        finally:
            server.shutdown()
            thread.join()
