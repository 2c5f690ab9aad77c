"""The registry service: who takes part, by which terms, and who may act. Each part is in the module of its noun."""

from __future__ import annotations

from moiety.v1 import registry_pb2_grpc
from services.api.registry.contacts import ContactMethods
from services.api.registry.parties import PartyMethods
from services.api.registry.people import PeopleMethods
from services.api.registry.pools import PoolMethods
from services.api.registry.terms import TermsMethods
from services.parts import Parts


class RegistryService(
    PartyMethods, PoolMethods, TermsMethods, PeopleMethods, ContactMethods, registry_pb2_grpc.RegistryServiceServicer
):
    """Platforms, collectives, pools and their terms, people and their contacts."""

    def __init__(self, parts: Parts) -> None:
        self._database, self._acts = parts.database, parts.acts
        self._keyring, self._heavy = parts.keyring, parts.heavy
