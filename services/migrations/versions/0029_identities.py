"""Keys that are an account at an OpenID provider, or a client certificate.

Undo: revoke all keys that are not secrets, then drop api_key.key_kind, api_key.issuer and the index; the leaves stay.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_key", sa.Column("key_kind", sa.Text(), nullable=False, server_default="SECRET"))
    op.add_column("api_key", sa.Column("issuer", sa.Text(), nullable=False, server_default=""))
    for column in ("key_kind", "issuer"):
        op.alter_column("api_key", column, server_default=None)
    op.create_check_constraint(
        op.f("api_key_key_kind_check"),
        "api_key",
        "key_kind = ANY (ARRAY['SECRET'::text, 'IDENTITY'::text, 'CERTIFICATE'::text])",
    )
    op.create_index(
        "api_key_bound_key",
        "api_key",
        ["secret_sha256"],
        unique=True,
        postgresql_where=sa.text("key_kind <> 'SECRET' AND revoked_at IS NULL"),
    )
