"""Verbs of the RegistryService: who takes part, and under which rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from moiety.connection import PAGE_SIZE
from moiety.memberships import parse_membership, render_membership
from moiety.steps import Pages, Steps, all_items
from moiety.v1 import registry_pb2 as pb
from moiety.v1.registry_pb2_grpc import RegistryServiceStub
from moiety.verbs.base import Joined, Verbs, listing, pool_name, verb

if TYPE_CHECKING:
    from moiety.telemetry import DomainMap


class RegistryVerbs(Verbs):
    """Platforms, collectives, pools, policies, methods, memberships, schedules and API keys.

    Creating what exists already with the same content gives what exists. With `validate_only` nothing
    changes.
    """

    @cached_property
    def _registry(self) -> RegistryServiceStub:
        return RegistryServiceStub(self._connection.channel)

    @verb
    def create_platform(
        self, platform_id: str, platform: pb.Platform, *, validate_only: bool = False
    ) -> Steps[pb.Platform]:
        """Register a platform."""
        request = pb.CreatePlatformRequest(platform_id=platform_id, platform=platform, validate_only=validate_only)
        return self._connection.unary(self._registry.CreatePlatform, request, repeat=True)

    @verb
    def get_platform(self, platform_id: str) -> Steps[pb.Platform]:
        """Give one platform."""
        request = pb.GetPlatformRequest(name=f"platforms/{platform_id}")
        return self._connection.unary(self._registry.GetPlatform, request, repeat=True)

    @listing
    def list_platforms(self) -> Pages[pb.Platform]:
        """Return all platforms by id; a platform sees only itself."""
        request = pb.ListPlatformsRequest(page_size=PAGE_SIZE)
        return self._connection.pages(self._registry.ListPlatforms, request, lambda page: page.platforms)

    @verb
    def create_collective(
        self, collective_id: str, collective: pb.Collective, *, validate_only: bool = False
    ) -> Steps[pb.Collective]:
        """Register a collective."""
        request = pb.CreateCollectiveRequest(
            collective_id=collective_id, collective=collective, validate_only=validate_only
        )
        return self._connection.unary(self._registry.CreateCollective, request, repeat=True)

    @verb
    def update_collective(
        self, collective_id: str, collective: pb.Collective, *, validate_only: bool = False
    ) -> Steps[pb.Collective]:
        """Replace a collective's display name, members, equity factor, status and domains."""
        content = pb.Collective()
        content.CopyFrom(collective)
        content.name = f"collectives/{collective_id}"
        request = pb.UpdateCollectiveRequest(collective=content, validate_only=validate_only)
        return self._connection.unary(self._registry.UpdateCollective, request, repeat=False)

    @verb
    def get_collective(self, collective_id: str) -> Steps[pb.Collective]:
        """Give one collective."""
        request = pb.GetCollectiveRequest(name=f"collectives/{collective_id}")
        return self._connection.unary(self._registry.GetCollective, request, repeat=True)

    @listing
    def list_collectives(self) -> Pages[pb.Collective]:
        """Return all collectives by id."""
        return self._collectives()

    @verb
    def domain_map(self) -> Steps[DomainMap]:
        """Give whose content is whose, as all collectives' domains say."""
        return self._domain_map()

    def _collectives(self) -> Pages[pb.Collective]:
        request = pb.ListCollectivesRequest(page_size=PAGE_SIZE)
        return self._connection.pages(self._registry.ListCollectives, request, lambda page: page.collectives)

    def _domain_map(self) -> Steps[DomainMap]:
        from moiety.telemetry import DomainMap

        collectives = yield from all_items(self._collectives())
        return DomainMap({found.name.removeprefix("collectives/"): found.domains for found in collectives})

    @verb
    def create_pool(self, pool_id: str, pool: pb.Pool, *, validate_only: bool = False) -> Steps[pb.Pool]:
        """Open a pool, with its currency and first policy."""
        request = pb.CreatePoolRequest(pool_id=pool_id, pool=pool, validate_only=validate_only)
        return self._connection.unary(self._registry.CreatePool, request, repeat=True)

    @verb
    def get_pool(self, pool: str) -> Steps[pb.Pool]:
        """Give one pool, with its latest policy and its log's size."""
        request = pb.GetPoolRequest(name=pool_name(pool))
        return self._connection.unary(self._registry.GetPool, request, repeat=True)

    @listing
    def list_pools(self) -> Pages[pb.Pool]:
        """Return all pools by id."""
        request = pb.ListPoolsRequest(page_size=PAGE_SIZE)
        return self._connection.pages(self._registry.ListPools, request, lambda page: page.pools)

    @verb
    def close_pool(self, pool: str) -> Steps[pb.Pool]:
        """Close a pool to usage and retractions, for ever. Rounds over the usage that it has go on."""
        request = pb.ClosePoolRequest(name=pool_name(pool))
        return self._connection.unary(self._registry.ClosePool, request, repeat=True)

    @verb
    def admit_platform(self, pool: str, platform: str, *, validate_only: bool = False) -> Steps[pb.Admission]:
        """Admit a platform to a pool: it may report usage and revenue from now on."""
        request = pb.AdmitPlatformRequest(
            pool=pool_name(pool), platform=f"platforms/{platform}", validate_only=validate_only
        )
        return self._connection.unary(self._registry.AdmitPlatform, request, repeat=True)

    @verb
    def expel_platform(self, pool: str, platform: str) -> Steps[pb.Admission]:
        """End a platform's admission to a pool: it may report and retract nothing more."""
        request = pb.ExpelPlatformRequest(pool=pool_name(pool), platform=f"platforms/{platform}")
        return self._connection.unary(self._registry.ExpelPlatform, request, repeat=True)

    @verb
    def create_policy(self, pool: str, policy: pb.Policy, *, validate_only: bool = False) -> Steps[pb.Policy]:
        """Log a pool's next policy, in force from the next round that starts after it."""
        request = pb.CreatePolicyRequest(parent=pool_name(pool), policy=policy, validate_only=validate_only)
        return self._connection.unary(self._registry.CreatePolicy, request, repeat=True)

    @listing
    def list_policies(self, pool: str) -> Pages[pb.Policy]:
        """Return a pool's policies, oldest first."""
        request = pb.ListPoliciesRequest(parent=pool_name(pool), page_size=PAGE_SIZE)
        return self._connection.pages(self._registry.ListPolicies, request, lambda page: page.policies)

    @verb
    def create_method(
        self, pool: str, method_id: str, method: pb.Method, *, validate_only: bool = False
    ) -> Steps[pb.Method]:
        """Log a method, or the next version of one."""
        request = pb.CreateMethodRequest(
            parent=pool_name(pool), method_id=method_id, method=method, validate_only=validate_only
        )
        return self._connection.unary(self._registry.CreateMethod, request, repeat=True)

    @listing
    def list_methods(self, pool: str) -> Pages[pb.Method]:
        """Give every version of a pool's methods, in the order of the log."""
        request = pb.ListMethodsRequest(parent=pool_name(pool), page_size=PAGE_SIZE)
        return self._connection.pages(self._registry.ListMethods, request, lambda page: page.methods)

    @verb
    def create_membership(
        self, pool: str, membership_id: str, membership: Mapping[str, str], *, validate_only: bool = False
    ) -> Steps[pb.Membership]:
        """Log which collective each source belongs to, or the next version of it.

        Methods of raw scores name a membership; a batch uses its latest version at acceptance, whole: a source that
        is not in that version is nobody's.

        Raises:
            InvalidUsageError: an id is not allowed in a membership.
        """
        request = pb.CreateMembershipRequest(
            parent=pool_name(pool),
            membership_id=membership_id,
            body=render_membership(membership),
            validate_only=validate_only,
        )
        return self._connection.unary(self._registry.CreateMembership, request, repeat=True)

    @listing
    def list_memberships(self, pool: str) -> Pages[pb.Membership]:
        """Give every version of a pool's memberships, in the order of the log."""
        request = pb.ListMembershipsRequest(parent=pool_name(pool), page_size=PAGE_SIZE)
        return self._connection.pages(self._registry.ListMemberships, request, lambda page: page.memberships)

    @verb
    def get_membership(self, pool: str, membership_id: str, *, version: int = 0) -> Steps[dict[str, str]]:
        """Return the collective of each source in a membership; by default in its latest version."""
        request = pb.GetMembershipRequest(name=f"pools/{pool}/memberships/{membership_id}", version=version)
        body = yield from self._connection.read_stream(self._registry.GetMembership, request, Joined)
        return parse_membership(body)

    @verb
    def update_schedule(self, pool: str, schedule: pb.Schedule, *, validate_only: bool = False) -> Steps[pb.Schedule]:
        """Set when a pool's rounds are cut. Fire times count from now on."""
        content = pb.Schedule()
        content.CopyFrom(schedule)
        content.name = f"pools/{pool}/schedule"
        request = pb.UpdateScheduleRequest(schedule=content, validate_only=validate_only)
        return self._connection.unary(self._registry.UpdateSchedule, request, repeat=False)

    @verb
    def get_schedule(self, pool: str) -> Steps[pb.Schedule]:
        """Return a pool's schedule.

        Raises:
            NotFoundError: the pool has no schedule.
        """
        request = pb.GetScheduleRequest(name=f"pools/{pool}/schedule")
        return self._connection.unary(self._registry.GetSchedule, request, repeat=True)

    @verb
    def create_api_key(
        self,
        principal: str,
        key_hash: str,
        *,
        expire_time: datetime | None = None,
        pools: Iterable[str] = (),
        kind: pb.KeyKind.ValueType = pb.KEY_KIND_UNSPECIFIED,
        issuer: str = "",
    ) -> Steps[pb.ApiKey]:
        """Issue an API key to `operators/{id}`, `platforms/{platform}`, `collectives/{collective}` or `auditors/{id}`.

        Args:
            principal: the owner of the key.
            key_hash: `moiety.make_key().hash`, made where the key will be used; the secret stays there.
            expire_time: when it ends.
            pools: the ids of the only pools that it opens; all of them by default.
            kind: by what its owner shows that it is theirs; a secret by default.
            issuer: the OpenID provider of an identity.
        """
        key = pb.ApiKey(principal=principal, pools=map(pool_name, pools), kind=kind, issuer=issuer)
        if expire_time is not None:
            key.expire_time.FromDatetime(expire_time)
        request = pb.CreateApiKeyRequest(api_key=key, hash=key_hash)
        return self._connection.unary(self._registry.CreateApiKey, request, repeat=True)

    @listing
    def list_api_keys(self) -> Pages[pb.ApiKey]:
        """Return all API keys, without their secrets."""
        request = pb.ListApiKeysRequest(page_size=PAGE_SIZE)
        return self._connection.pages(self._registry.ListApiKeys, request, lambda page: page.api_keys)

    @verb
    def revoke_api_key(self, key: str) -> Steps[pb.ApiKey]:
        """End an API key at once and for ever. Repeating it changes nothing."""
        request = pb.RevokeApiKeyRequest(name=f"keys/{key}")
        return self._connection.unary(self._registry.RevokeApiKey, request, repeat=True)

    @verb
    def update_principal(self, principal: str, *, suspended: bool = False) -> Steps[pb.Principal]:
        """Register `operators/{id}` or `auditors/{id}`, or suspend it, or let it act again."""
        status = pb.PRINCIPAL_STATUS_SUSPENDED if suspended else pb.PRINCIPAL_STATUS_ACTIVE
        request = pb.UpdatePrincipalRequest(principal=pb.Principal(name=principal, status=status))
        return self._connection.unary(self._registry.UpdatePrincipal, request, repeat=True)

    @listing
    def list_principals(self) -> Pages[pb.Principal]:
        """Give operators and auditors by name."""
        request = pb.ListPrincipalsRequest(page_size=PAGE_SIZE)
        return self._connection.pages(self._registry.ListPrincipals, request, lambda page: page.principals)

    @verb
    def get_controls(self) -> Steps[pb.Controls]:
        """Give how many people each kind of act needs."""
        return self._connection.unary(self._registry.GetControls, pb.GetControlsRequest(), repeat=True)

    @verb
    def update_controls(self, controls: pb.Controls) -> Steps[pb.Controls]:
        """Change how many people acts need."""
        request = pb.UpdateControlsRequest(controls=controls)
        return self._connection.unary(self._registry.UpdateControls, request, repeat=True)

    @verb
    def get_timing_witnesses(self) -> Steps[pb.TimingWitnesses]:
        """Give the policy of the witnesses by whom reviews of rounds are timed; empty if there are none."""
        request = pb.GetTimingWitnessesRequest()
        return self._connection.unary(self._registry.GetTimingWitnesses, request, repeat=True)

    @verb
    def update_timing_witnesses(self, policy: str) -> Steps[pb.TimingWitnesses]:
        """Name the witnesses by whom reviews of rounds are timed, by a witness policy; the empty text names none."""
        witnesses = pb.TimingWitnesses(policy=policy)
        request = pb.UpdateTimingWitnessesRequest(witnesses=witnesses)
        return self._connection.unary(self._registry.UpdateTimingWitnesses, request, repeat=True)

    @verb
    def set_contact(self, principal: str, email: str, language: str = "en") -> Steps[pb.Contact]:
        """Say where an operator or a collective is written to; `principal` is `collectives/{id}` or `operators/{id}`.

        An empty `email` is sent nothing. The address before hears of it.
        """
        contact = pb.Contact(name=f"{principal}/contact", email=email, language=language)
        request = pb.SetContactRequest(contact=contact)
        return self._connection.unary(self._registry.SetContact, request, repeat=True)

    @verb
    def get_contact(self, principal: str) -> Steps[pb.Contact]:
        """Give where an operator or a collective is written to."""
        request = pb.GetContactRequest(name=f"{principal}/contact")
        return self._connection.unary(self._registry.GetContact, request, repeat=True)

    @verb
    def get_proposed_contact(self, proposal: str) -> Steps[pb.ProposedContact]:
        """Give the contact that a proposal would set, beside the one that holds."""
        request = pb.GetProposedContactRequest(name=proposal)
        return self._connection.unary(self._registry.GetProposedContact, request, repeat=True)
