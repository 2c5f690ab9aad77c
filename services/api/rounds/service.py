"""The rounds service."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Final

import grpc
import sqlalchemy as sa

from ledger.acts.act import COLLECTIVES, ActContent
from ledger.errors import InvalidInputError, Sentence, StateError
from ledger.log.merkle import HASH_BYTES
from ledger.money import MAX_BALANCE_MINOR
from ledger.registry import require_range, require_request_id, require_resource_id, require_text
from ledger.store.kept import Kept
from ledger.store.logs import log
from ledger.store.logs.log import REGISTRY, PoolRef
from ledger.store.registry.proposals import get_proposal
from moiety.v1 import rounds_pb2 as pb
from moiety.v1 import rounds_pb2_grpc
from payout.fairness import PUBLIC_PAYEES_MIN, FairnessReport, fairness_report, in_percents
from payout.objections import Answer
from payout.splits import MAX_LINES, MAX_RULE, SplitContent
from payout.statement import page_of_lines, parse_statement
from payout.store import objections, rounds
from payout.store.policies import get_policy, list_policies
from payout.store.round_tables import lines_of_table, page_of_table
from payout.store.rounds import RoundRecord
from services.access.keys import Role
from services.access.permissions import actor, caller, own_id, require_own
from services.api import convert
from services.api.chunks import chunks
from services.api.convert.common import enum_name
from services.api.names import ids_in, only_id, page_limit, place_in
from services.api.pages import page_of
from services.api.resources import pool_of, proposal_in, round_of
from services.api.rounds.statement_files import StatementFiles
from services.parts import Parts

MAX_KEPT_REPORTS: Final = 100
"""Each has a hundred points. Making one takes ten microseconds a line of the round."""


def _table(
    connection: sa.Connection, name: str, field: str, part: pb.StatementPart.ValueType = pb.STATEMENT_PART_LINES
) -> tuple[PoolRef, bytes]:
    """Returns the pool of a round, and the hash of one of the round's tables."""
    pool, number = round_of(connection, name, field)
    content = rounds.get_round(connection, pool, number).content
    digest = {
        pb.STATEMENT_PART_WEIGHTS: content.weights_sha256,
        pb.STATEMENT_PART_REGISTRY: content.registry_sha256,
    }.get(part, content.statement_sha256)
    return pool, bytes.fromhex(digest)


