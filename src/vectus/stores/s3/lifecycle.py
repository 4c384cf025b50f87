"""What the rules of a bucket's lifecycle do to uploads, and how to add one: decided from the
configuration's XML, in which everything stays that is not ours.

Pure: nothing is read or written. Nobody else's rule is ever changed in here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from xml.etree import ElementTree as ET

from vectus.errors import StoreError
from vectus.findings import Finding, Grade

SPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
DAY = 86400.0
LEAST_DAYS = 14
"""Days that our rule leaves to an upload at least."""

ABORT = "AbortIncompleteMultipartUpload"


@dataclass(frozen=True, slots=True)
class Configuration:
    """A bucket's lifecycle configuration.

    Args:
        xml: as the server has it; empty where there is none.
        minimum: what goes with it in a header: the size below which objects are not moved.
    """

    xml: bytes = b""
    minimum: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, as far as uploads are concerned.

    Args:
        id: its name.
        enabled: whether it is in force.
        prefix: what the keys begin with that it is about.
        narrowed: whether it asks more of an object than that: tags, or a size.
        days: how long after its beginning it aborts a multipart upload, or None.
        deletes: when it deletes objects, in words, or nothing.
        others: what else it does, by the names of S3.
    """

    id: str
    enabled: bool
    prefix: str
    narrowed: bool = False
    days: int | None = None
    deletes: str = ""
    others: tuple[str, ...] = ()

    def touches(self, prefix: str) -> bool:
        """Whether it is in force for some key with that prefix."""
        near = prefix.startswith(self.prefix) or self.prefix.startswith(prefix)
        return self.enabled and near

    def covers(self, prefix: str) -> bool:
        """Whether it is in force for all of them."""
        return self.enabled and prefix.startswith(self.prefix) and not self.narrowed

    @property
    def words(self) -> str:
        """What it says."""
        what = [
            f"abort unfinished multipart uploads {_days(self.days)} after they began"
            if self.days is not None
            else "",
            f"delete objects {self.deletes}" if self.deletes else "",
            *self.others,
        ]
        where = f'under "{self.prefix}"' if self.prefix else "in the whole bucket"
        narrowed = ", some objects only" if self.narrowed else ""
        state = "" if self.enabled else " (disabled)"
        return f"{self.id}: {where}{narrowed}, {' and '.join(filter(None, what))}{state}"


def _days(count: int | None) -> str:
    return "1 day" if count == 1 else f"{count} days"


# --- Reading --------------------------------------------------------------------------------------


def rules_of(configuration: Configuration) -> tuple[Rule, ...]:
    """Read the rules.

    Raises:
        StoreError: they cannot be understood.
    """
    return tuple(map(_rule, _root(configuration).findall("{*}Rule")))


def shortest(rules: tuple[Rule, ...], prefix: str) -> Rule | None:
    """Return the rule that is the first to abort an upload under a prefix, or may be."""
    aborting = [rule for rule in rules if rule.days is not None and rule.touches(prefix)]
    return min(aborting, key=lambda rule: rule.days or 0, default=None)


def life(rule: Rule) -> float:
    """Return for how many seconds an upload is safe from a rule: a day less than it says, as clocks
    differ, and as an upload that is taken in to its end must still be put together."""
    days = rule.days or 0
    return DAY * max(days - 1, days / 2)


def _root(configuration: Configuration) -> ET.Element:
    if not configuration.xml.strip():
        return ET.Element(f"{{{SPACE}}}LifecycleConfiguration")
    try:
        return ET.fromstring(configuration.xml)  # noqa: S314 - of the server that keeps our bytes
    except ET.ParseError as error:
        raise StoreError(f"The lifecycle configuration is not understood: {error}.") from error


