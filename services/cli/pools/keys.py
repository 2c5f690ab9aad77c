"""`moiety key`: who may call."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from services.cli.base.acts import outcome, waiting
from services.cli.base.connection import Session, client_command
from services.cli.base.documents import document, identity
from services.cli.base.exits import InputError
from services.cli.base.local import local_command
from services.cli.base.output import Output, details, table

app = typer.Typer(help="API keys: who may call.", no_args_is_help=True)


@app.command("make")
@local_command
def make(output: Output) -> None:
    """Make a key on this machine: keep the secret, and send the hash to whoever issues the key."""
    from moiety.keys import make_key

    made = make_key()
    output.show(
        {"key": made.key_id, "secret": made.text, "hash": made.hash},
        details([("secret", made.text), ("hash", made.hash)]),
        "The secret is shown only once. Set it as MOIETY_API_KEY where it is used.",
    )


@app.command("payees")
@local_command
def payees(
    output: Output,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file of keys; made if there is none.")],
) -> None:
    """Make a key that encrypts payees' bank data, in front of those that the file has.

    Set the file as MOIETY_PAYEE_KEY_FILE on every server, and keep a copy apart from the database's. If it is lost,
    nobody can read the bank data: every payee has to be proposed again.
    """
    from ledger.store.desk.vault import add_key

    add_key(file)
    output.show({"file": str(file)}, f"{file} has a new key. Start every server with it, then run `moiety db rotate`.")


@app.command("issue")
@client_command
def issue(
    session: Session,
    principal: Annotated[
        str,
        typer.Argument(
            metavar="PRINCIPAL", help="operators/ID, platforms/PLATFORM, collectives/COLLECTIVE or auditors/ID."
        ),
    ],
    key_hash: Annotated[
        str,
        typer.Option("--hash", metavar="HASH", help="The hash that `moiety key make` printed for its owner."),
    ] = "",
    pool: Annotated[
        list[str] | None,
        typer.Option(metavar="POOL", help="A pool that the key gives access to; repeatable (default: all)."),
    ] = None,
    issuer: Annotated[
        str, typer.Option(metavar="URL", help="The OpenID provider of an account, as MOIETY_OPENID_ISSUER.")
    ] = "",
    subject: Annotated[str, typer.Option(metavar="SUBJECT", help="The account's id at the provider (`sub`).")] = "",
    certificate: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A TLS client certificate in PEM, which is then the key: mTLS."),
    ] = None,
    expires: Annotated[
        datetime | None, typer.Option(metavar="TIME", help="When the key expires, in UTC (default: never).")
    ] = None,
) -> None:
    """Issue an API key to a principal. Without --hash it is made here, and its secret is printed once.

    With --issuer it is an account at an OpenID provider, by which a person signs in to the console: --hash is the line
    that the console shows to whoever signs in for the first time, or --subject names the account.

    With --certificate it is a client certificate, with which calls to the mTLS port need no secret. A certificate that
    is renewed for the same private key goes on to be this key.
    """
    from moiety.keys import identity_hash, make_key
    from moiety.v1.registry_pb2 import KEY_KIND_CERTIFICATE, KEY_KIND_IDENTITY, KEY_KIND_UNSPECIFIED

    if certificate and (issuer or subject or key_hash):
        raise InputError.of("certificate", "goes without --hash, --issuer and --subject")
    if bool(subject) and (not issuer or key_hash):
        raise InputError.of("subject", "goes with --issuer, and without --hash")
    if issuer and not (subject or key_hash):
        raise InputError.of("issuer", "goes with --subject or --hash")
    if certificate:
        key_hash = f"{make_key().key_id}:{_hash_of(certificate)}"
    made = None if key_hash or subject else make_key()
    ends = expires.replace(tzinfo=UTC) if expires else None
    if subject:
        key_hash = f"{make_key().key_id}:{identity_hash(issuer, subject)}"
    issued = session.client.create_api_key(
        principal,
        made.hash if made else key_hash,
        expire_time=ends,
        pools=pool or (),
        kind=KEY_KIND_IDENTITY if issuer else KEY_KIND_CERTIFICATE if certificate else KEY_KIND_UNSPECIFIED,
        issuer=issuer,
    )
    key = identity(issued.name)
    shown = [("key", key), ("principal", issued.principal), *([("secret", made.text)] if made else [])]
    session.output.show(
        {**outcome(issued), "secret": made.text if made else None},
        details(shown),
        *waiting(issued),
        "The secret is shown only once. Set it as MOIETY_API_KEY where it is used." if made else "",
    )


def _hash_of(certificate: Path) -> str:
    from ledger.errors import InvalidInputError
    from services.access.certificates import certificate_hash

    try:
        return certificate_hash(certificate.read_bytes())
    except OSError as error:
        raise InputError.of("certificate", f"{certificate}: {error.strerror}") from None
    except InvalidInputError as error:
        raise InputError.of("certificate", f"{certificate} {error.violations[0].reason}") from None


@app.command("revoke")
@client_command
def revoke(
    session: Session, key: Annotated[str, typer.Argument(metavar="KEY", help="The key's id, from `moiety key list`.")]
) -> None:
    """Revoke an API key, at once and for ever. Repeating it changes nothing."""
    revoked = session.client.revoke_api_key(identity(key))
    ended = document(revoked)["revoke_time"]
    session.output.show(
        document(revoked), f"Key {identity(revoked.name)} of {revoked.principal} was revoked at {ended}."
    )


@app.command("list")
@client_command
def list_(session: Session) -> None:
    """List API keys, without their secrets."""
    keys = [document(key) for key in session.client.list_api_keys()]
    session.output.show(
        keys,
        table(
            ["Key", "Principal", "Kind", "Made", "Ends", "Revoked", "Pools"],
            [
                (
                    identity(key["name"]), key["principal"], key["kind"], key["create_time"], key["expire_time"],
                    key["revoke_time"], ", ".join(map(identity, key["pools"])),
                )
                for key in keys
            ],
        ),
    )  # fmt: skip
