"""Statement files under each kind of trust: named witnesses, quorums of witnesses, and changes of the signing key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Any, Final

from audit.statements.check import Check, StatementReport, check_statement
from audit.statements.file import StatementFile
from ledger.acts.entries import KeyChangeContent
from ledger.errors import FormatError, SignatureError
from ledger.log.checkpoint import read_checkpoint, sign_checkpoint
from ledger.log.key_changes import KeyChange, LastSigned, Reason
from ledger.log.leaves import Content
from ledger.log.note_keys import SignatureType, SigningKey, VerifierKey
from ledger.log.notes import sign_note
from ledger.log.witness_policy import all_of, parse_policy
from payout.policy import Policy
from tests.support.pool_log import PoolLog
from tests.support.statement_files import cosigned, small_log, statement_file

DEPLOYMENT: Final = "moiety.example"
OLD, NEW, NEXT, THIEF = (SigningKey(DEPLOYMENT, bytes(range(at, at + 32))) for at in range(4))
"""The deployment's keys in turn, and a stranger's."""

ONE, TWO, THREE = (SigningKey(f"w{at}.example", bytes([at]) * 32, SignatureType.COSIGNATURE) for at in range(1, 4))
STRANGER: Final = SigningKey("w4.example", bytes([4]) * 32, SignatureType.COSIGNATURE)
NAMED: Final = "".join(f"witness w{at} {key.verifier_key}\n" for at, key in enumerate((ONE, TWO, THREE), 1))
TWO_OF_THREE: Final = f"{NAMED}group three 2 w1 w2 w3\nquorum three\n"
NESTED: Final = f"# who\n\n{NAMED}group\tpair all w1 w2 \ngroup either any pair w3\nquorum either"
NOBODY: Final = f"{NAMED}quorum none\n"


@dataclass(frozen=True)
class Case:
    """A file, who is trusted, and the step that fails; None where all hold. Changes and policies are texts of files."""

    name: str
    file: str
    vkey: str
    witnesses: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    failed: str | None = None

    def document(self) -> dict[str, Any]:
        """The case as the vectors have it."""
        return asdict(self)

    def check(self) -> StatementReport:
        """What the Python check says; a policy or a change that cannot be read fails the signatures."""
        try:
            policies = [parse_policy(policy.encode()) for policy in self.policies]
            changes = [KeyChange.parse(change.encode()) for change in self.changes]
            named = [all_of([VerifierKey.parse(each) for each in self.witnesses])]
        except (FormatError, SignatureError) as error:
            return StatementReport([Check.FORM], Check.SIGNATURES, str(error))
        return check_statement(self.file.encode(), VerifierKey.parse(self.vkey), [*named, *policies], changes)


def resigned(file: StatementFile, key: SigningKey, registry_key: SigningKey | None = None) -> StatementFile:
    """The file with its checkpoints signed by other keys of the deployment."""

    def signed(note: bytes, by: SigningKey) -> bytes:
        checkpoint, _ = read_checkpoint(note)
        return sign_checkpoint(checkpoint, by.named(checkpoint.origin)).to_bytes()

    return replace(
        file,
        pool=replace(file.pool, checkpoint=signed(file.pool.checkpoint, key)),
        registry=replace(file.registry, checkpoint=signed(file.registry.checkpoint, registry_key or key)),
    )


def change_of(
    old: SigningKey, new: SigningKey, logs: Sequence[LastSigned], reason: Reason = Reason.ROTATED
) -> KeyChange:
    """A change, signed as its reason asks."""
    change = KeyChange(reason, old.verifier_key, new.verifier_key, tuple(logs))
    return change.sign(new, old if reason is Reason.ROTATED else None)


def leaf_of(change: KeyChange) -> Content:
    """The registry's leaf of a change."""
    return KeyChangeContent(note=change.note.decode(), logs_sha256=change.step().logs_sha256.hex())


