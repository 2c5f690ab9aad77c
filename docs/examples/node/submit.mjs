// Submits usage to Moiety from Node.js: one Arrow batch over AppendUsage, and what became of it.
//
//   npm ci
//   MOIETY_ADDRESS=127.0.0.1:50051 MOIETY_API_KEY=moiety_... node submit.mjs folk melody-ngram
//
// The contract is read from proto/contract.binpb, so nothing is generated.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";
import {
  Dictionary, Field, FixedSizeBinary, Int32, Int64, List, Table, TimestampMicrosecond, Uint8, Utf8,
  tableToIPC, vectorFromArray,
} from "apache-arrow";

const [pool, method] = process.argv.slice(2);
const { MOIETY_ADDRESS: address = "127.0.0.1:50051", MOIETY_API_KEY: key } = process.env;
const NANO = 1_000_000_000;

// What a service of yours knows. An id of your own makes the event's UUID, so that a second submission changes nothing.
const plays = ["play-1", "play-2", "play-3"].map((id, place) => ({
  id,
  at: Date.parse("2026-01-05T10:00:00Z") + place * 1000,
  shares: { irish: 0.6 * NANO, scottish: 0.25 * NANO },
}));

// The columns in the order of docs/arrow.md, each with its exact type.
const list = (type) => new List(new Field("item", type, true));
const ids = list(new Dictionary(new Utf8(), new Int32()));
const table = new Table({
  event_id: vectorFromArray(plays.map((play) => eventId(play.id)), new FixedSizeBinary(16)),
  work_id: vectorFromArray(plays.map((play) => `urn:tune:${play.id}`), new Utf8()),
  occurred_at: vectorFromArray(plays.map((play) => play.at), new TimestampMicrosecond("UTC")),
  units: vectorFromArray(plays.map(() => 1n), new Int64()),
  mode: vectorFromArray(plays.map(() => 1), new Uint8()), // AI_ONLY
  collectives: vectorFromArray(plays.map((play) => Object.keys(play.shares)), ids),
  shares: vectorFromArray(plays.map((play) => Object.values(play.shares)), list(new Int32())),
});
const body = Buffer.from(tableToIPC(table, "stream"));

const contract = protoLoader.loadFileDescriptorSetFromBuffer(
  readFileSync(new URL("../../../proto/contract.binpb", import.meta.url)),
  { keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true },
);
const { moiety } = grpc.loadPackageDefinition(contract);
const client = new moiety.v1.UsageService(address, grpc.credentials.createInsecure());

const metadata = new grpc.Metadata();
metadata.set("authorization", `Bearer ${key}`);

const stream = client.AppendUsage(metadata);
stream.on("data", ({ batch_id, receipt, error }) => {
  if (error) {
    console.error(`${batch_id}: ${error.message}`);
    process.exitCode = 2;
  } else {
    console.log(`${receipt.accepted_count} events accepted, ${receipt.duplicate_count} duplicates; leaf ${receipt.leaf_index}`);
  }
});
stream.on("error", (error) => {
  console.error(error.message);
  process.exitCode = 5;
});
// The bytes name the batch: sending it again gives the first receipt.
const batchId = `sha256-${createHash("sha256").update(body).digest("hex").slice(0, 32)}`;
stream.write({
  parent: `pools/${pool}`, batch_id: batchId, method_id: method, arrow_stream: body, id_scheme: "ID_SCHEME_OWN",
});
stream.end();

// The event id of an id of one's own, as moiety.event_id_of makes it: a UUID (version 8) of its hash.
function eventId(id) {
  const bytes = createHash("sha256").update(id).digest().subarray(0, 16);
  bytes[6] = (bytes[6] & 0x0f) | 0x80;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return new Uint8Array(bytes);
}
