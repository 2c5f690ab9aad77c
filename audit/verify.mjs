// Verifies a statement file with the deployment's public key alone: in browsers and in Node, without a server and
// without any other module. It does what audit/statement_check.py does, step by step; test vectors hold the two
// together. `check(bytes, vkey)` checks all; `steps(bytes, vkey)` yields each step as it is done. Both also take who else
// is trusted: `witnesses` that must have cosigned, `policies` that say how many of whom, `changes` of the key.
//
//   node verify.mjs FILE VKEY [WITNESS-VKEY...] [--witness-policy FILE] [--key-change FILE]

/** What is checked, in order. */
export const TITLES = {
  form: 'the file has its form',
  signatures: 'both checkpoints are signed',
  entries: 'every entry is in its log',
  line: 'your line is the one that the round commits to',
  terms: 'policy, methods and registry are those logged',
  approval: 'who calculated and approved it',
  weight: 'your weight follows from your usage',
  amount: 'your amount follows from your weight',
  adjustments: 'what later adjustments made of it',
  payments: 'what was paid',
  member: 'the line of a member is one of the split',
};

export const VERDICT =
  'Your line is the committed one and follows. That all lines sum to the pot, and that no usage was left out, '
  + "is the auditor's check.";

const FORMAT = 'moiety-statement.v1';
const NANO = 10n ** 9n;
const PPM = 10n ** 6n;

// The limits of docs/verification.md, and of the Python check: they keep the work in proportion to the file.
const MOST_BYTES = 2 ** 24;
const MOST_OF_A_NOTE = 2 ** 20;
const MOST_OF_AN_ENTRY = 2 ** 16 - 1;
const MOST_SIGNATURES = 100;
const MOST_DEPTH = 100;
const MOST_CHANGES = 1_000;
const MOST_MOVED = 10n ** 15n;
const DECIMAL = /^(0|-?[1-9][0-9]{0,4299})$/;
const FRACTION = /^(0|[1-9][0-9]{0,4299})\/[1-9][0-9]{0,4299}$/;

class Refused extends Error {}

/**
 * Checks a statement file.
 * @param {Uint8Array} bytes the file
 * @param {string} vkey the deployment's public key, or that of one of its logs
 * @param {{witnesses?: string[], policies?: Uint8Array[], changes?: Uint8Array[]}} trust the public keys of witnesses
 *   that must have cosigned, witness policies (c2sp.org/tlog-policy), and files of changes of the deployment's key
 * @returns {Promise<{holds: boolean, held: string[], failed: string|null, reason: string, facts: object}>}
 */
export async function check(bytes, vkey, trust = {}) {
  const report = { holds: true, held: [], failed: null, reason: '', facts: {} };
  for await (const step of steps(bytes, vkey, trust)) {
    Object.assign(report.facts, step.facts);
    if (step.held) report.held.push(step.name);
    else Object.assign(report, { holds: false, failed: step.name, reason: step.reason });
  }
  return report;
}

/**
 * Does one step after the other, and ends after the first that does not hold.
 * @yields {{name: string, title: string, held: boolean, reason: string, facts: object}}
 */
export async function* steps(bytes, vkey, { witnesses = [], policies = [], changes = [] } = {}) {
  const reading = { bytes, vkey, witnesses, policies, changes, facts: {} };
  for (const [name, run] of Object.entries(CHECKS)) {
    let reason = '';
    try {
      await run(reading);
    } catch (error) {
      reason = error instanceof Refused ? error.message : 'an entry lacks what it must say';
    }
    const held = reason === '';
    yield { name, title: TITLES[name], held, reason, facts: held ? { ...reading.facts } : {} };
    if (!held) return;
  }
}

// 1. The form: one JSON document, in the only spelling that RFC 8785 gives it.

function checkForm(reading) {
  require(reading.bytes.length <= MOST_BYTES, `a file has at most ${MOST_BYTES} bytes`);
  const file = parsed(reading.bytes, 'the file');
  shape(file, 'format', 'pool', 'registry', 'statement', ...['adjusted', 'booked', 'member'].filter((name) => name in file));
  require(file.format === FORMAT, `the format must be ${FORMAT}`);
  shape(file.statement, 'dossier', 'path', 'salt');
  for (const part of [file.pool, file.registry]) {
    shape(part, 'checkpoint', 'entries');
    require(typeof part.checkpoint === 'string' && Array.isArray(part.entries), 'a log lacks what it must have');
    for (const proved of part.entries) {
      shape(proved, 'entry', 'path');
      require(typeof proved.entry === 'string', 'an entry is no text');
      proved.path = path(proved.path);
    }
  }
  require(/^[0-9a-f]{64}$/.test(file.statement.salt), 'the salt must have 64 hexadecimal digits');
  require(typeof file.statement.dossier === 'string', 'the dossier is no text');
  file.statement.path = path(file.statement.path);
  if ('member' in file) memberForm(file.member);
  for (const name of ['adjusted', 'booked']) if (name in file) linesForm(file[name]);
  reading.file = file;
  reading.dossier = dossierOf(utf8(file.statement.dossier));
  Object.assign(reading.facts, {
    round: reading.dossier.totals.round, collective: reading.dossier.line.collective,
  });
}

const DECIMALS = ['events', 'weight_ai_only', 'weight_human_ai', 'deficit_before', 'weight', 'deficit_after',
  'attributed_minor', 'commons_minor', 'amount_minor'];
const FRACTIONS = ['attributed_before_nano', 'attributed_after_nano', 'commons_before_nano', 'commons_after_nano'];
const TOTALS = ['pot_minor', 'fee_minor', 'weight', 'weight_unattributed'];

/** The dossier, with its figures as BigInt. */
function dossierOf(bytes) {
  const { position, line, registry, terms, totals, weights, ...more } = parsed(bytes, 'the dossier');
  require(Object.keys(more).length === 0 && Array.isArray(weights), 'the dossier lacks what it must have');
  shape(line, 'collective', 'status', ...DECIMALS, ...FRACTIONS);
  shape(registry, 'members', 'equity_ppm');
  shape(terms, 'policy', 'policy_version');
  fits(terms.policy, 'policy');
  shape(totals, 'round', 'lines', 'attributed_k', 'commons_k', ...TOTALS);
  require(typeof line.collective === 'string' && ['ACTIVE', 'SUSPENDED'].includes(line.status), 'the line is no line');
  integers(position, registry.members, registry.equity_ppm, terms.policy_version, totals.round, totals.lines,
    ...FRACTIONS.map((name) => line[name]));
  const figures = {};
  for (const name of DECIMALS) figures[name] = figure(name, line[name]);
  for (const name of FRACTIONS) figures[name] = BigInt(line[name]);
  const sums = { attributed_k: totals.attributed_k === null ? null : fraction(totals.attributed_k) };
  for (const name of TOTALS) sums[name] = figure(name, totals[name]);
  return {
    position,
    line: { collective: line.collective, status: line.status, ...figures },
    registry,
    terms,
    totals: { round: totals.round, lines: totals.lines, ...sums, commons_k: fraction(totals.commons_k) },
    weights: weights.map((each) => {
      shape(each, 'method', 'method_version', 'mode', 'confidence_ppm', 'events', 'weight');
      require(typeof each.method === 'string', 'a method is no text');
      integers(each.method_version, each.mode, each.confidence_ppm);
      return { ...each, events: decimal(each.events), weight: decimal(each.weight) };
    }),
  };
}

// 2. The signatures: a C2SP checkpoint of each log, by the deployment's Ed25519 key under the log's name.

async function checkSignatures(reading) {
  const { name: named, key } = await verifierKey(reading.vkey);
  const deployment = (splitOrigin(named) ?? [named])[0];
  reading.deployment = deployment;
  const notes = [reading.file.pool, reading.file.registry].map((part) => noteOf(part.checkpoint, 'a checkpoint'));
  const logs = notes.map((note) => ({ note, ...checkpointOf(note.text) }));
  const [{ origin }] = logs;
  const pool = (splitOrigin(origin) ?? [])[1];
  require(pool !== undefined && pool !== 'registry', "the checkpoint is not a pool's");
  require(origin === `${deployment}/pools/${pool}`, 'a checkpoint is of another log');
  require(logs[1].origin === `${deployment}/registry`, 'a checkpoint is of another log');
  const policies = [allOf(await Promise.all(reading.witnesses.map((each) => verifierKey(each, WITNESS))))];
  for (const each of reading.policies) policies.push(await witnessPolicy(each));
  const isFor = (log) => [deployment, origin].includes(log.name) && hex(log.key) === hex(key);
  for (const policy of policies) {
    require(!policy.logs.length || policy.logs.some(isFor), 'a witness policy is for other logs');
  }
  const vouched = policies.some((policy) => policy.quorum !== NOBODY);
  const newest = await newestKey(reading.file.registry.entries, deployment, key, vouched);
  const keys = chainOf(newest, await Promise.all(reading.changes.map((each) => keyChange(each, deployment))));
  for (const log of logs) log.signer = await logSigner(log, keys, vouched);
  const asked = policies.flatMap((policy) => [...policy.witnesses.values()]);
  const known = [...await namedWitnesses(reading.file.registry), ...asked];
  for (const log of logs) log.cosigners = await cosignersOf(log, known);
  for (const { cosigners } of logs) for (const policy of policies) requireMet(policy, cosigners);
  reading.checkpoints = { pool: logs[0], registry: logs[1] };
  const [names, others] = logs.map(({ cosigners }) => cosigners.map((each) => each.name));
  Object.assign(reading.facts, {
    origin,
    pool,
    size: stated(logs[0].size),
    registry_size: stated(logs[1].size),
    cosigned_by: [...new Set(names.filter((each) => others.includes(each)))].sort(),
  });
}

