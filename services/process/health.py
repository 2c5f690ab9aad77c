"""Health by gRPC: what the library answers, and a thread that looks at the database and tells it."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, Thread
from typing import Any, Final

import grpc
import structlog
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse

from ledger.store.postgres.database import Database
from services.api.contract import service_names
from services.api.readiness import PATIENCE_SECONDS, REMEMBERED_SECONDS, problems, warnings

logger: Final = structlog.get_logger("moiety.health")

ROUNDS: Final = "moiety.v1.RoundsService"
"""The service that is not serving while the log contradicts what was signed."""


class Health(health.HealthServicer):
    """Health with Check, which probes use.

    The library's Watch keeps its lock while it sends. A watcher that leaves at that moment waits for the lock on the
    server's only event thread, which the sending needs: draining would never end.
    """

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._looking = ThreadPoolExecutor(1, thread_name_prefix="health")
        self._stopped = Event()
        self._wrong: dict[str, str] = {}
        self._watcher = Thread(target=self._watch, name="health", daemon=True)

    def Watch(self, request: Any, context: grpc.ServicerContext, *_: Any) -> None:  # type: ignore[override] # noqa: ARG002, N802
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "ask by Check")

    def start(self) -> None:
        """Serve, and look at the database from now on."""
        self._tell({}, {})
        self._watcher.start()

    def drain(self) -> None:
        """Say that nothing is served any more."""
        self._stopped.set()
        self.enter_graceful_shutdown()

    def close(self) -> None:
        """Finish what is being looked at."""
        self._stopped.set()
        if self._watcher.ident is not None:  # a server that never started has none to wait for
            self._watcher.join()
        self._looking.shutdown()

    def _watch(self) -> None:
        under_way: Future[tuple[dict[str, str], dict[str, str]]] | None = None
        while not self._stopped.wait(REMEMBERED_SECONDS):
            under_way = under_way or self._looking.submit(self._look)
            try:
                self._tell(*under_way.result(PATIENCE_SECONDS))
            except TimeoutError:
                self._tell({"database": "does not answer"}, {})
                continue
            except Exception:
                logger.exception("looking failed")
            under_way = None

    def _look(self) -> tuple[dict[str, str], dict[str, str]]:
        wrong = problems(self._database)
        return wrong, {} if wrong else warnings(self._database)

    def _tell(self, wrong: dict[str, str], warned: dict[str, str]) -> None:
        """Set the status of the server as a whole and of each service; log what is wrong when that changes."""
        if wrong != self._wrong:
            self._wrong = wrong
            logger.warning("not ready" if wrong else "ready again", **wrong)
        for name in ("", *service_names()):
            serving = not wrong and not (name == ROUNDS and "signing" in warned)
            self.set(name, HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING)