def _log(*leaves: Content) -> PoolLog:
    log = small_log(Policy())
    log.registry.now = log.now
    for content in leaves:
        log.registry.append(content)
    return log


def signing_cases() -> list[Case]:
    """All of them."""
    return [*_quorums(), *_policies(), *_changes(), *_forged_changes(), *_after_theft()]


def _quorums() -> list[Case]:
    file = statement_file(_log(), 1, "eire")
    vkey = str(OLD.verifier_key)
    both, single = cosigned(file, ONE, TWO).decode(), cosigned(file, ONE).decode()
    third = cosigned(file, THREE).decode()
    only_pool = cosigned(file, ONE, TWO, only_pool=True).decode()
    impostor = SigningKey(ONE.name, bytes(32), ONE.type)
    keys = [str(key.verifier_key) for key in (ONE, TWO, THREE)]
    none = file.to_bytes().decode()
    mixed = replace(
        StatementFile.parse(both.encode()), registry=StatementFile.parse(third.encode()).registry
    ).to_bytes()
    return [
        Case("two of three cosigned", both, vkey, policies=(TWO_OF_THREE,)),
        Case("one of three cosigned", single, vkey, policies=(TWO_OF_THREE,), failed="signatures"),
        Case("two cosigned the pool's alone", only_pool, vkey, policies=(TWO_OF_THREE,), failed="signatures"),
        Case("other quorums of the two logs", mixed.decode(), vkey, policies=(TWO_OF_THREE,), failed="signatures"),
        Case("nobody cosigned", none, vkey, policies=(TWO_OF_THREE,), failed="signatures"),
        Case("nobody is asked for", none, vkey, policies=(NOBODY,)),
        Case("both of a nested pair", both, vkey, policies=(NESTED,)),
        Case("the third of a nested policy", third, vkey, policies=(NESTED,)),
        Case("one of a nested pair", single, vkey, policies=(NESTED,), failed="signatures"),
        Case("one of two policies", single, vkey, policies=(NESTED, NOBODY), failed="signatures"),
        Case("a policy and a witness", both, vkey, (keys[1],), (TWO_OF_THREE,)),
        Case("a policy and a witness that is missing", both, vkey, (keys[2],), (TWO_OF_THREE,), failed="signatures"),
        Case("one witness, named twice", single, vkey, (keys[0], keys[0])),
        Case(
            "cosigned under another's name", cosigned(file, impostor, TWO).decode(), vkey, policies=(TWO_OF_THREE,),
            failed="signatures",
        ),
        Case("a stranger cosigned", cosigned(file, ONE, STRANGER).decode(), vkey, failed="signatures"),
        Case(
            "a stranger cosigned, whom the policy names", cosigned(file, STRANGER).decode(), vkey,
            policies=(f"witness s {STRANGER.verifier_key}\nquorum s\n",),
        ),
    ]  # fmt: skip


_FORMS: Final[dict[str, str]] = {
    "no quorum": NAMED,
    "two quorums": f"{NAMED}quorum w1\nquorum w1\n",
    "an unknown quorum": f"{NAMED}quorum w9\n",
    "a threshold of none": f"{NAMED}group g 0 w1\nquorum g\n",
    "a threshold above the members": f"{NAMED}group g 3 w1 w2\nquorum g\n",
    "a threshold in words": f"{NAMED}group g some w1 w2\nquorum g\n",
    "a member of two groups": f"{NAMED}group g 1 w1\ngroup h 1 w1\nquorum g\n",
    "a member twice": f"{NAMED}group g 2 w1 w1\nquorum g\n",
    "a member that comes later": f"{NAMED}group g 1 h\ngroup h 1 w1\nquorum g\n",
    "a group of nobody": f"{NAMED}group g 1\nquorum g\n",
    "a name twice": f"{NAMED}group w1 1 w2\nquorum w1\n",
    "a witness called none": f"witness none {ONE.verifier_key}\nquorum none\n",
    "a key twice": f"{NAMED}witness w4 {ONE.verifier_key}\nquorum w1\n",
    "a log's key as a witness's": f"witness w1 {OLD.verifier_key}\nquorum none\n",
    "a witness's key as a log's": f"log {ONE.verifier_key}\nquorum none\n",
    "a word that there is not": f"{NAMED}witnesses w1\nquorum none\n",
    "a word too many": f"{NAMED}quorum none none\n",
    "a control character": f"{NAMED}quorum\rnone\n",
    "a key with a space that is none": f"witness w1 \xa0{ONE.verifier_key}\nquorum none\n",
}