/** A size for people: JSON has no BigInt. */
const stated = (size) => (size <= Number.MAX_SAFE_INTEGER ? Number(size) : `${size}`);

/** The keys in the witness policies that the file's entries of the registry have, which are verified later. */
async function namedWitnesses(registry) {
  const found = [];
  for (const { entry } of registry.entries) {
    try {
      const { policy, type } = parsed(utf8(entry), 'an entry');
      for (const line of type === 'witnesses.v1' ? policy.split('\n') : []) {
        const [word, , vkey] = line.split(/[ \t]+/);
        if (word === 'witness' && vkey !== undefined) found.push(await verifierKey(vkey, WITNESS));
      }
    } catch {
      // What cannot be read is said where the entries are checked.
    }
  }
  return found;
}

const NOBODY = 'none';

/** The policy that each of these witnesses must have cosigned. */
function allOf(keys) {
  const witnesses = new Map(keys.map((each) => [`${each.name}+${hex(each.key)}`, each]));
  const members = [...witnesses.keys()];
  if (!members.length) return { quorum: NOBODY, witnesses, groups: new Map(), logs: [] };
  return { quorum: 'all', witnesses, groups: new Map([['all', { threshold: members.length, members }]]), logs: [] };
}

function requireMet({ groups, quorum, witnesses }, cosigners) {
  const have = new Set();
  for (const [name, witness] of witnesses) if (cosigners.some((each) => sameKey(each, witness))) have.add(name);
  for (const [name, { threshold, members }] of groups) {
    if (members.filter((each) => have.has(each)).length >= threshold) have.add(name);
  }
  const missing = [...witnesses].filter(([name]) => !have.has(name)).map(([, { name }]) => name);
  require(quorum === NOBODY || have.has(quorum), `${missing.join(', ')} did not cosign: the witnesses asked for are missing`);
}

const MOST_OF_A_POLICY = 2 ** 16;

/** Who must have cosigned, as a file says in the form of c2sp.org/tlog-policy. Names are compared by their bytes. */
async function witnessPolicy(bytes) {
  require(bytes.length <= MOST_OF_A_POLICY, 'a witness policy is too long');
  require(bytes.every((byte) => byte === 9 || byte === 10 || (byte >= 32 && byte !== 127)), 'a policy has a control character');
  const policy = { quorum: undefined, witnesses: new Map(), groups: new Map(), logs: [] };
  for (const line of latin1(bytes).split('\n')) {
    const items = line.split(/[\t ]/).filter((word) => word !== '');
    if (items.length && !items[0].startsWith('#')) await policyLine(policy, ...items);
  }
  require(policy.quorum !== undefined, 'a witness policy has no quorum');
  return policy;
}

async function policyLine(policy, word, name, ...items) {
  const { groups, logs, witnesses } = policy;
  const known = (each) => witnesses.has(each) || groups.has(each);
  const isNew = (each) => each !== NOBODY && !known(each);
  const keyIn = (text, type) => verifierKey(strictText(Uint8Array.from(text, (each) => each.charCodeAt(0))), type);
  if (word === 'log' && name !== undefined && items.length <= 1) {
    const log = await keyIn(name, LOG);
    require(!logs.some(({ key }) => hex(key) === hex(log.key)), 'two logs of a policy have one key');
    logs.push(log);
  } else if (word === 'witness' && (items.length === 1 || items.length === 2)) {
    require(isNew(name), 'a name of a policy is taken');
    const witness = await keyIn(items[0], WITNESS);
    const others = [...witnesses.values()].map(({ key }) => hex(key));
    require(!others.includes(hex(witness.key)), 'two witnesses of a policy have one key');
    witnesses.set(name, witness);
  } else if (word === 'group' && items.length > 1) {
    const [threshold, ...members] = items;
    require(isNew(name), 'a name of a policy is taken');
    const used = new Set([...groups.values()].flatMap((group) => group.members));
    for (const member of members) {
      require(known(member) && !used.has(member), 'a group has a member that is unknown, or is in a group');
      used.add(member);
    }
    const words = new Map([['any', 1], ['all', members.length]]);
    const least = words.get(threshold) ?? (/^[0-9]{1,9}$/.test(threshold) ? Number(threshold) : 0);
    require(least >= 1 && least <= members.length, 'a threshold is none');
    groups.set(name, { threshold: least, members });
  } else {
    require(word === 'quorum' && name !== undefined && !items.length, 'a line of a policy is none');
    require(policy.quorum === undefined && (name === NOBODY || known(name)), 'a policy has two quorums, or an unknown one');
    policy.quorum = name;
  }
}

const LOG = 1;
const WITNESS = 4;
const sameKey = (a, b) => a.name === b.name && hex(a.key) === hex(b.key);

/** The key that the changes of the key in the file lead to; the given one without any. */
async function newestKey(entries, deployment, key, vouched) {
  const steps = [];
  const changes = entries.filter(({ entry: text }) => text.includes('"type":"keychange.v1"'));
  require(changes.length <= MOST_CHANGES, 'the file has more changes of the key than there can be');
  for (const { entry: text } of changes) steps.push(await keyStep(parsed(utf8(text), 'an entry').note, deployment));
  if (steps.length === 0) return key;
  const keys = [hex(steps[0].old), ...steps.map((step) => hex(step.new))];
  const follow = steps.every((step, place) => hex(step.old) === keys[place]);
  require(follow && new Set(keys).size === keys.length, 'the changes of the key are not one chain');
  require(keys.includes(hex(key)), 'the changes of the key are of another key');
  const rotated = steps.slice(keys.indexOf(hex(key))).every((step) => step.reason === 'ROTATED');
  require(rotated || vouched, 'a later key came after one that was lost or stolen: verify with that later key');
  return steps.at(-1).new;
}

/** A file of a change of the key: the logs that it names with the last size that the old key signed, and its note. */
async function keyChange(bytes, deployment) {
  const text = strictText(bytes);
  require(!/[\0-\x09\x0b-\x1f]/.test(text), 'a change of the key has a control character');
  const end = text.indexOf('\n\n');
  require(end >= 0, 'a change of the key has no note');
  const { listed, ...step } = await keyStep(text.slice(end + 2), deployment);
  require(hex(await sha256(utf8(text.slice(0, end + 1)))) === hex(listed), 'a change of the key names another list of logs');
  const logs = text.slice(0, end).split('\n').map((line) => {
    const [name, size, ...rest] = line.split(' ');
    require(/^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/.test(name) && /^(0|[1-9][0-9]{0,18})$/.test(size) && BigInt(size) <= MOST, 'a change of the key names no log');
    require(rest.length === 1 && base64(rest[0]).length === 32, 'a change of the key names no root');
    return [name, BigInt(size)];
  });
  const names = logs.map(([name]) => hex(utf8(name)));
  require(names.every((name, at) => at === 0 || names[at - 1] < name), 'a change of the key names a log twice');
  return { ...step, logs: new Map(logs) };
}

/** The keys one after the other, by changes in any order: `changes[n]` replaced `keys[n]` by `keys[n + 1]`. */
function chainOf(key, changes) {
  const [keys, chain, rest] = [[key], [], [...changes]];
  let trusted = 0;
  while (rest.length) {
    const before = rest.findIndex((each) => hex(each.new) === hex(keys[0]));
    const after = rest.findIndex((each) => hex(each.old) === hex(keys.at(-1)));
    require(before >= 0 || after >= 0, 'a change of the key is not of this key, nor of one before or after it');
    const [change] = rest.splice(before >= 0 ? before : after, 1);
    if (before >= 0) {
      keys.unshift(change.old);
      chain.unshift(change);
      trusted += 1;
    } else {
      keys.push(change.new);
      chain.push(change);
    }
  }
  require(new Set(keys.map(hex)).size === keys.length, 'a change of the key brings back one that was replaced');
  return { keys, changes: chain, trusted };
}

/** Checks that a key may have signed a checkpoint of this size, by the changes before and after it. */
function requireInForce({ changes, trusted }, place, origin, size, vouched) {
  const rotated = changes.slice(trusted, place).every((change) => change.reason === 'ROTATED');
  require(rotated || vouched, 'a key came after one that was lost or stolen, and no witnesses are asked for');
  if (place === changes.length) return;
  const last = changes[place].logs.get(splitOrigin(origin)[1]) ?? -1n;
  require(size <= last, 'a checkpoint is signed by a key that was replaced before');
}

/** What the note of a change says, which both keys signed after a rotation, and else the new one. */
async function keyStep(note, deployment) {
  require(typeof note === 'string', 'a change of the key has no note');
  const { text, signatures } = noteOf(note, 'a change of the key');
  const lines = text.slice(0, -1).split('\n');
  const [title, reason, oldKey, newKey, logs] = lines;
  require(lines.length === 5 && title === `${deployment}/key-change`, 'a change of the key is of another deployment');
  require(['ROTATED', 'LOST', 'STOLEN'].includes(reason), 'a change of the key has no reason');
  const listed = base64(logs);
  require(listed.length === 32 && !/\s/.test(oldKey + newKey), 'a change of the key is none');
  const both = [await verifierKey(oldKey), await verifierKey(newKey)];
  require(both.every(({ name }) => name === deployment), 'a change of the key is of another deployment');
  require(hex(both[0].key) !== hex(both[1].key), 'a change of the key has one key twice');
  const signers = reason === 'ROTATED' ? both : both.slice(1);
  require(signatures.length === signers.length, 'a change of the key has other signatures');
  for (const { key, id } of signers) {
    const found = signatures.find((each) => each.name === deployment && each.id === id);
    require(found !== undefined, 'a key did not sign the change of the key');
    require(await isSigned(key, found.data, text), 'a signature of a change of the key is invalid');
  }
  return { reason, listed, old: both[0].key, new: both[1].key };
}

