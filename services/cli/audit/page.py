"""A verification as one HTML file, to be printed and filed: no script, and nothing that is fetched from elsewhere.

It is made from the document that `--json` prints, and from nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from html import escape
from typing import Any, Final

from ledger.errors import InvalidInputError
from ledger.money import decimal_text, minor_unit_exponent
from services.printing import printable

_STYLE: Final = """
body { font: 11pt/1.45 system-ui, sans-serif; color: #111; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .4rem; } h3 { font-size: 1rem; }
table { border-collapse: collapse; width: 100%; margin: .4rem 0 1rem; }
th, td { text-align: left; vertical-align: top; padding: .2rem .6rem .2rem 0; border-bottom: 1px solid #ccc; }
td, dd { overflow-wrap: anywhere; unicode-bidi: isolate; } td { min-width: 6.4rem; }
th.n, td.n { text-align: right; white-space: nowrap; min-width: 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: .4rem 0; } dd { margin: 0; }
.verdict { border: 2px solid #111; padding: .6rem .9rem; font-weight: 600; }
.failed { border-color: #b00020; color: #b00020; }
@page { margin: 15mm 12mm; }
@media print {
  body { font-size: 9.5pt; margin: 0; max-width: none; padding: 0; } h2, h3 { break-after: avoid; }
  tr, dl { break-inside: avoid; } thead { display: table-header-group; }
}
"""

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
"""What a browser may load for the page: nothing but its own style."""

_AMOUNTS: Final = (
    ("pot", "pot_minor"), ("fee", "fee_minor"), ("attributed", "attributed_minor"), ("commons", "commons_minor"),
    ("kept", "commons_kept_minor"), ("carried over", "carried_minor"), ("rounding", "rounding_minor"),
)  # fmt: skip


def page(document: dict[str, Any], verdict: str, *, bundle: str, made_at: datetime) -> str:
    """Returns the HTML of a verification's document; `verdict` is its last line, `made_at` when it was made."""
    title, made = f"Verification of {_origin(document)}", f"{made_at:%Y-%m-%d %H:%M} UTC"
    parts = [
        "<!doctype html>", '<html lang="en">', '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{_text(title)}</title>", f"<style>{_STYLE}</style>", f"<h1>{_text(title)}</h1>",
        f"<p>{_text(document['pool_name'])}, verified {_text(made)} from {_text(bundle)}.</p>",
        f'<p class="verdict{"" if document["holds"] else " failed"}">{_text(verdict)}</p>',
    ]  # fmt: skip
    sections = (_findings, _steps, _rounds, _conservation, _changes, _acts, _sample)
    parts += [*_notes(document), *_freshness(document, made_at)]
    return "\n".join([*parts, *(line for section in sections for line in section(document)), "</html>", ""])


def _origin(document: dict[str, Any]) -> str:
    checkpoint = document["checkpoint"]
    return checkpoint["origin"] if checkpoint else "a bundle without a readable checkpoint"


def _notes(document: dict[str, Any]) -> Iterator[str]:
    if document["warnings"]:
        yield f"<ul>{''.join(f'<li>{_text(warning)}</li>' for warning in document['warnings'])}</ul>"


def _freshness(document: dict[str, Any], made_at: datetime) -> Iterator[str]:
    yield _head("What was verified")
    for name, checkpoint in (("pool", document["checkpoint"]), ("registry", document["registry"])):
        if checkpoint is None:
            continue
        times = document["logs"][name]
        last = _time(times["last_leaf_at"]) + _age(times["last_leaf_at"], made_at)
        yield _pairs(
            [
                ("log", checkpoint["origin"]), ("size", f"{checkpoint['size']:,} leaves"), ("root", checkpoint["root"]),
                ("first leaf", _time(times["first_leaf_at"])), ("last leaf", last),
            ]
        )  # fmt: skip
    signed = [
        (
            each["log"],
            each["name"],
            each["key_id"],
            _time(each["cosigned_at"]) + _age(each["cosigned_at"], made_at) or "(the log's own: no time)",
        )
        for each in document["signed_by"]
    ]
    yield _table(["Checkpoint of", "Signed by", "Key", "Cosigned at"], signed)


def _findings(document: dict[str, Any]) -> Iterator[str]:
    if document["holds"]:
        return
    yield _head(f"Findings: {document['finding_count']:,}")
    titles = {step["number"]: step["title"] for step in document["steps"]}
    rows = []
    for each in document["findings"]:
        known = each["consequence"]
        at = [each["log"], f"leaf {each['leaf_index']}" if each["leaf_index"] >= 0 else "", each["file"]]
        at += [f"line {each['line']}" if each["line"] else ""]
        about = [f"round {known['round']}" if known["round"] else "", known["collective"]]
        rows.append(
            (
                titles[each["step"]], " ".join(filter(None, at)), " ".join(filter(None, about)), each["figure"],
                known["expected"] or each["expected"], known["claimed"] or each["claimed"], _paid(known),
            )
        )  # fmt: skip
    yield _table(["Does not hold", "Where", "About", "Figure", "Expected", "Got", "Paid by it"], rows)
    if document["finding_count"] > len(rows):
        yield f"<p>And {document['finding_count'] - len(rows):,} more like these.</p>"


def _paid(known: dict[str, Any]) -> str:
    if not known["round"]:
        return ""
    if known["posted_at"] is None:
        return "nobody: the round was not posted"
    return f"{known['payments']} payments since, {known['paid']}" if known["payments"] else "no payment since"


def _steps(document: dict[str, Any]) -> Iterator[str]:
    yield _head("Steps")
    rows = [
        (
            step["number"], step["title"], step["outcome"].lower().replace("_", " "),
            _looked_at(step),
        )
        for step in document["steps"]
    ]  # fmt: skip
    yield _table(["Step", "", "Outcome", "Looked at"], rows, numbers=1)


def _looked_at(step: dict[str, Any]) -> str:
    counts = [f"{count:,} {what}" for what, count in step["checked"].items()]
    return ", ".join(filter(None, [*counts, step["left_out"]]))


def _rounds(document: dict[str, Any]) -> Iterator[str]:
    yield _head(f"Rounds: {len(document['rounds']):,}")
    rows = [
        (
            each["number"], f"{each['events']:,}", f"{each['collectives']:,}", _money(each["pot_minor"], document),
            f"[{each['start']}, {each['end']})", each["state"], _who(each["calculated_by"], each["calculated_at"]),
            _who(each["decided_by"], each["decided_at"]), _time(each["posted_at"]), "; ".join(each["objections"]),
        )
        for each in document["rounds"]
    ]  # fmt: skip
    columns = ["Round", "Events", "Collectives", "Pot", "Leaves", "State", "Asked for", "Decided", "Posted"]
    yield _table([*columns, "Objections"], rows, numbers=4)


def _conservation(document: dict[str, Any]) -> Iterator[str]:
    yield _head("Where the money went")
    rows = [(each["number"], *(_money(each[key], document) for _, key in _AMOUNTS)) for each in document["rounds"]]
    yield _table(["Round", *(name for name, _ in _AMOUNTS)], rows, numbers=1 + len(_AMOUNTS))
    balances = sorted(document["balances"].items())
    if balances:
        sums = [(kind, _money(amount, document)) for kind, amount in balances]
        total = _money(sum(amount for _, amount in balances), document)
        yield _table(["Accounts", "Balance"], [*sums, ("all together", total)], last_is_number=True)


def _changes(document: dict[str, Any]) -> Iterator[str]:
    yield _head("Registry and terms, from round to round")
    for each in document["rounds"]:
        yield f"<h3>{_text('Round {}: {:,} changes'.format(each['number'], each['change_count']))}</h3>"
        rows = [(change["subject"], change["figure"], change["before"], change["after"]) for change in each["changes"]]
        yield _table(["What", "Figure", "Before", "Now"], rows)
        if each["change_count"] > len(rows):
            yield f"<p>And {each['change_count'] - len(rows):,} more.</p>"


def _acts(document: dict[str, Any]) -> Iterator[str]:
    yield _head("Who did what")
    rows = [
        (
            act["log"], act["leaf_index"], act["type"].rpartition(".")[0], act["by"],
            act["approved_by"] or ("nobody: one person alone" if act["alone"] else ""),
        )
        for act in document["acts"]
    ]  # fmt: skip
    yield _table(["Log", "Leaf", "Act", "Proposed by", "Approved by"], rows)


def _sample(document: dict[str, Any]) -> Iterator[str]:
    if not document.get("sample"):
        return
    yield _head("Sample")
    rows = [
        (
            each["platform"], each["batch_id"], each["leaf_index"], each["position"], each["event_id"], each["record"],
            each["work_id"] or "", each["units"],
            ", ".join(f"{name} {percents(share)}" for name, share in each["shares"].items()),
        )
        for each in document["sample"]
    ]  # fmt: skip
    columns = ["Platform", "Batch", "Leaf", "Position", "Event", "Record", "Work", "Units", "Shares"]
    yield _table(columns, rows)


def percents(share_nano: int) -> str:
    """Returns a share as percents, exactly: `12.5 %`."""
    whole, dot, rest = decimal_text(share_nano, 7).partition(".")
    return f"{whole}{(dot + rest.rstrip('0')).removesuffix('.')} %"


def _who(name: str, time: str) -> str:
    return f"{name}, {_time(time)}" if name else ""


def _age(text: str, made_at: datetime) -> str:
    """How long before the page was made a time in RFC 3339 was; nothing where there is none."""
    try:
        passed = made_at - datetime.fromisoformat(text)
    except (ValueError, TypeError):
        return ""
    hours = int(passed.total_seconds() // 3600)
    return f", {hours // 24:,} days and {hours % 24} hours before this page" if hours >= 0 else ", later than this page"


def _time(text: str) -> str:
    """A time of RFC 3339 in UTC in a form that breaks between date and time, and without fractions of a second."""
    day, mark, time = text.partition("T")
    return f"{day} {time[:8]} UTC" if mark and time.endswith("+00:00") else text


def _money(amount_minor: int, document: dict[str, Any]) -> str:
    try:
        return f"{decimal_text(amount_minor, minor_unit_exponent(document['currency']))} {document['currency']}"
    except InvalidInputError:
        return f"{amount_minor} minor units"


def _text(value: object) -> str:
    """Any value, fit to stand in HTML: what a log says is never markup, and never turns what stands beside it."""
    return escape(printable(str(value)))


def _head(text: str) -> str:
    return f"<h2>{_text(text)}</h2>"


def _pairs(pairs: Iterable[tuple[str, object]]) -> str:
    return f"<dl>{''.join(f'<dt>{_text(name)}</dt><dd>{_text(value)}</dd>' for name, value in pairs)}</dl>"


def _table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, numbers: int = 0, last_is_number: bool = False
) -> str:
    """A table; the first `numbers` columns are numbers, or the last one is."""
    if not rows:
        return "<p>None.</p>"

    def cells(tag: str, row: Sequence[object]) -> str:
        right = [at < numbers or (last_is_number and at == len(row) - 1) for at in range(len(row))]
        marks = [' class="n"' if number else "" for number in right]
        return "".join(f"<{tag}{mark}>{_text(cell)}</{tag}>" for mark, cell in zip(marks, row, strict=True))

    body = "".join(f"<tr>{cells('td', row)}</tr>\n" for row in rows)
    return f"<table><thead><tr>{cells('th', columns)}</tr></thead><tbody>\n{body}</tbody></table>"