def _policies() -> list[Case]:
    file = statement_file(_log(), 1, "eire").to_bytes().decode()
    vkey = str(OLD.verifier_key)
    forms = [
        Case(f"policy: {name}", file, vkey, policies=(text,), failed="signatures") for name, text in _FORMS.items()
    ]
    return [*forms, Case("a policy of this deployment", file, vkey, policies=(f"log {vkey}\tx\nquorum none",))]


def _last(file: StatementFile, less: int = 0) -> list[LastSigned]:
    read = [read_checkpoint(part.checkpoint)[0] for part in (file.pool, file.registry)]
    return [
        LastSigned(log, found.size - less, found.root) for log, found in zip(("folk", "registry"), read, strict=True)
    ]


def _changes() -> list[Case]:
    file = statement_file(_log(), 1, "eire")
    old, new, last_key = (str(key.verifier_key) for key in (OLD, NEW, NEXT))
    before = file.to_bytes().decode()
    after, later = (resigned(file, key).to_bytes().decode() for key in (NEW, NEXT))
    change = change_of(OLD, NEW, _last(file)).to_bytes().decode()
    second = change_of(NEW, NEXT, _last(file)).to_bytes().decode()
    early = change_of(OLD, NEW, _last(file, 1)).to_bytes().decode()
    back = change_of(NEXT, OLD, _last(file)).to_bytes().decode()
    unnamed = change_of(OLD, NEW, _last(file)[1:]).to_bytes().decode()
    of_thief = change_of(OLD, THIEF, _last(file)).to_bytes().decode()
    thieves = resigned(file, THIEF).to_bytes().decode()
    split = resigned(file, NEW, OLD).to_bytes().decode()
    in_log = statement_file(_log(leaf_of(change_of(OLD, NEW, _last(file)))), 1, "eire")
    shown = resigned(in_log, NEXT).to_bytes().decode()
    return [
        Case("a change to the key that signs", after, old, changes=(change,)),
        Case("without the change", after, old, failed="signatures"),
        Case("two changes in any order", later, old, changes=(second, change)),
        Case("a change that is missing between", later, old, changes=(second,), failed="signatures"),
        Case("a change before the given key", before, new, changes=(change,)),
        Case("two changes before the given key", before, last_key, changes=(change, second)),
        Case("a key that was replaced before", before, new, changes=(early,), failed="signatures"),
        Case("a key that was replaced before, and is given", before, old, changes=(early,), failed="signatures"),
        Case("a log that the change does not name", before, old, changes=(unnamed,), failed="signatures"),
        Case("a change of another chain", after, new, changes=(back,), failed="signatures"),
        Case("one change twice", after, old, changes=(change, change), failed="signatures"),
        Case("a key that comes back", later, old, changes=(change, second, back), failed="signatures"),
        Case("two keys after one", thieves, old, changes=(change, of_thief), failed="signatures"),
        Case("the registry's by the key before", split, old, changes=(change,)),
        Case("a change in the file and one beside it", shown, old, changes=(second,)),
        Case("the same change in the file and beside it", shown, old, changes=(change, second)),
    ]


