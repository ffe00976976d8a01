"""What a change of the audit log looks like to whoever checks it."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.accounts.audit import AuditFact, plain
from orchestrator.accounts.audit_chain import (
    AuditHead,
    AuditRecord,
    ChainCheck,
    Finding,
    head_of,
    next_record,
)

KEY = b"k" * 32
replaced = msgspec.structs.replace

FACTS = st.builds(
    AuditFact,
    action=st.sampled_from(["user.changed", "sign_in.refused"]),
    actor=st.text(max_size=8),
    object=st.text(max_size=8),
    result=st.sampled_from(["ok", "refused", "failed"]),
    address=st.text(max_size=8),
    detail=st.text(max_size=8),
)


def chain(facts: list[AuditFact], *, key: bytes = KEY) -> list[AuditRecord]:
    records: list[AuditRecord] = []
    for n, fact in enumerate(facts):
        after = records[-1] if records else None
        records.append(next_record(fact, at=f"2026-01-01T00:00:{n:02}.000Z", after=after, key=key))
    return records


def checked(records: list[AuditRecord], head: AuditHead | None) -> Finding:
    check = ChainCheck(key=KEY, head=head)
    check.feed(records)
    return check.finish()


@given(facts=st.lists(FACTS, max_size=12), anchored=st.integers(0, 11))
def test_a_log_as_it_was_written_is_whole(facts: list[AuditFact], anchored: int) -> None:
    """Whatever was recorded, and with an anchor that is not the newest."""
    records = chain(facts)
    head = head_of(records[min(anchored, len(records) - 1)], key=KEY) if records else None
    finding = checked(records, head)
    assert finding.is_whole
    assert finding.checked == len(records)


@given(
    facts=st.lists(FACTS, min_size=1, max_size=10),
    at=st.integers(0, 9),
    field=st.sampled_from(["at", "actor", "action", "object", "result", "address", "detail"]),
)
def test_a_changed_record_is_named(facts: list[AuditFact], at: int, field: str) -> None:
    """Whichever field of whichever record was changed."""
    records = chain(facts)
    at %= len(records)
    old = records[at].entry
    changed = replaced(old, **{field: getattr(old, field) + "x"})
    finding = checked(
        [*records[:at], replaced(records[at], entry=changed), *records[at + 1 :]],
        head_of(records[-1], key=KEY),
    )
    assert (finding.broken, finding.checked) == (at + 1, at)


@given(facts=st.lists(FACTS, min_size=2, max_size=10), at=st.integers(0, 8))
def test_a_removed_record_is_named(facts: list[AuditFact], at: int) -> None:
    """Also where the later ones were numbered anew."""
    records = chain(facts)
    at %= len(records) - 1
    head = head_of(records[-1], key=KEY)
    rest = [*records[:at], *records[at + 1 :]]
    assert checked(rest, head).broken == at + 1
    renumbered = [
        replaced(record, entry=replaced(record.entry, seq=n)) for n, record in enumerate(rest, 1)
    ]
    assert checked(renumbered, head).broken == at + 1


@given(facts=st.lists(FACTS, min_size=2, max_size=10), one=st.integers(0, 9), two=st.integers(0, 9))
def test_records_that_changed_places_are_named(facts: list[AuditFact], one: int, two: int) -> None:
    """With their old numbers or with new ones."""
    records = chain(facts)
    one, two = sorted((one % len(records), two % len(records)))
    if one == two:
        return
    head = head_of(records[-1], key=KEY)
    moved = list(records)
    moved[one], moved[two] = moved[two], moved[one]
    assert checked(moved, head).broken == one + 1
    renumbered = [
        replaced(record, entry=replaced(record.entry, seq=n)) for n, record in enumerate(moved, 1)
    ]
    assert checked(renumbered, head).broken == one + 1


@given(facts=st.lists(FACTS, min_size=1, max_size=10), left=st.integers(0, 9))
def test_a_missing_end_is_found(facts: list[AuditFact], left: int) -> None:
    """By the anchor: what is left looks whole by itself."""
    records = chain(facts)
    left %= len(records)
    finding = checked(records[:left], head_of(records[-1], key=KEY))
    assert not finding.is_whole
    assert "end is missing" in finding.sentence
    assert finding.checked == left


@given(facts=st.lists(FACTS, min_size=1, max_size=6), at=st.integers(0, 5))
def test_a_chain_with_another_key_is_none(facts: list[AuditFact], at: int) -> None:
    """Who writes the rest anew, without the key, is found at the first record they wrote."""
    records = chain(facts)
    at %= len(records)
    forged = records[:at]
    for record in records[at:]:
        after = forged[-1] if forged else None
        fact = AuditFact(action="forged")
        forged.append(next_record(fact, at=record.entry.at, after=after, key=b"x" * 32))
    assert checked(forged, head_of(records[-1], key=KEY)).broken == at + 1


@pytest.mark.parametrize(
    "change",
    [
        lambda head: None,
        lambda head: replaced(head, seq=1, count=1),
        lambda head: replaced(head, hash="0" * 64),
        lambda head: replaced(head, seal=""),
    ],
)
def test_an_anchor_that_is_gone_or_changed_is_found(
    change: Callable[[AuditHead], AuditHead | None],
) -> None:
    """An anchor that anybody could write would anchor nothing."""
    records = chain([AuditFact(action="x")] * 3)
    finding = checked(records, change(head_of(records[-1], key=KEY)))
    assert not finding.is_whole


def test_a_log_of_nothing_is_whole() -> None:
    """Before the first entry there is no anchor either."""
    assert checked([], None).is_whole


@given(st.text(max_size=1000))
def test_what_is_written_is_one_plain_line(text: str) -> None:
    """No control characters, no overrides of the text's direction, no end."""
    shown = plain(text)
    assert shown.isprintable()
    assert len(shown) <= 300
    assert shown == text or not (text.isprintable() and len(text) <= 300)