/** The name, the 32 bytes and the id of a public key. */
async function verifierKey(text, type = LOG) {
  const [name, id, ...rest] = text.split('+');
  const data = base64(rest.join('+'));
  require(isKeyName(name), 'the name of a key is none');
  require(data.length === 33 && data[0] === type && /^[0-9a-f]{8}$/.test(id), 'the key is no vkey of its kind');
  const key = data.slice(1);
  require(await keyId(name, key, type) === id, 'the key does not have its id');
  return { name, key, id };
}

/** No key has spaces or control characters, as Python knows them, or a plus in its name. */
const isKeyName = (name) => /^[^\0-\x20+\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+$/.test(name ?? '');

async function keyId(name, key, type = LOG) {
  return hex((await sha256(utf8(`${name}\n`), Uint8Array.of(type), key)).slice(0, 4));
}

function splitOrigin(origin) {
  const at = origin.lastIndexOf('/pools/');
  if (at > 0 && origin.length > at + 7) return [origin.slice(0, at), origin.slice(at + 7)];
  return origin.endsWith('/registry') && origin.length > 9 ? [origin.slice(0, -9), 'registry'] : null;
}

/** The text of a signed note and its signatures, by their form alone (c2sp.org/signed-note). */
function noteOf(note, subject) {
  require(utf8(note).length <= MOST_OF_A_NOTE, `${subject} is too long`);
  require(!/[\0-\x09\x0b-\x1f]/.test(note), `${subject} has a control character`);
  const end = note.lastIndexOf('\n\n');
  require(end >= 0 && note.endsWith('\n'), `${subject} has no signature`);
  const lines = note.slice(end + 2, -1).split('\n');
  require(lines.length <= MOST_SIGNATURES, `${subject} has too many signatures`);
  const signatures = lines.map((line) => {
    const [dash, name, encoded, ...more] = line.split(' ');
    const data = base64(encoded ?? '');
    const isOne = dash === '\u2014' && isKeyName(name) && more.length === 0 && data.length > 4;
    require(isOne, `a signature of ${subject} has another form`);
    return { name, id: hex(data.slice(0, 4)), data: data.slice(4) };
  });
  return { text: note.slice(0, end + 1), signatures };
}

/** What a checkpoint says (c2sp.org/tlog-checkpoint). Lines after the third are extensions, and say nothing here. */
function checkpointOf(text) {
  const [origin, size, encoded, ...extensions] = text.slice(0, -1).split('\n');
  require(origin !== '' && !extensions.includes(''), 'a checkpoint has an empty line');
  require(/^(0|[1-9][0-9]{0,18})$/.test(size) && BigInt(size) <= MOST, 'a checkpoint has no size');
  const root = base64(encoded ?? '');
  require(root.length === 32, 'a checkpoint has no root');
  return { origin, size: BigInt(size), root };
}

/** The signature of a checkpoint's log, by the newest of its keys that has one there; checked before all others. */
async function logSigner({ note, origin, size }, keys, vouched) {
  for (let place = keys.keys.length - 1; place >= 0; place -= 1) {
    const [key, id] = [keys.keys[place], await keyId(origin, keys.keys[place])];
    const [own, ...more] = note.signatures.filter((each) => each.name === origin && each.id === id);
    if (own === undefined) continue;
    require(more.length === 0, `a checkpoint is signed twice as ${origin}`);
    require(await isSigned(key, own.data, note.text), `the signature of ${origin} is invalid`);
    requireInForce(keys, place, origin, size, vouched);
    return own;
  }
  throw new Refused(`a checkpoint is not signed as ${origin}`);
}

/** Who else signed a checkpoint: only witnesses that are known, each once. */
async function cosignersOf({ note, origin, signer }, witnesses) {
  const named = ({ name, id }) => `${name} ${id}`;
  const known = new Map();
  for (const each of witnesses) {
    const same = known.get(named(each)) ?? each;
    require(sameKey(each, same) && named(each) !== named(signer), 'two keys have one name and one id');
    known.set(named(each), same);
  }
  const cosigners = new Set();
  for (const each of note.signatures) {
    if (each === signer) continue;
    const witness = known.get(named(each));
    require(witness !== undefined, `${origin} has signatures of others`);
    require(!cosigners.has(witness), 'a witness cosigned twice');
    require(each.data.length === 72, `${each.name} did not cosign this`);
    const time = new DataView(each.data.buffer).getBigUint64(0);
    const message = `cosignature/v1\ntime ${time}\n${note.text}`;
    require(time <= MOST && await isSigned(witness.key, each.data.slice(8), message), `${each.name} did not cosign this`);
    cosigners.add(witness);
  }
  return [...cosigners];
}

async function isSigned(key, signature, text) {
  const signer = await crypto.subtle.importKey('raw', key, { name: 'Ed25519' }, false, ['verify']);
  return crypto.subtle.verify({ name: 'Ed25519' }, signer, signature, utf8(text));
}

// 3. The entries: each is in its log, at its index, by an RFC 6962 inclusion proof.

async function checkEntries(reading) {
  reading.hashes = new Map();
  reading.registryHashes = new Map();
  const { pool, registry } = reading.checkpoints;
  reading.pool = await proved(reading.file.pool, reading.facts.pool, pool, reading.hashes);
  reading.registry = await proved(reading.file.registry, 'registry', registry, reading.registryHashes);
  for (const entry of reading.pool) entryForm(entry, POOL_KINDS);
  for (const entry of reading.registry) entryForm(entry, REGISTRY_KINDS);
}

async function proved(part, log, checkpoint, hashes) {
  const entries = [];
  let last = -1;
  for (const { entry: text, path: hashesUp } of part.entries) {
    const bytes = utf8(text);
    require(bytes.length <= MOST_OF_AN_ENTRY, 'an entry is too long');
    const entry = parsed(bytes, 'an entry');
    integers(entry.index);
    require(entry.pool === log, 'an entry is of another log');
    require(last < entry.index && entry.index < checkpoint.size, 'the entries are not in the order of their log');
    const hash = await sha256(Uint8Array.of(0), bytes);
    await verifyInclusion(hash, entry.index, checkpoint.size, hashesUp, checkpoint.root);
    hashes.set(entry.index, hash);
    last = entry.index;
    entries.push(entry);
  }
  return entries;
}

/** RFC 9162 section 2.1.3.2. */
async function verifyInclusion(leaf, index, size, hashesUp, root) {
  require(index >= 0 && index < size, 'a leaf is beyond its tree');
  let [place, last, found] = [BigInt(index), BigInt(size) - 1n, leaf];
  for (const sibling of hashesUp) {
    require(last !== 0n, 'a path is too long');
    if (place % 2n === 1n || place === last) {
      found = await sha256(Uint8Array.of(1), sibling, found);
      while (place % 2n === 0n && place !== 0n) [place, last] = [place / 2n, last / 2n];
    } else {
      found = await sha256(Uint8Array.of(1), found, sibling);
    }
    [place, last] = [place / 2n, last / 2n];
  }
  require(last === 0n && hex(found) === hex(root), 'a path does not lead to the root');
}

// What entries say: their fields by kind. One that ends in `?` is left out where it says nothing.

const ACT = 'by text, by_key text, registry_size number, people_leaf? number, proposal? place';
const SALTED = `${ACT}, salt hash`;
const FIELDS = {
  pool: `${ACT}, opened_at number, display_name text, currency text, distribute text, policy policy, platforms texts`,
  policy: `${ACT}, version number, policy policy`,
  method: `${ACT}, method text, version number, display_name text, confidence_ppm number, evidence_uri text, covers? text, `
    + 'score_kind? any, score_order? any, coverage_nano? place, sum_repeats? yes, tolerance_nano? place, membership? text',
  round: `${ACT}, number number, previous number, start number, end number, root hash, policy_leaf number, `
    + 'policy_version number, registry_root hash, registry_sha256 hash, statement_sha256 hash, weights_sha256 hash, '
    + 'salt_sha256 hash, statement_root hash, statement_lines number, events number, retracted number, weight decimal, '
    + 'weight_unattributed decimal, deficit_unattributed decimal, pot_minor amount, fee_minor amount, '
    + 'attributed_minor amount, commons_minor amount, commons_kept_minor amount, carried_minor amount, '
    + 'rounding_minor amount, kept_after_nano number, request_id text, fire_times times or null, period? text, '
    + 'usage_from? place, late_events? number, late_retracted? number, late_minor? amount, waived? texts',
  objection: `${ACT}, round number, round_hash hash, reason text`,
  answer: `${ACT}, round number, collective text, objection_hash hash, answer text, reason text`,
  proposal: `${ACT}, effect text, content object, rests_on said, reason text`,
  decision: `${ACT}, subject number, subject_hash text, decision text, reason text`,
  posting: 'round number, transfer_count number, amount_minor amount, set_aside? texts, review_began_sha256? text, '
    + 'review_ended_sha256? text, recoup_ppm? number',
  split: `${SALTED}, round number, round_hash hash, collective text, amount_minor amount, lines number, split_root hash, `
    + 'rule text',
  payment: `${SALTED}, request_id text, amount_minor moved, collective text, reference text`,
  release: `${SALTED}, request_id text, amount_minor moved, collective text, to_commons boolean, reason text`,
  adjustment: `${SALTED}, request_id text, round number, amount_minor amount, lines_sha256 hash, lines number, `
    + 'lines_root hash, pool_leaves numbers, registry_leaves numbers, source text, reason text',
  booking: 'registry_size number, bank_file_leaf number, bookings_sha256 hash, lines number, lines_root hash',
  grant: `${SALTED}, request_id text, amount_minor moved, collective text, reason text`,
  deployment: 'origin text, controls controls, founders founders, keys_made_together boolean',
  controls: `${ACT}, controls controls`,
  witnesses: `${ACT}, policy text`,
  principal: `${ACT}, principal text, status status`,
  key: `${ACT}, key_id text, principal text, secret_hash text, expires_at? time, pools? texts, key_kind? keyKind, `
    + 'issuer? text',
  keyrevocation: `${ACT}, key_id text`,
  recovery: 'operator text, key_id text, secret_hash text, people_leaf? number',
  collective: `${ACT}, collective text, display_name text, members number, equity_ppm number, status text, `
    + 'domains_sha256 hash',
  keychange: 'note text, logs_sha256 hash',
  poolopened: `${ACT}, pool_id text, display_name text, currency text, distribute text, policy object, platforms texts`,
};
const NESTED = {
  policy: 'fee_ppm number, fee_cap_minor amount or null, commons_ppm number, unattributed unattributed, '
    + 'commons_rule commons, tempering tempering, floor_minor amount, cap_minor amount or null, ai_only_ppm number, '
    + 'human_ai_ppm number, review_seconds number, rounding rounding, approval? approval, period? period, '
    + 'period_from? text, recoup_ppm? number, public? yes',
  controls: 'people number, terms number, weights number, money number, rounds number, registry number',
  times: 'first text, last text, count number',
  founder: 'operator text, key_id text, secret_hash text',
  line: 'kind text, subject text, end_to_end_id text, amount_minor amount, cost_minor amount, day text, reason text',
};
const RANGES = {
  fee_ppm: [0n, PPM], commons_ppm: [0n, PPM], fee_cap_minor: [0n, MOST_MOVED], floor_minor: [0n, MOST_MOVED],
  cap_minor: [0n, MOST_MOVED], ai_only_ppm: [0n, 10n * PPM], human_ai_ppm: [0n, 10n * PPM],
  review_seconds: [0n, 366n * 86_400n], recoup_ppm: [1n, PPM],
};
const SILENCE = 259_200;
const PERIODS = { MONTH: /^\d{4}-(0[1-9]|1[0-2])$/, QUARTER: /^\d{4}-Q[1-4]$/, YEAR: /^\d{4}$/ };
const POOL_KINDS = ['pool', 'policy', 'method', 'round', 'objection', 'answer', 'proposal', 'decision', 'posting',
  'split', 'payment', 'release', 'grant', 'booking', 'adjustment'];
const REGISTRY_KINDS = ['deployment', 'controls', 'witnesses', 'principal', 'key', 'keyrevocation', 'recovery',
  'keychange', 'collective', 'poolopened', 'proposal', 'decision'];

const one = (...names) => (value) => names.includes(value);
const isText = (value) => typeof value === 'string';
const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);
const VALUES = {
  number: Number.isSafeInteger,
  place: Number.isSafeInteger,
  text: isText,
  any: isText,
  numbers: (value) => Array.isArray(value) && value.every(Number.isSafeInteger),
  texts: (value) => Array.isArray(value) && value.every(isText),
  hash: (value) => isText(value) && /^[0-9a-f]{64}$/.test(value),
  decimal: (value) => isText(value) && DECIMAL.test(value),
  amount: (value) => isText(value) && DECIMAL.test(value) && isAmount(BigInt(value)),
  moved: (value) => VALUES.amount(value) && BigInt(value) >= 1n && BigInt(value) <= MOST_MOVED,
  boolean: (value) => typeof value === 'boolean',
  yes: (value) => value === true,
  object: isObject,
  said: (value) => isObject(value) && Object.values(value).every(isText),
  founders: (value) => Array.isArray(value) && value.every((each) => (fits(each, 'founder'), true)),
  time: (value) => isText(value) && micros(value) !== undefined,
  status: one('ACTIVE', 'SUSPENDED'),
  unattributed: one('COMMONS', 'PRO_RATA'),
  commons: one('EQUAL', 'PER_CAPITA', 'EQUITY', 'FUND'),
  tempering: one('PROPORTIONAL', 'SQRT', 'EQUAL'),
  rounding: one('CARRIED', 'PLACED'),
  approval: one('SILENCE'),
  period: one('MONTH', 'QUARTER', 'YEAR'),
  keyKind: one('IDENTITY', 'CERTIFICATE'),
};

