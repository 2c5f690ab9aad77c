"""The processes that a campaign breaks: Postgres, a server, two schedulers that sign."""

from __future__ import annotations

import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final

import grpc
import psycopg

from ledger.store.desk.vault import add_key
from moiety import Client, Collective, Method, Platform, Policy, Pool
from moiety.keys import make_key
from moiety.v1.registry_pb2 import DISTRIBUTE_REPORTED
from services.process.embedded import embedded_postgres
from services.schema import upgrade
from services.signing.key_file import generate_key
from tests.faults.banking import TWO, open_account
from tests.support.books import wait_until
from tests.support.deployment import FOUNDERS, SteppedClock, deployed
from tests.support.ports import free_port
from tests.support.standby import base_backup, program

POOL: Final = "folk"
METHOD: Final = "ngram"
COLLECTIVES: Final = ("breton", "irish", "scottish", "welsh")
PLATFORMS: Final = ("songbird", "tunesmith")

SOON_SECONDS: Final = 600.0
"""How long a process may take to be back: at the lowest priority, beside much other work, it gets little time."""

_OTHERS: Final = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


def _runs_from(folder: Path) -> bool:
    """Whether a process works in a folder, as each one of Postgres does in that of its files."""
    return any(_works_in(process) == folder for process in Path("/proc").glob("[0-9]*"))


def _works_in(process: Path) -> Path | None:
    try:
        return (process / "cwd").readlink()
    except OSError:  # it has ended, or is not ours
        return None


_numbers = count()

WRONG_SECONDS: Final = (-7200.0, -90.0, 90.0, 7200.0)
"""By how much clocks are set wrong: within what is tolerated, and beyond."""


class Process:
    """A command of ours as a process of its own."""

    def __init__(self, command: str, environment: dict[str, str], log: Path) -> None:
        self._command, self._environment, self._log = command, environment, log
        self.starts = 0
        self._clock = log.parent / f"clock-{next(_numbers)}"
        self._clock.write_text("0")
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.clocked", str(self._clock), self._command],
                env={**os.environ, **self._environment},
                stdout=log,
                stderr=log,
            )
        self.starts += 1

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()

    def end(self) -> int:
        """Ask it to end, and return how it did."""
        self._process.terminate()
        return self._process.wait(SOON_SECONDS)

    def stall(self, seconds: float) -> None:
        """Let it stand still, its connections open."""
        self._process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self._process.send_signal(signal.SIGCONT)

    def set_clock(self, offset_seconds: float, seconds: float) -> None:
        """Let its clock be wrong for a while, ahead or behind."""
        self._clock.write_text(str(offset_seconds))
        time.sleep(seconds)
        self._clock.write_text("0")

    def keep_up(self) -> None:
        """Start it again where it has ended, as a supervisor does."""
        if not self.runs:
            self.start()


