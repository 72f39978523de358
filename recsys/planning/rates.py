"""What one machine was measured to do: the only table of rates that predictions of time use.

Measured by COMMAND on MACHINE at 260,000 and 2,600,000 users; where both sizes differ the slower rate stands here.
Rates with a core in their unit are of one of the two cores, both at work.
"""

MACHINE = "x86_64, 2 cores, 24 GiB, local disk, Python 3.11, November 2026"
COMMAND = "make bench-scale"
MEASURED_CORES = 2
MEASURED_FACTORS = 64
# Not measured: what a core beyond the measured ones adds, of a measured one.
EFFICIENCY, BPR_EFFICIENCY = 0.6, 0.4

PREPARE_ROWS = 170_000.0  # cleaned rows/s, comments on half of them; 210,000 at 10x, 168,000 at 100x
LOAD_ROWS = 1_600_000.0  # cleaned rows/s
ALS_CG_FLOP = 5.5e9  # the formula's FLOP/s and core, the loss of each iteration included
ALS_NATIVE_FLOP = 28e9
BPR_TRIPLETS = 6.2e6  # triplets/s and core at 64 factors
BPR_FIXED_FACTORS = 32  # assumed: drawing and sorting a triplet costs as much as so many factors
HYBRID_TRIPLETS = 0.13e6  # triplets/s and core at 64 factors and 384 dimensions: bench_hybrid.py
PRODUCT_FLOP = 110e9  # of matrix products, FLOP/s and core
RANK_SECONDS = 0.65e-9  # core seconds of each score beside its product: rank and top list
TOP_LIST_SECONDS = 0.3e-9  # the same for a top list alone
SCORE_RANGE_SECONDS = 16e-9  # the same for moments and percentiles, both walks together
LIST_USER_SECONDS = 14e-6  # of each user beside scores: the rows of the list files; one core
PUBLISH_BYTES = 100e6  # bytes/s of factors and seen items, written, read back and hashed
# At 224,000 items on a busy machine (bench_recommend.py); with 22,000 items the search was six times as fast.
HNSW_BUILD_CANDIDATES = 0.45e6  # items x ef_construction / s; one core builds the graph
HNSW_SEARCH_CANDIDATES = 0.32e6  # users x ef_search / s and core
# Trials of the first night under preset auto (later ones try neighbours only), see recsys.cf.tuning.auto.
TRIALS = {"als": 14, "bpr": 22, "hybrid": 0}