def _rule(rule: ET.Element) -> Rule:
    known = {"ID", "Status", "Prefix", "Filter", "Expiration", ABORT}
    days = rule.findtext(f"{{*}}{ABORT}/{{*}}DaysAfterInitiation")
    kinds = dict.fromkeys(_name(each) for each in rule)
    return Rule(
        id=rule.findtext("{*}ID") or "",
        enabled=rule.findtext("{*}Status") == "Enabled",
        prefix=next((each.text or "" for each in rule.iter() if _name(each) == "Prefix"), ""),
        narrowed=any(_name(each) in _NARROW for each in rule.iterfind("{*}Filter//")),
        days=_number(days),
        deletes=_deletion(rule),
        others=tuple(kind for kind in kinds if kind not in known),
    )


_NARROW = {"Tag", "ObjectSizeGreaterThan", "ObjectSizeLessThan"}


def _number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() else None


def _deletion(rule: ET.Element) -> str:
    days = _number(rule.findtext("{*}Expiration/{*}Days"))
    date = rule.findtext("{*}Expiration/{*}Date")
    if days is not None:
        return f"{_days(days)} after they were made"
    return f"from {date.strip()} on" if date else ""


def _name(element: ET.Element) -> str:
    return str(element.tag).rpartition("}")[2]


# --- Adding ours ----------------------------------------------------------------------------------


def own_id(prefix: str) -> str:
    """Return the name of our rule for a prefix: the same whoever asks, for this prefix alone."""
    return f"vectus-{sha256(prefix.encode()).hexdigest()[:12]}"


def days_for(expire_after: float) -> int:
    """Return how many days our rule must have. It counts from the beginning of an upload and not
    from its last byte, so that an upload that goes on needs more than its expiry."""
    return max(LEAST_DAYS, math.ceil(2 * expire_after / DAY))


def with_rule(configuration: Configuration, prefix: str, days: int) -> Configuration:
    """Return a configuration with our rule for a prefix, new or changed, and all others.

    Raises:
        StoreError: it cannot be understood, or not be written without a change to others.
    """
    root = _root(configuration)
    ours = _made(_space(root), prefix, days, old_style=_is_old_style(root))
    at = next(iter(_places(root, own_id(prefix))), len(root))
    for rule in root.findall("{*}Rule"):
        if rule.findtext("{*}ID") == own_id(prefix):
            root.remove(rule)
    root.insert(at, ours)
    return Configuration(_written(root), configuration.minimum)


def _places(root: ET.Element, id: str) -> Iterator[int]:
    for at, rule in enumerate(root):
        if rule.findtext("{*}ID") == id:
            yield at


def _is_old_style(root: ET.Element) -> bool:
    """Whether the rules name their prefix outside a filter: S3 refuses a mixture."""
    rules = root.findall("{*}Rule")
    old = any(rule.find("{*}Prefix") is not None for rule in rules)
    return old and all(rule.find("{*}Filter") is None for rule in rules)


def _made(space: str, prefix: str, days: int, *, old_style: bool) -> ET.Element:
    rule = ET.Element(f"{space}Rule")
    ET.SubElement(rule, f"{space}ID").text = own_id(prefix)
    about = rule if old_style else ET.SubElement(rule, f"{space}Filter")
    ET.SubElement(about, f"{space}Prefix").text = prefix
    ET.SubElement(rule, f"{space}Status").text = "Enabled"
    abort = ET.SubElement(rule, f"{space}{ABORT}")
    ET.SubElement(abort, f"{space}DaysAfterInitiation").text = str(days)
    return rule


def _space(root: ET.Element) -> str:
    """The namespace of all elements, in braces; some servers have none."""
    return root.tag.rpartition("}")[0] + "}" if "}" in root.tag else ""


def _written(root: ET.Element) -> bytes:
    space = _space(root).strip("{}") or None
    try:
        return bytes(ET.tostring(root, "utf-8", xml_declaration=True, default_namespace=space))
    except ValueError as error:
        raise StoreError(
            "The lifecycle configuration has something in it that cannot be kept as it is."
        ) from error


# --- Comparing ------------------------------------------------------------------------------------


def same(one: Configuration, other: Configuration) -> bool:
    """Whether two configurations say the same, in whatever order."""
    return one.minimum == other.minimum and _meaning(one) == _meaning(other)