class World:
    """A deployment with a pool and its people, all of it in one folder."""

    def __init__(self, folder: Path, stack: ExitStack, *, http: bool = False) -> None:
        self._places = [folder / "database" / "postgres", folder / "spare" / "postgres"]
        stack.enter_context(embedded_postgres(folder / "database"))
        stack.callback(self._end_postgres)
        upgrade(self.url)
        payee_key = folder / "payee-key"
        add_key(payee_key)
        keys = self._found_long_ago(payee_key)
        self.address = f"127.0.0.1:{free_port()}"
        self.http_address = f"127.0.0.1:{free_port()}" if http else ""
        key = folder / "signing-key"
        self.vkey = str(generate_key(key, "log.example").verifier_key)
        environment = {
            "MOIETY_DATABASE_URL": self._either(),
            "MOIETY_LISTEN": self.address,
            "MOIETY_HTTP_LISTEN": self.http_address,
            "MOIETY_DRAIN_SECONDS": "5",
            "MOIETY_CHECKPOINT_SECONDS": "0.5",
            "MOIETY_LOG_LEVEL": "WARNING",
            "MOIETY_SIGNING_KEY_FILE": str(key),
            "MOIETY_CHECKPOINT_FOLDER": str(folder / "checkpoints"),
            "MOIETY_PAYEE_KEY_FILE": str(payee_key),
        }
        self.log = folder / "log"
        self.server = Process("serve", environment, self.log)
        self.schedulers = [Process("schedule", environment, self.log) for _ in range(2)]
        stack.callback(self._end)
        self.wait_until_served()
        self.olive, self.otto = (stack.enter_context(Client(self.address, each.key.text)) for each in FOUNDERS)
        self.platforms = [stack.enter_context(Client(self.address, key)) for key in keys]

    @property
    def _files(self) -> Path:
        """Where the files of the Postgres are that takes writes; the other place is for the next standby."""
        return self._places[0]

    @property
    def url(self) -> str:
        """The Postgres that takes writes."""
        return f"postgresql://postgres:@/postgres?host={self._files}"

    def _either(self) -> str:
        hosts = "&".join(f"host={place}" for place in self._places)
        return f"postgresql://postgres:@/postgres?{hosts}&target_session_attrs=read-write"

    def _found_long_ago(self, payee_key: Path) -> list[str]:
        """Register everyone four days ago, so that accounts can be paid by now; returns the platforms' keys."""
        clock = SteppedClock(datetime.now(UTC) - timedelta(days=4))
        quiet = {"http_listen": "", "log_level": "WARNING"}
        with deployed(self.url, clock, controls=TWO, payee_key_file=payee_key, **quiet) as past:
            olive, otto = (past.client(f"operators/{each.name.rpartition('/')[2]}") for each in FOUNDERS)
            for platform in PLATFORMS:
                olive.create_platform(platform, Platform(display_name=platform))
            for collective in COLLECTIVES:
                olive.create_collective(collective, Collective(display_name=collective, members=10))
            named = [f"platforms/{platform}" for platform in PLATFORMS]
            policy = Policy(review_seconds=1, fee_ppm=30_000, commons_ppm=100_000)
            pool = Pool(
                display_name="Folk", currency="EUR", policy=policy, platforms=named, distribute=DISTRIBUTE_REPORTED
            )
            olive.create_pool(POOL, pool)
            olive.create_method(POOL, METHOD, Method(display_name="n-gram votes", confidence_ppm=900_000))
            open_account(olive, otto, named)
            keys = {name: make_key() for name in named}
            for name, made in keys.items():
                olive.create_api_key(name, made.hash)
            return [made.text for made in keys.values()]

    def wait_until_served(self) -> None:
        """Wait until Postgres and the server answer, starting what has ended."""
        deadline = time.monotonic() + SOON_SECONDS
        while True:
            self.keep_up()
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
                with grpc.insecure_channel(self.address) as channel:
                    grpc.channel_ready_future(channel).result(timeout=5)
            except (psycopg.OperationalError, grpc.FutureTimeoutError) as error:
                if time.monotonic() > deadline:
                    raise AssertionError(f"not served after {SOON_SECONDS:g} s: {error}; {self._state()}") from error
                time.sleep(0.1)
            else:
                return

    def _state(self) -> str:
        """What runs of Postgres, whether it runs or waits and for what, and what it logged last."""
        running = [
            f"{(process / 'cmdline').read_text().strip(chr(0))} {(process / 'stat').read_text().split()[2]} "
            f"{(process / 'wchan').read_text()}"
            for process in Path("/proc").glob("[0-9]*")
            if _works_in(process) == self._files
        ]
        return f"{running}; {(self._files / 'log').read_text(errors='replace')[-2000:]}"

    def keep_up(self) -> None:
        """Start what has ended, as a supervisor does."""
        for each in (self.server, *self.schedulers):
            each.keep_up()
        if not self._runs():
            self._control("start")

    def _runs(self) -> bool:
        try:
            os.kill(self._postmaster(), 0)
        except (OSError, ValueError, IndexError):
            return False
        return True

    def _postmaster(self) -> int:
        return int((self._files / "postmaster.pid").read_text().split()[0])

    def _control(self, what: str, *more: str) -> None:
        """Have Postgres stopped or started, with the options that it had before."""
        # What `postmaster.opts` holds: the program, -D and the folder, and the rest.
        options = shlex.split((self._files / "postmaster.opts").read_text())[3:]
        if what == "start":
            more = (*more, "-l", str(self._files / "log"), "-o", shlex.join(options))
        ran = self._pg_ctl(self._files, *more, what)
        if ran and what == "start":
            time.sleep(0.5)  # what a killed Postgres left behind is about to end; it is tried again

    @staticmethod
    def _pg_ctl(files: Path, *arguments: str) -> int:
        from services.process.passage import unprivileged_user  # noqa: PLC0415  # an extra

        user = unprivileged_user()
        own: dict[str, Any] = {"user": user.uid, "group": user.gid, "extra_groups": [], "cwd": "/"} if user else {}
        command = [str(program("pg_ctl")), "-D", str(files), "-w", *arguments]
        return subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, **own
        ).returncode

    # What can be done to it.

    def kill_server(self, _: random.Random) -> None:
        self.server.kill()

    def end_server(self, _: random.Random) -> None:
        if self.server.runs:  # it may have been killed just before
            code = self.server.end()
            assert code == 0, f"the server ended with {code}"

    def kill_schedulers(self, chance: random.Random) -> None:
        for each in chance.sample(self.schedulers, chance.randint(1, 2)):
            each.kill()

    def stall_server(self, chance: random.Random) -> None:
        self.server.stall(chance.uniform(0.5, 5))

    def stall_scheduler(self, chance: random.Random) -> None:
        chance.choice(self.schedulers).stall(chance.uniform(0.5, 5))

    def set_server_clock(self, chance: random.Random) -> None:
        self.server.set_clock(chance.choice(WRONG_SECONDS), chance.uniform(0.5, 5))

    def set_scheduler_clock(self, chance: random.Random) -> None:
        chance.choice(self.schedulers).set_clock(chance.choice(WRONG_SECONDS), chance.uniform(0.5, 5))

    def kill_postgres(self, _: random.Random) -> None:
        with suppress(OSError, ValueError, IndexError):  # it is away already
            os.kill(self._postmaster(), signal.SIGKILL)

    def restart_postgres(self, chance: random.Random) -> None:
        self._control("stop", "-m", chance.choice(["fast", "immediate"]))

    def kill_a_backend(self, chance: random.Random) -> None:
        if pids := self._asked(f"SELECT pid {_OTHERS}"):
            with suppress(ProcessLookupError):
                os.kill(chance.choice(pids), signal.SIGKILL)

    def stall_backends(self, chance: random.Random) -> None:
        """All connections stay open, and nothing comes back on them."""
        pids = self._asked(f"SELECT pid {_OTHERS}")
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            if number == signal.SIGSTOP:
                time.sleep(chance.uniform(0.5, 5))

    def fail_over(self, _: random.Random) -> None:
        """Make a synchronous standby, kill the primary, and promote the standby: whatever was acknowledged is there."""
        standby = self._places[1]
        self._clear(standby)
        base_backup(self.url, standby.parent, "--write-recovery-conf")
        options = f"-h '' -k {standby} -c unix_socket_permissions=0700"
        try:
            self._insist(standby, "-l", str(standby / "log"), "-o", options, "start")
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
                connection.execute("SELECT pg_reload_conf()")
                follows = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
                wait_until(lambda: connection.execute(follows).fetchone() == (1,))
        except BaseException:
            self.wait_until_served()
            self._clear(standby)  # a primary that waits for a standby without files would never commit, nor end
            raise
        os.kill(self._postmaster(), signal.SIGKILL)
        self._places.reverse()
        self._insist(self._files, "promote")

    def _clear(self, place: Path) -> None:
        """End whatever runs from a place, and empty it; the primary waits for nobody then."""
        self._pg_ctl(place, "-m", "immediate", "stop")
        wait_until(lambda: not _runs_from(place))
        shutil.rmtree(place.parent, ignore_errors=True)
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
            connection.execute("SELECT pg_reload_conf()")

    def _insist(self, place: Path, *arguments: str) -> None:
        """Have Postgres do it, as a supervisor would who tries again."""
        deadline = time.monotonic() + SOON_SECONDS
        while self._pg_ctl(place, *arguments):
            if time.monotonic() > deadline:
                said = (place / "log").read_text(errors="replace")[-2000:]
                raise AssertionError(f"pg_ctl {arguments[-1]} failed at {place}: {said}")
            time.sleep(0.5)

    def cut_connections(self, _: random.Random) -> None:
        self._asked(f"SELECT pg_terminate_backend(pid)::int {_OTHERS}")

    def hold_head(self, chance: random.Random) -> None:
        """Somebody holds the lock on the pool's head, and does nothing."""
        with psycopg.connect(self.url) as connection:
            connection.execute("SELECT FROM head FOR UPDATE")
            time.sleep(chance.uniform(0.5, 8))

    def kill_everything(self, chance: random.Random) -> None:
        self.kill_server(chance)
        self.kill_postgres(chance)
        self.kill_schedulers(chance)

    def _asked(self, query: str) -> list[int]:
        with psycopg.connect(self.url, connect_timeout=5) as connection:
            return [row[0] for row in connection.execute(query)]

    def faults(self) -> Sequence[Any]:
        """All that can be done to it."""
        return (
            self.kill_server, self.end_server, self.kill_schedulers, self.stall_server, self.stall_scheduler,
            self.kill_postgres, self.restart_postgres, self.kill_a_backend, self.stall_backends,
            self.cut_connections, self.hold_head, self.kill_everything, self.fail_over, self.set_server_clock,
            self.set_scheduler_clock,
        )  # fmt: skip

    def _end_postgres(self) -> None:
        """End the one that took over; the first is whoever's who started it."""
        for place in self._places:
            self._pg_ctl(place, "-m", "immediate", "stop")

    def _end(self) -> None:
        for each in (self.server, *self.schedulers):
            each.kill()
