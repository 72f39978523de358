"""Where item factors start when products have embeddings."""

import math
from dataclasses import dataclass

from recsys.cf.embeddings.project import Projection
from recsys.types import FloatMatrix


@dataclass(frozen=True)
class ItemStart:
    """Projected embeddings as a start of V, at the magnitude of the model's own random start."""

    projection: Projection
    scale: float  # root mean square length of a row, relative to that of a random start

    def vectors(self, random_length: float) -> FloatMatrix:
        """Return the start of known items, float32 (n_items, factors), zero rows for the others.

        Args:
            random_length: Root mean square length of a row of the random start.

        The columns that the projection leaves empty are zero here; ``fill`` leaves them random.
        """
        share = self.projection.rank / self.projection.vectors.shape[1]
        return self.projection.scaled(self.scale * random_length * math.sqrt(share))

    def fill(self, item_factors: FloatMatrix, random_length: float) -> None:
        """Write the start of known items into a random V, in place; further columns of V are left alone.

        Items without an embedding keep their random row, and so do the columns beyond the rank of the
        projection: a column of zeros would stay zero in ALS and take that factor from the model.
        """
        columns, known = slice(0, self.projection.rank), self.projection.known
        item_factors[known, columns] = self.vectors(random_length)[known, columns]
