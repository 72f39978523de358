"""The sizes that formulas of memory and time speak of."""

from dataclasses import dataclass

from recsys.types import MAX_INT32_ENTRIES

_HELD_OUT_PER_USER = 2  # one validation and one test positive of nearly everybody
_POSITIVE_SHARE = 0.8  # of the train rows of a shop whose stars are mostly fours and fives


@dataclass(frozen=True)
class Sizes:
    """A data version in numbers: users and items with an index, rows after preparation."""

    users: int
    items: int
    train: int  # entries of the train matrix, likes and dislikes
    positives: int  # those of them that are liked
    held_out: int  # rows of validation and test together

    @classmethod
    def of_shop(cls, users: int, items: int, interactions: int) -> "Sizes":
        """Return the sizes of a shop with so many train interactions, by what is usual.

        Each user gives two more rows to validation and test, half of all rows at most; 80 % are positives.
        """
        held_out = min(_HELD_OUT_PER_USER * users, interactions)
        return cls(users, items, interactions, int(_POSITIVE_SHARE * interactions), held_out)

    @property
    def rows(self) -> int:
        """Number of cleaned rows."""
        return self.train + self.held_out

    @property
    def index_bytes(self) -> int:
        """Bytes of a position among the entries: 4, and 8 from 2^31 entries on."""
        return 8 if self.train > MAX_INT32_ENTRIES else 4