/** Checks that an entry is of one of these kinds, and has the fields of its kind and no others. */
function entryForm(entry, kinds) {
  const kind = `${entry.type}`.replace(/\.v1$/, '');
  require(entry.type === `${kind}.v1` && kinds.includes(kind), 'an entry is of a kind that a file has not');
  require(entry.time.length === 27 && entry.time[19] === '.', 'the time of an entry is none');
  require(micros(entry.time) !== undefined, 'the time of an entry is none');
  const { type, pool, index, time, ...content } = entry;
  fits(content, kind, FIELDS);
  if (kind === 'pool' || kind === 'policy') policyRanges(content.policy);
}

/** Checks that the terms of a policy are in their ranges. */
function policyRanges(policy) {
  for (const [name, [least, most]] of Object.entries(RANGES)) {
    const said = policy[name] ?? null;
    require(said === null || (BigInt(said) >= least && BigInt(said) <= most), `${name} of a policy is out of range`);
  }
  const { approval, cap_minor: cap, floor_minor: floor, period, period_from: from, review_seconds: seconds } = policy;
  require(cap === null || BigInt(cap) >= BigInt(floor), 'the cap of a policy is below its floor');
  require(approval === undefined || seconds >= SILENCE, 'a policy without a decision has too short a review');
  const first = period === undefined ? from === undefined : PERIODS[period].test(from) && from >= '1970';
  require(first, 'the first period of a policy is none of its periods');
}

/** Checks that an object has just these fields, in their forms. */
function fits(value, name, table = NESTED) {
  require(isObject(value), `a ${name} is none`);
  const fields = Object.fromEntries(table[name].split(', ').map((each) => {
    const [, field, mark, form, orNull] = /^(\w+)(\??) (\w+)( or null)?$/.exec(each);
    return [field, { optional: mark === '?', form, orNull: orNull !== undefined }];
  }));
  require(Object.keys(value).every((field) => Object.hasOwn(fields, field)), `a ${name} says more than it can`);
  for (const [field, { optional, form, orNull }] of Object.entries(fields)) {
    const said = value[field];
    if (!Object.hasOwn(value, field)) {
      require(optional, `a ${name} lacks ${field}`);
    } else if (form in NESTED) {
      if (!(orNull && said === null)) fits(said, form);
    } else {
      require((orNull && said === null) || VALUES[form](said), `${field} of a ${name} has another form`);
      // What says nothing is left out, so that each entry has one spelling.
      const nothing = said === '' || (said === 0 && form === 'number') || (Array.isArray(said) && !said.length);
      require(!optional || form === 'any' || !nothing, `${field} of a ${name} has another form`);
    }
  }
}

/** Microseconds since 1970 of a time in RFC 3339 and UTC; undefined if it is none. */
function micros(text) {
  const parts = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{6}))?Z$/.exec(text);
  if (!parts || text < '1000') return undefined;
  const seconds = new Date(`${parts[1]}Z`);
  // Date knows 30 February and 24:00; nobody else does.
  if (Number.isNaN(seconds.getTime()) || seconds.toISOString().slice(0, 19) !== parts[1]) return undefined;
  return BigInt(seconds.getTime()) * 1000n + BigInt(parts[2] ?? 0);
}

// 4. The line: the dossier is a leaf of the tree that the round commits to.

async function checkLine(reading) {
  const { dossier, file } = reading;
  const round = only(reading.pool, 'round.v1', { number: dossier.totals.round });
  require(dossier.totals.lines === round.statement_lines, "the totals are not the round's");
  for (const name of TOTALS) require(dossier.totals[name] === decimal(round[name]), "the totals are not the round's");
  const leaf = await sha256(Uint8Array.of(0), unhex(file.statement.salt), utf8(file.statement.dossier));
  const { path: hashesUp } = file.statement;
  await verifyInclusion(leaf, dossier.position, dossier.totals.lines, hashesUp, unhex(round.statement_root));
  reading.round = round;
  Object.assign(reading.facts, {
    round_leaf: round.index, lines: dossier.totals.lines, position: dossier.position, period: round.period ?? '',
  });
}

// 5. The terms: the policy, each method's confidence, and the registry's line.

