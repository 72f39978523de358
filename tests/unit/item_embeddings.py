"""Small embeddings that tests of the hybrid model share."""

import numpy as np

from recsys.cf.embeddings.align import AlignedEmbeddings


def embeddings_of(vectors, known=None):
    vectors = np.asarray(vectors, dtype=np.float32)
    known = np.ones(len(vectors), dtype=bool) if known is None else np.asarray(known)
    return AlignedEmbeddings(np.where(known[:, None], vectors, 0), known, "test", "1", (), 0)


def random_embeddings(n_items, dimensions=7, seed=0):
    random = np.random.default_rng(seed)
    return embeddings_of(random.normal(0.3, 1, (n_items, dimensions)), random.random(n_items) < 0.8)
