"""What Slack refuses of a message: text, blocks and metadata, by its documented limits. For the simulated Slack."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

MOST_BLOCKS: Final = 50
MOST_FIELDS: Final = 10
MOST_ELEMENTS: Final = 10
LONGEST_HEADER: Final = 150
LONGEST_SECTION: Final = 3_000
LONGEST_FIELD: Final = 2_000
LONGEST_CONTEXT: Final = 2_000
LONGEST_MESSAGE: Final = 40_000
# Not documented; messages of 11,341 characters of block text have been refused, those of 9,597 not
# (github.com/slackapi/bolt-js/issues/2867).
LONGEST_BLOCKS: Final = 11_000
LARGEST_METADATA: Final = 16_384
_EVENT_TYPE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,254}")


class Unfit(Exception):
    """Slack's name of the error, and its remarks for whoever reads them."""

    def __init__(self, error: str, *remarks: str) -> None:
        super().__init__(error)
        self.error = error
        self.remarks = remarks


def check_text(text: str, *, has_blocks: bool) -> None:
    if not text.strip() and not has_blocks:
        raise Unfit("no_text")
    if len(text) > LONGEST_MESSAGE:
        raise Unfit("msg_too_long")


def check_blocks(blocks: Any) -> list[dict[str, Any]]:
    """The blocks, which a form carries as JSON."""
    if isinstance(blocks, str):
        try:
            blocks = json.loads(blocks)
        except ValueError as error:
            raise Unfit("invalid_blocks_format") from error
    if not isinstance(blocks, list):
        raise Unfit("invalid_blocks_format")
    remarks = [f"[ERROR] {one}" for one in _wrong(blocks)]
    if remarks:
        raise Unfit("invalid_blocks", *remarks)
    if sum(map(_length, blocks)) > LONGEST_BLOCKS:
        raise Unfit("msg_blocks_too_long")
    return blocks


def check_metadata(metadata: Any) -> dict[str, Any]:
    if isinstance(metadata, str):
        try:
            metadata = json.loads(metadata)
        except ValueError as error:
            raise Unfit("invalid_metadata_format") from error
    fits = (
        isinstance(metadata, dict)
        and set(metadata) == {"event_type", "event_payload"}
        and isinstance(metadata["event_type"], str)
        and _EVENT_TYPE.fullmatch(metadata["event_type"])
        and isinstance(metadata["event_payload"], dict)
    )
    if not fits:
        raise Unfit("invalid_metadata_format")
    if len(json.dumps(metadata)) > LARGEST_METADATA:
        raise Unfit("metadata_too_large")
    return dict(metadata)


def _wrong(blocks: list[Any]) -> Iterator[str]:
    if len(blocks) > MOST_BLOCKS:
        yield f"no more than {MOST_BLOCKS} items allowed [json-pointer:/blocks]"
    for place, block in enumerate(blocks):
        where = f"/blocks/{place}"
        if not isinstance(block, dict) or block.get("type") not in _BLOCKS:
            kind = block.get("type") if isinstance(block, dict) else block
            yield f"unsupported type: {kind} [json-pointer:{where}/type]"
            continue
        check, keys = _BLOCKS[block["type"]]
        extra = set(block) - keys - {"type", "block_id"}
        yield from (f"invalid additional property: {one} [json-pointer:{where}]" for one in extra)
        yield from check(block, where)
    names = [one.get("block_id") for one in blocks if isinstance(one, dict) and "block_id" in one]
    if len(names) != len(set(names)):
        yield "block_id already exists [json-pointer:/blocks]"


def _header(block: Mapping[str, Any], where: str) -> Iterator[str]:
    yield from _text(block.get("text"), f"{where}/text", LONGEST_HEADER, kinds=("plain_text",))


def _section(block: Mapping[str, Any], where: str) -> Iterator[str]:
    fields = block.get("fields")
    if block.get("text") is None and not fields:
        yield f"must provide either text or fields [json-pointer:{where}]"
    if block.get("text") is not None:
        yield from _text(block["text"], f"{where}/text", LONGEST_SECTION)
    if fields is None:
        return
    if not isinstance(fields, list) or not 1 <= len(fields) <= MOST_FIELDS:
        yield f"between 1 and {MOST_FIELDS} items allowed [json-pointer:{where}/fields]"
        return
    for place, one in enumerate(fields):
        yield from _text(one, f"{where}/fields/{place}", LONGEST_FIELD)


def _context(block: Mapping[str, Any], where: str) -> Iterator[str]:
    elements = block.get("elements")
    if not isinstance(elements, list) or not 1 <= len(elements) <= MOST_ELEMENTS:
        yield f"between 1 and {MOST_ELEMENTS} items allowed [json-pointer:{where}/elements]"
        return
    for place, one in enumerate(elements):
        yield from _text(one, f"{where}/elements/{place}", LONGEST_CONTEXT)


def _divider(_: Mapping[str, Any], __: str) -> Iterator[str]:
    return iter(())


def _text(
    text: Any, where: str, longest: int, *, kinds: tuple[str, ...] = ("plain_text", "mrkdwn")
) -> Iterator[str]:
    if not isinstance(text, dict) or text.get("type") not in kinds:
        yield f"must be one of {', '.join(kinds)} [json-pointer:{where}/type]"
        return
    extra = set(text) - {"type", "text", "verbatim" if text["type"] == "mrkdwn" else "emoji"}
    yield from (f"invalid additional property: {one} [json-pointer:{where}]" for one in extra)
    words = text.get("text")
    if not isinstance(words, str) or not words.strip():
        yield f"must be more than 0 characters [json-pointer:{where}/text]"
    elif len(words) > longest:
        yield f"must be less than {longest + 1} characters [json-pointer:{where}/text]"


_BLOCKS: Final = {
    "header": (_header, {"text"}),
    "section": (_section, {"text", "fields"}),
    "context": (_context, {"elements"}),
    "divider": (_divider, set[str]()),
}


def _length(node: Any) -> int:
    """The characters of all texts in a tree of blocks."""
    if isinstance(node, list):
        return sum(map(_length, node))
    if isinstance(node, dict):
        return sum(
            len(v) if k == "text" and isinstance(v, str) else _length(v) for k, v in node.items()
        )
    return 0
