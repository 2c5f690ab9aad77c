"""Platforms and collectives of the registry service."""

from __future__ import annotations

from dataclasses import replace

import grpc
import sqlalchemy as sa

from ledger.acts.collectives import collective_content, render_domains
from ledger.acts.entries import PlatformContent
from ledger.errors import AlreadyExistsError
from ledger.registry import Collective
from ledger.store.logs import log
from ledger.store.logs.log import REGISTRY
from ledger.store.postgres.database import Database
from ledger.store.registry import domains
from ledger.store.registry.acts import Acts, look_alone
from ledger.store.registry.collectives import get_collective, list_collectives
from ledger.store.registry.platforms import get_platform, list_platforms
from moiety.v1 import registry_pb2 as pb
from services.access.keys import Role
from services.access.permissions import actor, own_id, require_own
from services.api import convert
from services.api.etags import require_unchanged
from services.api.names import only_id, page_limit, place_in
from services.api.outcomes import told
from services.api.pages import page_of


class PartyMethods:
    """The part of the registry service that says who reports and who is paid."""

    _database: Database
    _acts: Acts

    def CreatePlatform(self, request: pb.CreatePlatformRequest, context: grpc.ServicerContext) -> pb.Platform:
        platform = convert.platform_from_proto(request.platform_id, request.platform)
        if request.validate_only:
            return convert.platform_to_proto(platform)
        content = PlatformContent(platform=platform.name, display_name=platform.display_name)
        with self._database.transaction() as connection:
            outcome = self._acts.perform(connection, REGISTRY, content, actor())
        return told(outcome, convert.platform_to_proto, platform)

    def GetPlatform(self, request: pb.GetPlatformRequest, context: grpc.ServicerContext) -> pb.Platform:
        platform_id = only_id(request.name, "platforms", "name")
        require_own(Role.PLATFORM, platform_id, request.name)
        with self._database.transaction() as connection:
            return convert.platform_to_proto(get_platform(connection, platform_id))

    def ListPlatforms(
        self, request: pb.ListPlatformsRequest, context: grpc.ServicerContext
    ) -> pb.ListPlatformsResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, "")
        with self._database.transaction() as connection:
            found = list_platforms(connection, after=after, limit=limit, only=own_id(Role.PLATFORM))
        platforms, token = page_of(found, limit, convert.platform_to_proto, lambda platform: (platform.name,))
        return pb.ListPlatformsResponse(platforms=platforms, next_page_token=token)

    def CreateCollective(self, request: pb.CreateCollectiveRequest, context: grpc.ServicerContext) -> pb.Collective:
        collective = convert.collective_from_proto(request.collective_id, request.collective)
        with self._database.transaction() as connection:
            if request.validate_only:
                domains.require_free(connection, collective)
                return convert.collective_to_proto(collective)
            _require_new(connection, collective)
            return self._put(connection, collective)

    def UpdateCollective(self, request: pb.UpdateCollectiveRequest, context: grpc.ServicerContext) -> pb.Collective:
        collective_id = only_id(request.collective.name, "collectives", "collective.name")
        collective = convert.collective_from_proto(collective_id, request.collective)
        wanted = convert.collective_to_proto(collective)
        with self._database.transaction() as connection:
            look_alone(connection)
            found = convert.collective_to_proto(get_collective(connection, collective_id))
            require_unchanged(found.name, request.collective.etag, found.etag, wanted.etag)
            if request.validate_only:
                domains.require_free(connection, collective)
                return wanted
            return self._put(connection, collective)

    def _put(self, connection: sa.Connection, collective: Collective) -> pb.Collective:
        content = collective_content(collective)
        log.put_body(connection, REGISTRY, render_domains(collective.domains))
        outcome = self._acts.perform(connection, REGISTRY, content, actor())
        return told(outcome, convert.collective_to_proto, collective)

    def GetCollective(self, request: pb.GetCollectiveRequest, context: grpc.ServicerContext) -> pb.Collective:
        collective_id = only_id(request.name, "collectives", "name")
        with self._database.transaction() as connection:
            return convert.collective_to_proto(get_collective(connection, collective_id))

    def ListCollectives(
        self, request: pb.ListCollectivesRequest, context: grpc.ServicerContext
    ) -> pb.ListCollectivesResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, "")
        with self._database.transaction() as connection:
            found = list_collectives(connection, after=after, limit=limit)
            collectives, token = page_of(
                found, limit, convert.collective_to_proto, lambda collective: (collective.name,)
            )
        return pb.ListCollectivesResponse(collectives=collectives, next_page_token=token)


def _require_new(connection: sa.Connection, collective: Collective) -> None:
    """Check that a collective is not registered with other content.

    Raises:
        AlreadyExistsError: it is.
    """
    for found in list_collectives(connection, only=collective.name, limit=1):
        if replace(found, created_at=None) != replace(collective, created_at=None):
            raise AlreadyExistsError(f"collectives/{collective.name}")