function checkTerms(reading) {
  const { dossier, round } = reading;
  checkRegistry(reading);
  const opened = only(reading.pool, 'pool.v1', { index: 0 });
  const version = dossier.terms.policy_version;
  require(version === round.policy_version, "the policy is not the round's");
  const logged = round.policy_leaf === 0 ? opened : only(reading.pool, 'policy.v1', { index: round.policy_leaf });
  require(version === (logged === opened ? 1 : logged.version), 'the policy is not of this version');
  require(canonical(dossier.terms.policy) === canonical(logged.policy), "the terms are not the policy's");
  const methods = new Map();
  for (const each of of(reading.pool, 'method.v1')) {
    const name = JSON.stringify([each.method, each.version]);
    methods.set(name, methods.has(name) ? undefined : each);
  }
  for (const each of dossier.weights) {
    const method = methods.get(JSON.stringify([each.method, each.method_version]));
    require(method !== undefined, `the file must have version ${each.method_version} of ${each.method} once`);
    require(method.index < round.end, 'a method is younger than the round');
    require(method.confidence_ppm === each.confidence_ppm, "a confidence is not the method's");
  }
  const registered = of(reading.registry, 'collective.v1');
  const latest = registered.filter((entry) => entry.index < round.registry_size).at(-1);
  require(latest !== undefined, "the collective's registration is missing");
  const { line, registry } = dossier;
  require(
    latest.collective === line.collective && latest.status === line.status && latest.members === registry.members
      && latest.equity_ppm === registry.equity_ppm,
    "the registry's line is another",
  );
  require(registered.every((entry) => entry.collective === line.collective), "the file has another's registration");
  Object.assign(reading.facts, { currency: opened.currency, policy_version: version, status: line.status });
}

// 6. The approval: who calculated, approved and posted it. Whoever acted might do so then.

function checkApproval(reading) {
  const { round, dossier: { terms: { policy } } } = reading;
  const decisions = of(reading.pool, 'decision.v1', { subject: round.index });
  const postings = of(reading.pool, 'posting.v1', { round: round.number });
  require(decisions.length <= 1, 'the round is decided twice');
  require(postings.length <= 1, 'the round is posted twice');
  const acts = new Acts(reading.facts.pool, reading.hashes, peopleOf(reading), policy.approval === 'SILENCE');
  for (const entry of reading.pool) acts.take(entry);
  acts.end();
  const [decision] = decisions;
  const [posting] = postings;
  let state = 'CALCULATED';
  if (decision) {
    state = decision.decision;
    require(['APPROVED', 'REJECTED'].includes(state), 'the decision is none');
    const silent = policy.approval === 'SILENCE' && round.by === 'scheduler';
    const may = decision.by !== 'policy' || !policy.review_seconds || silent;
    require(may, 'a policy approves what is to be reviewed');
  }
  if (posting) {
    require(state === 'APPROVED' && posting.index > decision.index, 'the round is posted unapproved');
    const ends = micros(round.time) + BigInt(policy.review_seconds) * 1_000_000n;
    require(micros(posting.time) >= ends, 'the round is posted before its review is over');
  }
  Object.assign(reading.facts, {
    aside: posting !== undefined && (posting.set_aside ?? []).includes(reading.dossier.line.collective),
    state: posting ? 'POSTED' : state,
    calculated_by: round.by,
    calculated_at: round.time,
    decided_by: decision ? decision.by : '',
    decided_at: decision ? decision.time : '',
    decided_alone: acts.alone.has(round.index),
    posted_at: posting ? posting.time : '',
  });
}

const WEEK = 7n * 86_400_000_000n;
const MONTH = 30n * 86_400_000_000n;
const KIND_OF = {
  controls: 'people', principal: 'people', key: 'people', witnesses: 'terms', poolopened: 'terms', policy: 'terms',
  method: 'terms', collective: 'weights', payment: 'money', release: 'money', grant: 'money', adjustment: 'money',
  round: 'rounds',
};

/** Who may act after so many leaves of the registry: what `ledger.acts.people` has, from the leaves that a file shows. */
class People {
  constructor(entries, size) {
    Object.assign(this, { entries, size, taken: 0, controls: {}, last: 0 });
    Object.assign(this, { persons: new Map(), keys: new Map(), opened: new Map(), enough: new Set() });
  }

  /** Takes in the leaves below a size, which is never less than the one before. */
  upTo(size) {
    while (this.entries[this.taken]?.index < size) {
      this.take(this.entries[this.taken]);
      this.taken += 1;
    }
    return this;
  }

  take(entry) {
    const kind = entry.type.replace('.v1', '');
    const { keys, persons } = this;
    const about = (name) => name.startsWith('operators/');
    let operators = ['deployment', 'controls', 'witnesses', 'recovery'].includes(kind);
    if (kind === 'deployment') {
      this.controls = entry.controls;
      for (const { operator, key_id: id } of entry.founders) {
        this.person(operator, { since: 0, alone: false, status: 'ACTIVE' });
        keys.set(id, { of: operator, since: 0, alone: false, pools: [] });
      }
    } else if (kind === 'controls') {
      this.controls = entry.controls;
    } else if (kind === 'principal') {
      const { principal, status } = entry;
      require(/^(operators|auditors)\//.test(principal), 'a principal is neither an operator nor an auditor');
      const known = persons.get(principal) ?? { since: entry.index, alone: this.controls.people === 1 };
      this.person(principal, { ...known, status });
      operators = about(principal);
    } else if (kind === 'key' || kind === 'recovery') {
      const recovered = kind === 'recovery';
      const holder = recovered ? entry.operator : entry.principal;
      require(!keys.has(entry.key_id), 'a key is issued twice');
      require(('issuer' in entry) === (entry.key_kind === 'IDENTITY'), 'the issuer of a key is not that of an identity');
      if (recovered && !persons.has(holder)) this.person(holder, { since: entry.index, alone: true, status: 'ACTIVE' });
      keys.set(entry.key_id, {
        of: holder,
        since: entry.index,
        alone: recovered || (this.controls.people === 1 && (entry.by !== holder || wasAlone(entry, this))),
        pools: entry.pools ?? [],
        ends: entry.expires_at ? micros(entry.expires_at) : undefined,
        begins: recovered ? micros(entry.time) + WEEK : undefined,
      });
      operators ||= about(holder);
    } else if (kind === 'keyrevocation') {
      const key = keys.get(entry.key_id);
      require(key !== undefined, 'a key is revoked that the file does not show');
      keys.set(entry.key_id, { ...key, revoked: true });
      operators = about(key.of);
    } else if (kind === 'poolopened') {
      this.opened.set(entry.index, entry);
    }
    if (operators) this.last = entry.index;
  }

  person(name, person) {
    this.persons.set(name, person);
    const counts = name.startsWith('operators/') && person.status === 'ACTIVE' && !person.alone;
    if (counts) this.enough.add(name);
    else this.enough.delete(name);
  }
}

/** Whether an operator made something whom, or whose key, one person alone made; a recovered key does not count. */
function wasAlone({ by, by_key: id }, { persons, keys }) {
  const [person, key] = [persons.get(by), keys.get(id)];
  return Boolean(person && key && key.begins === undefined && (person.alone || key.alone));
}

/** Judges the acts of a log in order: what `audit.folds.acts` does. */
class Acts {
  constructor(log, hashes, people, silent, ofRegistry = false) {
    Object.assign(this, { log, hashes, people, silent, ofRegistry, alone: new Set() });
    Object.assign(this, { waiting: new Map(), decided: new Set(), approval: undefined, time: '', size: 0 });
  }

  take(entry) {
    require(entry.time >= this.time, 'the time falls');
    this.time = entry.time;
    const due = this.approval;
    this.approval = undefined;
    require(due === undefined || entry.proposal === due.subject, 'an approval is not followed by what it approved');
    const kind = entry.type.replace('.v1', '');
    if (!('by' in entry)) {
      if (kind === 'recovery') this.chained(entry, this.people.upTo(entry.index));
      return;
    }
    const people = this.judgedBy(entry);
    if (kind === 'decision') {
      this.decide(entry, people);
    } else if (kind === 'round') {
      this.waiting.set(entry.index, entry);
      require((entry.by === 'scheduler') === (entry.fire_times !== null), 'a round by schedule answers a fire time');
      if (entry.by === 'scheduler') {
        require(entry.by_key === '', 'the schedule has no key');
        fired(entry);
      } else {
        this.may(entry, people);
      }
    } else {
      this.may(entry, people);
      if (kind === 'proposal') this.waiting.set(entry.index, entry);
      else if (kind === 'answer') this.answer(entry, people);
      else if (kind === 'pool') this.opened(entry);
      else if (kind !== 'objection' && kind !== 'split') this.effect(entry, kind, people, due);
    }
  }

  end() {
    require(this.approval === undefined, 'an approval is not followed by what it approved');
  }

  judgedBy(entry) {
    const size = entry.registry_size;
    if (this.ofRegistry) {
      require(size === entry.index - ('proposal' in entry ? 1 : 0), 'an act was judged by another registry');
    } else {
      require(size >= Math.max(1, this.size), 'an act was judged by an older registry than the one before it');
      require(size <= this.people.size, 'an act was judged by more of the registry than the checkpoint has');
      this.size = size;
    }
    const people = this.people.upTo(this.ofRegistry ? entry.index : size);
    this.chained(entry, people);
    return people;
  }

  /** An act names the last leaf about operators before it, which the file must show. */
  chained(entry, people) {
    require((entry.people_leaf ?? 0) === people.last, 'a leaf about operators is missing');
  }