class RoundsService(rounds_pb2_grpc.RoundsServiceServicer):
    """Calculating, deciding and showing rounds."""

    def __init__(self, parts: Parts) -> None:
        self._database, self._readers = parts.database, parts.readers
        self._settlement, self._acts = parts.settlement, parts.acts
        self._heavy = parts.heavy
        self._statement_files = StatementFiles()
        self._reports = Kept[FairnessReport](MAX_KEPT_REPORTS)

    def PreviewRound(
        self, request: pb.PreviewRoundRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.PreviewRoundResponse]:
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
        policy = convert.policy_from_proto(request.policy) if request.HasField("policy") else None
        number = require_range(request.number, "number", 0, 10**9 - 1)
        act = self._proposed(pool, request) if request.proposal else None
        with self._heavy.passed(caller().name):
            calculation = self._settlement.preview(pool, number=number, policy=policy, act=act)
        with self._database.transaction() as connection:
            logged = get_policy(connection, pool, calculation.content.policy_version)
        message = convert.preview_to_proto(
            pool.currency, calculation.content, replace(logged, policy=calculation.policy)
        )
        yield pb.PreviewRoundResponse(round=message)
        for chunk in chunks(calculation.statement):
            yield pb.PreviewRoundResponse(statement_chunk=chunk)

    def _proposed(self, pool: PoolRef, request: pb.PreviewRoundRequest) -> ActContent:
        if request.HasField("policy"):
            raise InvalidInputError.of("proposal", "must not be combined with policy")
        with self._database.transaction() as connection:
            of_log, leaf_index = proposal_in(connection, request.proposal, "proposal")
            if of_log not in (pool, REGISTRY):
                raise InvalidInputError.of("proposal", "must be of this pool or of the registry")
            return self._acts.proposed_act(get_proposal(connection, of_log, leaf_index))

    def CalculateRound(self, request: pb.CalculateRoundRequest, context: grpc.ServicerContext) -> pb.Round:
        require_request_id(request.request_id, "request_id")
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
        with self._heavy.passed(caller().name):
            calculated = self._settlement.calculate(pool, actor(), request.request_id)
        return self._round(pool, calculated)

    def ApproveRound(self, request: pb.ApproveRoundRequest, context: grpc.ServicerContext) -> pb.Round:
        with self._database.transaction() as connection:
            pool, number = round_of(connection, request.name, "name")
        with self._heavy.passed(caller().name):
            approved = self._settlement.approve(pool, number, actor())
        return self._round(pool, approved)

    def RejectRound(self, request: pb.RejectRoundRequest, context: grpc.ServicerContext) -> pb.Round:
        with self._database.transaction() as connection:
            pool, number = round_of(connection, request.name, "name")
        return self._round(pool, self._settlement.reject(pool, number, actor(), request.reason))

    def ObjectToRound(self, request: pb.ObjectToRoundRequest, context: grpc.ServicerContext) -> pb.Objection:
        with self._database.transaction() as connection:
            pool, number = round_of(connection, request.name, "name")
        return convert.objection_to_proto(pool.name, self._settlement.object_to(pool, number, actor(), request.reason))

    def ListObjections(
        self, request: pb.ListObjectionsRequest, context: grpc.ServicerContext
    ) -> pb.ListObjectionsResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, "")
        with self._database.transaction() as connection:
            pool, number = round_of(connection, request.parent, "parent")
            rounds.get_round(connection, pool, number)
            own = own_id(Role.COLLECTIVE)
            found = list(objections.list_objections(connection, pool, number, only=own, after=after, limit=limit))
        listed, token = page_of(
            found, limit, partial(convert.objection_to_proto, pool.name), lambda each: (each.collective,)
        )
        return pb.ListObjectionsResponse(objections=listed, next_page_token=token)

    def AnswerObjection(self, request: pb.AnswerObjectionRequest, context: grpc.ServicerContext) -> pb.Objection:
        pool_id, round_id, collective = ids_in(request.name, "pools/*/rounds/*/objections/*", "name")
        require_resource_id(collective, "name")
        answer = enum_name(pb.ObjectionAnswer, request.answer, "", "answer")
        if not answer:
            raise InvalidInputError.of("answer", "is required")
        with self._database.transaction() as connection:
            pool, number = round_of(connection, f"pools/{pool_id}/rounds/{round_id}", "name")
        found = self._settlement.answer(pool, number, collective, Answer(answer), actor(), request.reason)
        return convert.objection_to_proto(pool.name, found)

    def GetRound(self, request: pb.GetRoundRequest, context: grpc.ServicerContext) -> pb.Round:
        with self._database.transaction() as connection:
            pool, number = round_of(connection, request.name, "name")
            record = rounds.get_round(connection, pool, number)
        return self._round(pool, record)

    def ListRounds(self, request: pb.ListRoundsRequest, context: grpc.ServicerContext) -> pb.ListRoundsResponse:
        end = rounds.AFTER_ALL if request.newest_first else 0
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, end)
        with self._readers.database_for(request.parent).transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            found = rounds.list_rounds(connection, pool, after=after, limit=limit, newest_first=request.newest_first)
            policies = {logged.version: logged for logged in list_policies(connection, pool)}
            listed, token = page_of(
                found,
                limit,
                lambda record: convert.round_to_proto(
                    pool.name, pool.currency, record, policies[record.content.policy_version]
                ),
                lambda record: (record.content.number,),
            )
        return pb.ListRoundsResponse(rounds=listed, next_page_token=token)

    def ListAllocations(
        self, request: pb.ListAllocationsRequest, context: grpc.ServicerContext
    ) -> pb.ListAllocationsResponse:
        limit, (place,) = page_limit(request.page_size), place_in(request.page_token, 0)
        own, after = own_id(Role.COLLECTIVE), max(place, 0)
        with self._readers.database_for(request.parent).transaction() as connection:
            pool, digest = _table(connection, request.parent, "parent")
            if own is None:
                wanted = page_of_table(connection, pool, digest, after, limit)
            else:
                wanted = page_of_lines(lines_of_table(connection, pool, digest, own).table, after, limit)
        page = list(enumerate(parse_statement(wanted), after + 1))
        allocations, token = page_of(page, limit, lambda row: convert.allocation_to_proto(row[1]), lambda row: row[:1])
        return pb.ListAllocationsResponse(allocations=allocations, next_page_token=token)

    def GetStatement(
        self, request: pb.GetStatementRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.GetStatementResponse]:
        own = own_id(Role.COLLECTIVE)
        wanted = only_id(request.collective, "collectives", "collective") if request.collective else own
        require_own(Role.COLLECTIVE, wanted, request.collective)
        with self._readers.database_for(request.name).transaction() as connection:
            pool, digest = _table(connection, request.name, "name", request.part)
            if wanted is None:
                content = log.checked_body(connection, pool, digest)
            else:
                content = lines_of_table(connection, pool, digest, wanted).table
        for chunk in chunks(content):
            yield pb.GetStatementResponse(chunk=chunk)

    def GetStatementFile(
        self, request: pb.GetStatementFileRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.GetStatementFileResponse]:
        wanted = (
            only_id(request.collective, "collectives", "collective") if request.collective else own_id(Role.COLLECTIVE)
        )
        if wanted is None:
            raise InvalidInputError.of("collective", "is required")
        require_own(Role.COLLECTIVE, wanted, request.collective)
        with self._heavy.passed(caller().name), self._database.snapshot() as connection:
            pool, number = round_of(connection, request.name, "name")
            file = self._statement_files.make(connection, pool, number, wanted)
        for chunk in chunks(file.to_bytes()):
            yield pb.GetStatementFileResponse(chunk=chunk)

    def LogSplit(self, request: pb.LogSplitRequest, context: grpc.ServicerContext) -> pb.Split:
        require_text(request.rule, "rule", least=1, most=MAX_RULE)
        if len(request.split_root) != HASH_BYTES:
            raise InvalidInputError.of(
                "split_root", "must have %(bytes)s bytes, got %(got)s", bytes=HASH_BYTES, got=len(request.split_root)
            )
        with self._database.transaction() as connection:
            pool, number = round_of(connection, request.name, "name")
        by = actor()
        asked = SplitContent(
            round=number,
            round_hash="0" * 64,
            collective=by.name.removeprefix(COLLECTIVES),
            amount_minor=require_range(request.amount_minor, "amount_minor", 0, MAX_BALANCE_MINOR),
            lines=require_range(request.line_count, "line_count", 1, MAX_LINES),
            split_root=request.split_root.hex(),
            rule=request.rule,
        )
        return convert.split_to_proto(pool.name, self._settlement.split(pool, by, asked))

    def GetFairness(self, request: pb.GetFairnessRequest, context: grpc.ServicerContext) -> pb.Fairness:
        with self._readers.database_for(request.name).transaction() as connection:
            pool, number = round_of(connection, request.name, "name")
            record = rounds.get_round(connection, pool, number)
        report = self._reports.find(record.hash)
        if report is None:
            with self._heavy.passed(caller().name):
                report = self._reports.find(record.hash) or self._report(request.name, pool, record)
            self._reports.keep(record.hash, report)
        if own_id(Role.COLLECTIVE) is None:
            return convert.fairness_to_proto(report)
        if report.payees < PUBLIC_PAYEES_MIN:
            detail = Sentence(
                "paid %(payees)s collectives; how evenly is told to collectives from %(least)s on",
                payees=report.payees,
                least=PUBLIC_PAYEES_MIN,
            )
            raise StateError(request.name, "FEW_PAYEES", detail)
        return convert.fairness_to_proto(in_percents(report))

    def _report(self, name: str, pool: PoolRef, record: RoundRecord) -> FairnessReport:
        with self._readers.database_for(name).transaction() as connection:
            policy = get_policy(connection, pool, record.content.policy_version).policy
            statement = log.checked_body(connection, pool, bytes.fromhex(record.content.statement_sha256))
        return fairness_report(
            record.content,
            parse_statement(statement),
            ai_only_ppm=policy.ai_only_ppm,
            human_ai_ppm=policy.human_ai_ppm,
        )

    def _round(self, pool: PoolRef, record: RoundRecord) -> pb.Round:
        with self._database.transaction() as connection:
            policy = get_policy(connection, pool, record.content.policy_version)
        return convert.round_to_proto(pool.name, pool.currency, record, policy)