def _meaning(configuration: Configuration, but: str | None = None) -> list[str]:
    return sorted(
        ET.canonicalize(ET.tostring(rule, "unicode"), strip_text=True, rewrite_prefixes=True)
        for rule in _root(configuration)
        if but is None or rule.findtext("{*}ID") != but
    )


def difference(before: Configuration, after: Configuration) -> list[str]:
    """Say how two configurations differ, a line for each rule that goes or comes, and one for
    those that stay."""
    old, new = rules_of(before), rules_of(after)
    gone = [f"- {rule.words}" for rule in old if rule not in new]
    come = [f"+ {rule.words}" for rule in new if rule not in old]
    stay = [f"  {rule.words}" for rule in old if rule in new]
    return [*stay, *gone, *come]


# --- Judging --------------------------------------------------------------------------------------


def judge(rules: tuple[Rule, ...], prefix: str, expire_after: float | None) -> Iterator[Finding]:
    """Say what rules mean for the uploads under a prefix.

    Args:
        rules: all of a bucket.
        prefix: of the uploads' keys.
        expire_after: seconds an unfinished upload lives after its last byte, or None for ever.
    """
    first = shortest(rules, prefix)
    if first is None:
        yield _unswept(prefix, expire_after)
    elif expire_after is None or (first.days or 0) < days_for(expire_after):
        yield _hasty(first, prefix, expire_after)
    elif any(rule.days is not None and rule.covers(prefix) for rule in rules):
        says = f"What nobody finishes is dropped, by the rule {first.words}."
        yield Finding("lifecycle", Grade.OK, says)
    else:
        says = f"Only a part of what nobody finishes is dropped, by the rule {first.words}."
        yield Finding("lifecycle", Grade.WARNING, says, ADD)
    for rule in rules:
        if rule.touches(prefix) and (rule.deletes or MOVING & set(rule.others)):
            yield Finding("lifecycle", Grade.WARNING, f"{DELETING}: {rule.words}.", EXEMPT)


ADD = "Have a rule added with --fix."
EXEMPT = "Exempt the uploads' prefix, unless this is meant."
DELETING = "A rule takes finished uploads away, and the records of all with them"
MOVING = {"Transition"}


def _unswept(prefix: str, expire_after: float | None) -> Finding:
    if expire_after is None:
        says = "No rule drops unfinished uploads, as it must be where they never expire."
        return Finding("lifecycle", Grade.OK, says)
    says = "No rule of the bucket drops what nobody finishes. The servers do it, while they run."
    return Finding("lifecycle", Grade.WARNING, says, ADD)


def _hasty(rule: Rule, prefix: str, expire_after: float | None) -> Finding:
    says = (
        f"An upload has {_days_of(life(rule))} from its creation to its end, even one that goes "
        f"on, by the rule {rule.words}."
    )
    if expire_after is None:
        hint = "Remove the rule if uploads shall never expire."
    elif rule.id == own_id(prefix):
        hint = f"Have it changed to {days_for(expire_after)} days with --fix."
    else:
        hint = f"Make it {days_for(expire_after)} days, unless this is meant."
    return Finding("lifecycle", Grade.WARNING, says, hint)


def _days_of(seconds: float) -> str:
    return f"{seconds / DAY:g} days" if seconds != DAY else "1 day"


def is_settled(rules: tuple[Rule, ...], prefix: str, days: int) -> bool:
    """Whether our rule for a prefix is there, and gives uploads so many days or more."""
    return any(
        rule == Rule(own_id(prefix), True, prefix, days=rule.days) and (rule.days or 0) >= days
        for rule in rules
    )


def others_same(one: Configuration, other: Configuration, prefix: str) -> bool:
    """Whether two configurations have the same rules but for ours for a prefix."""
    minimum = one.minimum in {None, other.minimum}  # a server may name its own once there is one
    return minimum and _meaning(one, own_id(prefix)) == _meaning(other, own_id(prefix))