  may(entry, people) {
    const { by, by_key: id } = entry;
    const kind = entry.type.replace('.v1', '');
    const said = kind === 'proposal' ? entry.content : {};
    if (kind === 'objection' || kind === 'split') {
      require(by.startsWith('collectives/'), `${by} may not do what collectives do`);
    } else if (!(entry.effect === 'payee.v1' && 'collective' in said && by === `collectives/${said.collective}`)) {
      const person = people.persons.get(by);
      require(person !== undefined && by.startsWith('operators/'), `${by} is not a registered operator`);
      require(person.status === 'ACTIVE', `${by} is suspended`);
    }
    const key = people.keys.get(id);
    require(key !== undefined && key.of === by, `the file has no registration of the key of ${by}`);
    require(!key.revoked, `${by} used a key that was revoked`);
    const time = micros(entry.time);
    const valid = !(key.begins !== undefined && time < key.begins) && !(key.ends !== undefined && time >= key.ends);
    require(valid, `${by} used a key before or after its validity`);
    const reaches = !key.pools.length || (!this.ofRegistry && key.pools.includes(this.log));
    require(reaches, `${by} used a key that has no access to this log`);
  }

  /** Why a decision is not by another person than the one who made what it decides; empty if it is. */
  notSecond(first, decision, people) {
    const [person, key] = [people.persons.get(decision.by), people.keys.get(decision.by_key)];
    if (decision.by === first.by) return 'decides what it made itself';
    if (person.since >= first.registry_size) return 'was registered after what it decides was made';
    if (person.alone || key.alone) return 'was registered, or given this key, by one person alone';
    if (wasAlone(first, people)) return 'decides what somebody made who was registered by one person alone';
    return key.begins !== undefined && key.since >= first.registry_size ? 'recovered this key later' : '';
  }

  requireSecond(first, decision, people) {
    const reason = this.notSecond(first, decision, people);
    require(reason === '', `${decision.by} ${reason}`);
  }

  decide(entry, people) {
    const subject = this.waiting.get(entry.subject);
    require(subject !== undefined && !this.decided.has(entry.subject), 'nothing waits for a decision');
    require(entry.subject_hash === hex(this.hashes.get(entry.subject)), 'a decision is of something else');
    require(['APPROVED', 'REJECTED', 'WITHDRAWN'].includes(entry.decision), 'a decision is none');
    this.decided.add(entry.subject);
    const [isRound, approves] = [subject.type === 'round.v1', entry.decision === 'APPROVED'];
    const asksForTwo = people.controls.rounds === 2;
    if (entry.by === 'policy' && isRound) {
      require(approves && (!asksForTwo || this.silent), 'the controls ask for two people');
    } else if (entry.by === 'ledger' && isRound) {
      require(entry.decision === 'REJECTED', 'the ledger only rejects');
    } else {
      this.may(entry, people);
      const needsTwo = isRound && subject.by !== 'scheduler' && asksForTwo;
      if (approves && needsTwo) this.requireSecond(subject, entry, people);
    }
    if (entry.decision === 'WITHDRAWN') require(entry.by === subject.by, 'only who proposed it withdraws it');
    if (!isRound && approves) {
      require(micros(entry.time) - micros(subject.time) <= MONTH, 'a proposal had lapsed');
      this.approval = entry;
    } else if (isRound && approves && subject.by !== 'scheduler') {
      if (entry.by === 'policy' || this.notSecond(subject, entry, people)) this.alone.add(subject.index);
    }
  }

  answer(entry, people) {
    for (const asked of this.waiting.values()) {
      const needsTwo = people.controls.rounds === 2 && asked.by !== 'scheduler';
      if (asked.number === entry.round && needsTwo) this.requireSecond(asked, entry, people);
    }
  }

  opened(entry) {
    const said = this.people.opened.get(entry.opened_at);
    require(said !== undefined && entry.opened_at < entry.registry_size, 'the file does not show who opened the pool');
    require(entry.registry_size === entry.opened_at + 1 && said.pool_id === this.log, 'another pool was opened');
    for (const name of ['display_name', 'currency', 'distribute', 'platforms', 'by', 'by_key', 'policy']) {
      require(canonical(entry[name]) === canonical(said[name]), 'the pool was opened otherwise');
    }
  }

  effect(entry, kind, people, due) {
    this.enoughLeft(entry, kind, people);
    const { controls } = people;
    if (kind === 'policy' || kind === 'poolopened') {
      require(controls.rounds !== 2 || entry.policy.review_seconds, 'two people need a review');
    }
    if (kind === 'controls') sound(entry.controls);
    const needed = neededBy(entry, kind, controls);
    if (!('proposal' in entry)) {
      require(needed === 1, 'one person did what takes two');
      return;
    }
    require(due !== undefined, 'the leaf before it does not approve it');
    const first = this.waiting.get(entry.proposal);
    const { type, pool, index, time, by, by_key: key, registry_size: size, people_leaf: leaf, proposal, ...said } = entry;
    const same = first.effect === type && canonical(first.content) === canonical(said);
    require(same && first.by === by && first.by_key === key, 'it is not what was proposed, by who proposed it');
    if (needed > 1) this.requireSecond(first, due, people);
  }