def _forged_changes() -> list[Case]:
    file = statement_file(_log(), 1, "eire")
    old, after = str(OLD.verifier_key), resigned(file, NEW).to_bytes().decode()
    change = change_of(OLD, NEW, _last(file))
    listed, text = change.listed().decode(), change.step().text()
    by_new = sign_note(text, [NEW]).to_bytes().decode()
    by_thief = sign_note(text, [THIEF, NEW]).to_bytes().decode()
    by_three = sign_note(text, [OLD, NEW, THIEF]).to_bytes().decode()
    whole = change.to_bytes().decode()
    swapped = "".join(f"{line}\n" for line in reversed(listed.splitlines()))
    elsewhere = KeyChange(
        Reason.ROTATED,
        VerifierKey("other.example", OLD.verifier_key.public_key),
        VerifierKey("other.example", NEW.verifier_key.public_key),
        change.logs,
    ).sign(NEW.named("other.example"), OLD.named("other.example"))
    forged = {
        "the old key did not sign": f"{listed}\n{by_new}",
        "another signed for the old key": f"{listed}\n{by_thief}",
        "a third one signed too": f"{listed}\n{by_three}",
        "another list of logs": whole.replace("folk ", "folks ", 1),
        "another size": whole.replace("folk ", "folk 1", 1),
        "logs that are not sorted": f"{swapped}\n{change.note.decode()}",
        "no list of logs": change.note.decode(),
        "no note": listed,
        "a note that does not end": whole.removesuffix("\n"),
        "of another deployment": elsewhere.to_bytes().decode(),
        "nothing": "",
    }
    cases = [Case(f"change: {name}", after, old, changes=(text,), failed="signatures") for name, text in forged.items()]
    unsorted = _relisted(change, swapped)
    twice = _relisted(change, listed.splitlines()[0] + "\n" + listed)
    zeros = _relisted(change, listed.replace("folk ", "folk 0", 1))
    nameless = _relisted(change, listed.replace("folk ", " ", 1))
    too_large = _relisted(change, f"folk {2**63} {listed.split()[2]}\n")
    empty = _relisted(change, "\n")
    sealed = {
        "unsorted": unsorted, "twice": twice, "zeros": zeros, "nameless": nameless, "too large": too_large,
        "empty": empty,
    }  # fmt: skip
    return [
        *cases,
        *(
            Case(f"change, signed: {name}", after, old, changes=(text,), failed="signatures")
            for name, text in sealed.items()
        ),
    ]


def _relisted(change: KeyChange, listed: str) -> str:
    """A file of a change that names another list, signed by both keys."""
    step = replace(change.step(), logs_sha256=sha256(listed.encode()).digest())
    return f"{listed}\n{sign_note(step.text(), [OLD, NEW]).to_bytes().decode()}"


def _after_theft() -> list[Case]:
    file = statement_file(_log(), 1, "eire")
    old, new = str(OLD.verifier_key), str(NEW.verifier_key)
    stolen = change_of(OLD, NEW, _last(file), Reason.STOLEN)
    beside = stolen.to_bytes().decode()
    after, in_log = resigned(file, NEW), resigned(statement_file(_log(leaf_of(stolen)), 1, "eire"), NEW)
    found = []
    for where, signed, changes in (("beside", after, (beside,)), ("in", in_log, ())):
        plain, quorum = signed.to_bytes().decode(), cosigned(signed, ONE, TWO).decode()
        single = cosigned(signed, THREE).decode()
        found += [
            Case(f"{where}: after a theft", plain, old, changes=changes, failed="signatures"),
            Case(f"{where}: after a theft, the new key", plain, new, changes=changes),
            Case(f"{where}: after a theft, a quorum", quorum, old, (), (TWO_OF_THREE,), changes),
            Case(f"{where}: after a theft, too few", single, old, (), (TWO_OF_THREE,), changes, failed="signatures"),
            Case(f"{where}: after a theft, nobody asked for", quorum, old, changes=changes, failed="signatures"),
            Case(
                f"{where}: after a theft, a quorum of nobody", quorum, old, (), (NOBODY,), changes, failed="signatures"
            ),
        ]
    return found
