// Submits usage to Moiety from TypeScript: one Arrow batch over AppendUsage, and what became of it.
//
//   npm ci && npm run generate && npm run build
//   MOIETY_ADDRESS=127.0.0.1:50051 MOIETY_API_KEY=moiety_... node dist/submit.js folk melody-ngram
//
// `buf` generates gen/ from proto/contract.binpb, by the template beside this file.
import { createHash } from "node:crypto";

import { type Interceptor, Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import {
  type DataType, Dictionary, Field, FixedSizeBinary, Int32, Int64, List, Table, TimestampMicrosecond, Uint8, Utf8,
  tableToIPC, vectorFromArray,
} from "apache-arrow";

import { IdScheme, Mode, UsageService } from "./gen/moiety/v1/usage_pb.js";

const [pool = "folk", method = "melody-ngram"] = process.argv.slice(2);
const { MOIETY_ADDRESS: address = "127.0.0.1:50051", MOIETY_API_KEY: key = "" } = process.env;
const NANO = 1_000_000_000;

// What a service of yours knows. An id of your own makes the event's UUID, so that a second submission changes nothing.
const plays = ["play-1", "play-2", "play-3"].map((id, place) => ({
  id,
  at: Date.parse("2026-01-05T10:00:00Z") + place * 1000,
  shares: { irish: 0.6 * NANO, scottish: 0.25 * NANO },
}));

const body = tableToIPC(tableOf(plays), "stream");
// The bytes name the batch: sending it again gives the first receipt.
const batchId = `sha256-${createHash("sha256").update(body).digest("hex").slice(0, 32)}`;

const withKey: Interceptor = (next) => (request) => {
  request.header.set("authorization", `Bearer ${key}`);
  return next(request);
};
// gRPC, since AppendUsage streams both ways; `https://` where the service has a certificate.
const transport = createGrpcTransport({ baseUrl: `http://${address}`, interceptors: [withKey] });
const client = createClient(UsageService, transport);

async function* batches() {
  yield { parent: `pools/${pool}`, batchId, methodId: method, arrowStream: body, idScheme: IdScheme.OWN };
}

try {
  for await (const { batchId, result } of client.appendUsage(batches(), { timeoutMs: 60_000 })) {
    if (result.case === "receipt") {
      const { acceptedCount, duplicateCount, leafIndex } = result.value;
      console.log(`${acceptedCount} events accepted, ${duplicateCount} duplicates; leaf ${leafIndex}`);
    } else if (result.case === "error") {
      console.error(`${batchId}: ${result.value.message}`);
      process.exitCode = 2;
    }
  }
} catch (thrown) {
  const error = ConnectError.from(thrown);
  console.error(`${Code[error.code]}: ${error.rawMessage}`);
  process.exitCode = 5;
}

// The columns in the order of docs/languages.md, each with its exact type.
function tableOf(rows: typeof plays): Table {
  const ids = listOf(new Dictionary(new Utf8(), new Int32()));
  return new Table({
    event_id: vectorFromArray(rows.map(({ id }) => eventId(id)), new FixedSizeBinary(16)),
    work_id: vectorFromArray(rows.map(({ id }) => `urn:tune:${id}`), new Utf8()),
    occurred_at: vectorFromArray(rows.map(({ at }) => at), new TimestampMicrosecond("UTC")),
    units: vectorFromArray(rows.map(() => 1n), new Int64()),
    mode: vectorFromArray(rows.map(() => Mode.AI_ONLY), new Uint8()),
    collectives: vectorFromArray(rows.map(({ shares }) => Object.keys(shares)), ids),
    shares: vectorFromArray(rows.map(({ shares }) => Object.values(shares)), listOf(new Int32())),
  });
}

function listOf<T extends DataType>(type: T): List<T> {
  return new List(new Field("item", type, true));
}

// The event id of an id of one's own, as moiety.event_id_of makes it: a UUID (version 8) of its hash.
function eventId(id: string): Uint8Array {
  const bytes = createHash("sha256").update(id).digest().subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return new Uint8Array(bytes);
}