  enoughLeft(entry, kind, people) {
    const controls = kind === 'controls' ? entry.controls : people.controls;
    if (!Object.values(controls).includes(2)) return;
    const leaves = kind === 'principal' && entry.status !== 'ACTIVE' && people.enough.has(entry.principal);
    const left = people.enough.size - (leaves ? 1 : 0);
    require(left >= 2, 'fewer than two operators are left');
  }
}

/** The fire times that a round answers are times to the second, in order, and as many as it says. */
function fired({ fire_times: { first, last, count }, time }) {
  const [from, to] = [first, last].map((text) => (text.length === 20 ? micros(text) : undefined));
  require(from !== undefined && to !== undefined && from <= to && to <= micros(time), 'the fire times are none');
  require(count >= 1 && (count === 1) === (from === to), 'the fire times are not as many as the round says');
}

function neededBy(entry, kind, controls) {
  if (kind === 'keyrevocation') return 1;
  if (kind === 'controls') return Math.max(controls.people, entry.controls.people);
  if (kind === 'key' && !/^(operators|auditors)\//.test(entry.principal)) return controls.weights;
  if (kind === 'poolopened' && entry.platforms.length) return Math.max(controls.terms, controls.weights);
  return controls[KIND_OF[kind]];
}

function sound(controls) {
  const counts = Object.values(controls);
  require(counts.every((count) => [1, 2].includes(count) && count <= controls.people), 'the controls are none');
}

/** Checks what the file shows of who may act, each leaf judged by those before it. */
function checkRegistry(reading) {
  const people = peopleOf(reading);
  const acts = new Acts('registry', reading.registryHashes, people, false, true);
  for (const entry of reading.registry) {
    acts.take(entry);
    require((entry.type === 'deployment.v1') === (entry.index === 0), 'the founding is not the first leaf');
    if (entry.index === 0) founded(entry, reading.deployment);
  }
  people.upTo(people.size);
  acts.end();
}

const peopleOf = (reading) => new People(reading.registry, reading.checkpoints.registry.size);

function founded({ controls, founders, origin }, deployment) {
  require(origin === deployment, 'the registry is of another deployment');
  sound(controls);
  const names = new Set(founders.map(({ operator }) => operator));
  const keys = new Set(founders.map(({ key_id: id }) => id));
  require(names.size > 0 && names.size === founders.length && keys.size === names.size, 'a founder is there twice');
  require([...names].every((name) => name.startsWith('operators/')), 'a founder is no operator');
  require(!Object.values(controls).includes(2) || names.size >= 2, 'the controls ask for two founders');
}

// 7. The weight: weights times the policy's factors times the methods' confidences, less the deficit.

function checkWeight(reading) {
  const { line, terms, weights } = reading.dossier;
  const factors = { 1: terms.policy.ai_only_ppm, 2: terms.policy.human_ai_ppm };
  const raw = { 1: 0n, 2: 0n };
  let [counted, events] = [0n, 0n];
  for (const each of weights) {
    require(each.mode === 1 || each.mode === 2, 'a mode is none');
    integers(factors[each.mode]);
    raw[each.mode] += each.weight;
    events += each.events;
    counted += each.weight * BigInt(factors[each.mode]) * BigInt(each.confidence_ppm);
  }
  const keys = new Set(weights.map((each) => JSON.stringify([each.method, each.method_version, each.mode])));
  require(keys.size === weights.length, 'a method and mode is there twice');
  require(
    raw[1] === line.weight_ai_only && raw[2] === line.weight_human_ai && events === line.events,
    "the weights are not the line's",
  );
  const net = counted - line.deficit_before;
  require(line.deficit_before >= 0n, 'a deficit is below zero');
  require(line.weight === larger(0n, net) && line.deficit_after === larger(0n, -net), 'the weight does not follow');
  Object.assign(reading.facts, { events: `${events}`, counted: `${counted}`, weight: `${line.weight}` });
}

// 8. The amount: from claim, k, bounds and what was carried; under PLACED to within the one unit.

function checkAmount(reading) {
  const { line, terms: { policy }, totals, registry } = reading.dossier;
  require(totals.fee_minor === feeOf(policy, totals), 'the fee does not follow');
  const unit = policy.rounding === 'CARRIED' ? NANO : 1n;
  const attributed = quotaOf(policy, totals.attributed_k, claimOf(policy.tempering, line.weight), unit);
  require(policy.commons_rule !== 'FUND' || totals.commons_k.over === 0n, 'the fund keeps the commons');
  const { over, under } = totals.commons_k;
  const commons = { over: over * commonsWeight(policy.commons_rule, registry), under };
  for (const [exact, part] of [[attributed, 'attributed'], [commons, 'commons']]) {
    const [amount, before, after] = ['minor', 'before_nano', 'after_nano'].map((name) => line[`${part}_${name}`]);
    require(before >= 0n && before < NANO && after >= 0n && after < NANO, 'a fraction is not below a unit');
    const down = exact.over / exact.under;
    if (policy.rounding === 'CARRIED') {
      require(down + before === amount * NANO + after, 'the amount does not follow');
    } else {
      const up = down * exact.under === exact.over ? down : down + 1n;
      require(down <= amount && amount <= up && before === after, 'the amount does not follow');
    }
  }
  require(line.amount_minor === line.attributed_minor + line.commons_minor, 'the amount is not the sum of its parts');
  for (const name of ['attributed_minor', 'commons_minor', 'amount_minor']) reading.facts[name] = `${line[name]}`;
}

function feeOf(policy, totals) {
  if (totals.weight + totals.weight_unattributed <= 0n) return 0n;
  integers(policy.fee_ppm);
  const fee = (totals.pot_minor * BigInt(policy.fee_ppm)) / PPM;
  return policy.fee_cap_minor === null ? fee : smaller(fee, decimal(policy.fee_cap_minor));
}

function claimOf(tempering, weight) {
  if (tempering === 'PROPORTIONAL') return weight;
  if (tempering === 'SQRT') return squareRoot(weight);
  require(tempering === 'EQUAL', 'the tempering is none');
  return weight > 0n ? 1n : 0n;
}

/** A claim's quota before it is rounded down, as a fraction. */
function quotaOf(policy, k, claim, unit) {
  const least = decimal(policy.floor_minor) * unit;
  if (k === null) {
    require(least > 0n, 'k is missing, and there is no floor');
    return { over: 0n, under: 1n };
  }
  if (claim === 0n) return { over: 0n, under: 1n };
  let over = larger(k.over * claim, least * k.under);
  if (policy.cap_minor !== null) over = smaller(over, decimal(policy.cap_minor) * unit * k.under);
  return { over, under: k.under };
}

function commonsWeight(rule, registry) {
  if (rule === 'PER_CAPITA') return BigInt(registry.members);
  if (rule === 'EQUITY') return BigInt(registry.members) * BigInt(registry.equity_ppm);
  require(rule === 'EQUAL' || rule === 'FUND', 'the commons rule is none');
  return 1n;
}

// 9. The adjustments: each line goes on from the amount before it.

async function checkAdjustments(reading) {
  const { dossier: { line }, facts, file: { adjusted = [] }, round } = reading;
  const kind = line.status === 'SUSPENDED' || facts.aside ? 'held' : 'collective';
  const logged = of(reading.pool, 'adjustment.v1', { round: round.number });
  const [posting] = of(reading.pool, 'posting.v1', { round: round.number });
  const places = adjusted.map(({ leaf }) => leaf);
  require(new Set(places).size === places.length, 'a line of an adjustment is there twice');
  const ofRound = logged.map(({ index }) => index).join() === places.join();
  require(ofRound && logged.length === of(reading.pool, 'adjustment.v1').length, "the adjustments are not the lines'");
  let amount = line.amount_minor;
  const found = [];
  for (const [at, entry] of logged.entries()) {
    require(posting !== undefined && entry.index > posting.index, 'a round is adjusted that is not posted');
    const { document, path: hashesUp, position, salt } = adjusted[at];
    const said = parsed(utf8(document), 'a line of an adjustment');
    shape(said, 'account', 'new_minor', 'old_minor');
    const hash = await sha256(Uint8Array.of(0), unhex(salt), utf8(document));
    await verifyInclusion(hash, position, entry.lines, hashesUp, unhex(entry.lines_root));
    require(said.account === `${kind}/${line.collective}`, 'an adjustment is of another account');
    require(amountIn(said.old_minor) === amount, 'an adjustment does not go on from the amount before it');
    amount = amountIn(said.new_minor);
    found.push({ new_minor: said.new_minor, old_minor: said.old_minor, reason: entry.reason });
  }
  Object.assign(facts, { adjusted: found, adjusted_minor: `${amount}` });
}

// 10. The payments: all entries about money are the collective's own.

async function checkPayments(reading) {
  const own = reading.dossier.line.collective;
  let [paid, payments] = [0n, 0];
  for (const entry of reading.pool) {
    require((entry.collective ?? own) === own, "the file has another collective's entry");
    if (entry.type === 'payment.v1' && entry.index > reading.round.index) {
      paid += decimal(entry.amount_minor);
      payments += 1;
    }
  }
  const [seen, returned] = [new Set(), []];
  const bookings = new Map(of(reading.pool, 'booking.v1').map((entry) => [entry.index, entry]));
  for (const { document, leaf, path: hashesUp, position, salt } of reading.file.booked ?? []) {
    const entry = bookings.get(leaf);
    require(entry !== undefined, 'the file lacks the entry of a booking');
    require(leaf > reading.round.index, 'the bank booked a line before the round');
    require(!seen.has(`${leaf} ${position}`), "a line of the bank's is there twice");
    seen.add(`${leaf} ${position}`);
    const said = parsed(utf8(document), "a line of the bank's");
    fits(said, 'line');
    require(said.subject === own, "the file has another collective's line of the bank's");
    const hash = await sha256(Uint8Array.of(0), unhex(salt), utf8(document));
    await verifyInclusion(hash, position, entry.lines, hashesUp, unhex(entry.lines_root));
    if (said.kind === 'PAID') {
      paid += decimal(said.amount_minor);
      payments += 1;
    } else if (said.kind === 'RETURNED') {
      returned.push({ amount_minor: said.amount_minor, day: said.day, reason: said.reason });
    }
  }
  Object.assign(reading.facts, { paid_minor: `${paid}`, payments, returned });
}

function linesForm(lines) {
  require(Array.isArray(lines) && lines.length > 0, 'the lines of an entry are none');
  for (const line of lines) {
    shape(line, 'document', 'leaf', 'path', 'position', 'salt');
    require(typeof line.document === 'string' && /^[0-9a-f]{64}$/.test(line.salt), 'a line of an entry is none');
    integers(line.leaf, line.position);
    line.path = path(line.path);
  }
}

// 11. A member's line: a leaf of the sum tree that the collective logged. Most files have none.

const MOST = 2n ** 63n - 1n;

function memberForm(member) {
  shape(member, 'document', 'path', 'position', 'salt');
  require(typeof member.document === 'string' && Array.isArray(member.path), "the member's line is no line");
  require(/^[0-9a-f]{64}$/.test(member.salt), 'the salt must have 64 hexadecimal digits');
  integers(member.position);
  member.path = member.path.map((node) => {
    shape(node, 'amount_minor', 'hash');
    const amount = decimal(node.amount_minor);
    require(amount >= 0n && amount <= MOST && typeof node.hash === 'string', 'an amount is below zero or too large');
    return { amount, hash: path([node.hash])[0] };
  });
}

async function checkMember(reading) {
  const { dossier, facts, file: { member }, round } = reading;
  const splits = of(reading.pool, 'split.v1', { round: round.number });
  require(splits.length <= 1, 'the amount is split twice');
  require(member === undefined || splits.length === 1, "the file has a member's line, and no split");
  for (const split of splits) {
    require(split.by === `collectives/${dossier.line.collective}`, "the split is not the collective's own act");
    require(split.round_hash === hex(reading.hashes.get(round.index)), 'the split is of another round');
    require(split.amount_minor === `${dossier.line.amount_minor}`, 'the split is of another amount');
    facts.split_rule = split.rule;
    if (member === undefined) continue;
    const document = parsed(utf8(member.document), "the member's line");
    shape(document, 'amount_minor', 'member');
    require(typeof document.member === 'string', 'a pseudonym is no text');
    const amount = decimal(document.amount_minor);
    require(amount >= 0n && amount <= MOST, 'an amount is below zero or too large');
    const leaf = { amount, hash: await sha256(Uint8Array.of(0), eight(amount), unhex(member.salt), utf8(member.document)) };
    await verifySum(leaf, member.position, split.lines, member.path, {
      amount: decimal(split.amount_minor), hash: unhex(split.split_root),
    });
    Object.assign(facts, { member: document.member, member_minor: `${amount}` });
  }
}

async function verifySum(leaf, position, lines, nodes, root) {
  integers(lines);
  require(position >= 0 && position < lines, 'the line is beyond its tree');
  let [place, last, found] = [BigInt(position), BigInt(lines) - 1n, leaf];
  for (const sibling of nodes) {
    require(last !== 0n, 'a path is too long');
    if (place % 2n === 1n || place === last) {
      found = await sumNode(sibling, found);
      while (place % 2n === 0n && place !== 0n) [place, last] = [place / 2n, last / 2n];
    } else {
      found = await sumNode(found, sibling);
    }
    [place, last] = [place / 2n, last / 2n];
  }
  const same = hex(found.hash) === hex(root.hash) && found.amount === root.amount;
  require(last === 0n && same, 'the path does not lead to the root and its sum');
}

async function sumNode(left, right) {
  const parts = [eight(left.amount), left.hash, eight(right.amount), right.hash];
  const amount = left.amount + right.amount;
  require(amount <= MOST, 'an amount is below zero or too large');
  return { amount, hash: await sha256(Uint8Array.of(1), ...parts) };
}

function eight(amount) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, amount);
  return bytes;
}

const CHECKS = {
  form: checkForm,
  signatures: checkSignatures,
  entries: checkEntries,
  line: checkLine,
  terms: checkTerms,
  approval: checkApproval,
  weight: checkWeight,
  amount: checkAmount,
  adjustments: checkAdjustments,
  payments: checkPayments,
  member: checkMember,
};

