"""Builds HTML and SVG in which text is escaped unless it was built here, so that data can never be markup."""

from collections.abc import Iterable, Sequence
from html import escape


class Markup(str):
    """Text that is markup already and is not escaped again."""

    __slots__ = ()


def tag(name: str, *children: str | None, **attributes: str | float | None) -> Markup:
    """Return ``<name attributes>children</name>``; children but ``Markup`` are escaped, None left out.

    Attributes are escaped, None leaves one out, ``class_`` stands for class and ``_`` for ``-``.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def join(parts: Iterable[str | None]) -> Markup:
    """Return the parts one after the other, escaped where they are no ``Markup``."""
    return Markup(
        "".join(part if isinstance(part, Markup) else escape(part) for part in parts if part is not None)
    )


def table(caption: str, head: Sequence[str], body: Iterable[Sequence[str]]) -> Markup:
    """Return a table, names in the first column and numbers in the others; a narrow screen scrolls it."""

    def cell(words: str, column: int, name: str) -> Markup:
        heads = bool(words) and (name == "th" or column == 0)  # an empty header would be read out as nothing
        scope = ("col" if name == "th" else "row") if heads else None
        return tag("th" if heads else "td", words, class_=None if column == 0 else "n", scope=scope)

    def cells(row: Sequence[str], name: str) -> Markup:
        return join(cell(words, column, name) for column, words in enumerate(row))

    content = tag(
        "table",
        tag("caption", caption, class_="hidden"),
        tag("thead", tag("tr", cells(head, "th"))),
        tag("tbody", *(tag("tr", cells(row, "td")) for row in body)),
    )
    return tag("div", content, class_="scroll", tabindex="0", role="region", aria_label=caption)


def panel(title: str, *children: str | None, note: str | None = None) -> Markup:
    """Return a titled box; ``note`` is a line of explanation under the title."""
    return tag(
        "div", tag("h3", title), tag("p", note, class_="note") if note else None, *children, class_="panel"
    )


def pair(panels: Sequence[Markup]) -> Markup | None:
    """Return the boxes side by side where the screen is wide enough; None when there are none."""
    return tag("div", *panels, class_="pair") if panels else None


def details(summary: str, *children: str | None) -> Markup:
    """Return a part that is folded until somebody opens it."""
    return tag("details", tag("summary", summary), *children)


def facts(pairs: Iterable[tuple[str, str | None]]) -> Markup | None:
    """Return a list of names and values; pairs without a value are left out, None when all are."""
    kept = [(name, value) for name, value in pairs if value]
    if not kept:
        return None
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in kept))