// What they share.

function require(holds, reason) {
  if (!holds) throw new Refused(reason);
}

/** A document that is in RFC 8785 form: written again, it has the same bytes. */
function parsed(bytes, subject) {
  try {
    const text = strictText(bytes);
    const document = JSON.parse(text);
    if (canonical(document) === text && document !== null && typeof document === 'object') return document;
  } catch {
    // It is said below.
  }
  throw new Refused(`${subject} is not JSON in canonical form`);
}

/** A text of bytes in UTF-8. */
function strictText(bytes) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Refused('a text is not UTF-8');
  }
}

/** A value in RFC 8785 form. */
function canonical(value, depth = 1) {
  if (value !== null && typeof value === 'object') {
    require(depth <= MOST_DEPTH, 'JSON is nested too deep');
    const inside = (each) => canonical(each, depth + 1);
    if (Array.isArray(value)) return `[${value.map(inside).join(',')}]`;
    // In the order of their UTF-16, which is that of `sort`.
    return `{${Object.keys(value).sort().map((name) => `${inside(name)}:${inside(value[name])}`).join(',')}}`;
  }
  if (typeof value === 'string') require(!/[\ud800-\udfff]/u.test(value), 'a text is not Unicode');
  return JSON.stringify(value);
}

function shape(value, ...names) {
  const fits = value !== null && typeof value === 'object' && !Array.isArray(value)
    && Object.keys(value).sort().join() === names.sort().join();
  require(fits, `an object must have ${names.join(', ')}`);
}

function integers(...values) {
  require(values.every(Number.isSafeInteger), 'a number is none');
}

function decimal(text) {
  require(typeof text === 'string' && DECIMAL.test(text), 'a figure is no decimal of at most 4,300 digits');
  return BigInt(text);
}

const isAmount = (value) => value >= -MOST && value <= MOST;

/** An amount: what an account may have, or lack. */
function amountIn(text) {
  const amount = decimal(text);
  require(isAmount(amount), 'an amount is beyond 64 bits');
  return amount;
}

const figure = (name, text) => (name.endsWith('_minor') ? amountIn(text) : decimal(text));

/** A fraction of at least 0, in lowest terms. */
function fraction(text) {
  require(typeof text === 'string' && FRACTION.test(text), 'a fraction is none, or has more than 4,300 digits');
  const [over, under] = text.split('/').map(BigInt);
  let [a, b] = [over, under];
  while (b) [a, b] = [b, a % b];
  require(a === 1n, 'a fraction is not in lowest terms');
  return { over, under };
}

function path(values) {
  require(Array.isArray(values) && values.every((each) => typeof each === 'string'), 'a path is no list of hashes');
  return values.map((each) => {
    const hash = base64(each);
    require(hash.length === 32, 'a hash does not have 32 bytes');
    return hash;
  });
}

function base64(text) {
  let data;
  try {
    data = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    throw new Refused('a text is not base64');
  }
  require(btoa(String.fromCharCode(...data)) === text, 'a text is not canonical base64');
  return data;
}

function of(entries, type, said = {}) {
  const fields = Object.entries(said);
  return entries.filter((each) => each.type === type && fields.every(([name, value]) => each[name] === value));
}

function only(entries, type, said) {
  const found = of(entries, type, said);
  require(found.length === 1, `the file must have one ${type} entry that says ${JSON.stringify(said)}`);
  return found[0];
}

function squareRoot(value) {
  if (value < 2n) return value;
  let root = 1n << BigInt((value.toString(2).length + 1) >> 1);
  for (;;) {
    const next = (root + value / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}

const larger = (a, b) => (a > b ? a : b);
const smaller = (a, b) => (a < b ? a : b);
const utf8 = (text) => new TextEncoder().encode(text);
const latin1 = (bytes) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join('');
const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
const unhex = (text) => {
  require(typeof text === 'string' && /^([0-9a-f]{2})*$/.test(text), 'a text is not hexadecimal');
  return Uint8Array.from(text.match(/../g) ?? [], (byte) => parseInt(byte, 16));
};

async function sha256(...parts) {
  const data = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    data.set(part, at);
    at += part.length;
  }
  return new Uint8Array(await crypto.subtle.digest('SHA-256', data));
}

/** What is escaped: characters that are not printable by Unicode, but for the joiners of Persian, Hindi and others. */
const UNSEEN = /(?![ \u200c\u200d])[\p{C}\p{Z}]/gu;
const SHORT = { '\t': '\\t', '\n': '\\n', '\r': '\\r' };

/**
 * The text with every character escaped that would not be seen, or that turns the order of others: `\x1b`, `\u202e`.
 * The same as services/printing.py does.
 * @param {string} text
 */
export function printable(text) {
  return text.replace(UNSEEN, (character) => {
    const code = character.codePointAt(0);
    const [letter, digits] = code < 0x100 ? ['x', 2] : code < 0x10000 ? ['u', 4] : ['U', 8];
    return SHORT[character] ?? `\\${letter}${code.toString(16).padStart(digits, '0')}`;
  });
}

/**
 * What the facts of a file that holds say to people, in printable lines: amounts as money, and weights in units.
 * @param {object} facts those of `check`, or of the last of the `steps`
 * @returns {string[][]} names and values
 */
export function told(facts) {
  const named = { counted: 'units counted', weight: 'weight in units', returned: 'sent back by the bank' };
  const change = (each) => `${money(each.old_minor, facts.currency)} became ${money(each.new_minor, facts.currency)}: ${each.reason}`;
  const pairs = Object.entries(facts).map(([name, value]) => {
    const what = named[name] ?? name.replace(/_minor$/, '').replaceAll('_', ' ');
    if (name.endsWith('_minor')) return [what, money(value, facts.currency)];
    if (name === 'counted' || name === 'weight') return [what, decimalText(value, COUNTED).replace(/\.?0+$/, '')];
    if (name === 'adjusted') return [what, value.map(change).join('; ')];
    if (name !== 'returned') return [what, `${value}`];
    const back = value.map((each) => `${money(each.amount_minor, facts.currency)} on ${each.day}: ${each.reason}`);
    return [what, back.join('; ')];
  });
  return pairs.map(([name, value]) => [name, printable(value)]);
}

/** Decimals of a counted weight: units times a share, a mode's factor and a confidence. */
const COUNTED = 9 + 6 + 6;

function decimalText(text, decimals) {
  const [sign, digits] = text.startsWith('-') ? ['-', text.slice(1)] : ['', text];
  const whole = digits.padStart(decimals + 1, '0');
  const at = whole.length - decimals;
  return `${sign}${whole.slice(0, at)}${decimals ? `.${whole.slice(at)}` : ''}`;
}

/** Decimals of currencies that have not two, by ISO 4217. Intl has fewer for those whose small coins are out of use. */
const MINOR_UNITS = {
  BIF: 0, CLP: 0, DJF: 0, GNF: 0, ISK: 0, JPY: 0, KMF: 0, KRW: 0, PYG: 0, RWF: 0, UGX: 0, UYI: 0, VND: 0, VUV: 0, XAF: 0,
  XOF: 0, XPF: 0, BHD: 3, IQD: 3, JOD: 3, KWD: 3, LYD: 3, OMR: 3, TND: 3, CLF: 4, UYW: 4,
};

/**
 * An amount for people, with the decimals of its currency.
 * @param {bigint|string} minor in minor units
 * @param {string} currency an ISO 4217 code
 */
export function money(minor, currency) {
  return `${decimalText(`${minor}`, MINOR_UNITS[currency] ?? 2)} ${currency}`;
}

/** Whether Node runs this file as a program, under whatever name or link: an import must do nothing. */
async function isProgram() {
  if (typeof process === 'undefined') return false;
  if (import.meta.main !== undefined) return import.meta.main;
  if (/\/\[(eval|stdin)[0-9]*\]$/.test(import.meta.url)) return true; // its text was handed to Node
  const started = process.argv?.[1] ?? '';
  const { createRequire } = await import('node:module');
  const { isAbsolute } = await import('node:path');
  const { pathToFileURL } = await import('node:url');
  const evaluates = process.execArgv.some((each) => /^(-[ep]+|--eval|--print)(=|$)/.test(each));
  if (evaluates || !isAbsolute(started)) return false; // then it is the first argument of other code
  try {
    const found = createRequire(import.meta.url).resolve(started); // as Node itself finds a program
    return [started, found].some((each) => pathToFileURL(each).href === import.meta.url);
  } catch {
    return false;
  }
}

// As a program it prints each step, and ends with status 1 where one does not hold.
if (await isProgram()) {
  const { readFileSync } = await import('node:fs');
  const { parseArgs } = await import('node:util');
  const many = { type: 'string', multiple: true, default: [] };
  const options = { 'witness-policy': many, 'key-change': many };
  const { positionals: [file, vkey, ...witnesses], values } = parseArgs({ options, allowPositionals: true });
  const [policies, changes] = Object.keys(options).map((name) => values[name].map((each) => readFileSync(each)));
  let held = true;
  let facts = {};
  for await (const step of steps(readFileSync(file), vkey, { witnesses, policies, changes })) {
    console.log(`${step.held ? '✓' : '✗'} ${step.title}${step.held ? '' : `: ${printable(step.reason)}`}`);
    held &&= step.held;
    facts = step.facts;
  }
  if (held) {
    for (const [name, value] of told(facts)) console.log(`  ${name}: ${value}`);
    console.log(VERDICT);
  }
  process.exitCode = held ? 0 : 1;
}
