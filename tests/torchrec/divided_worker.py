"""The worker with TorchRec's division of gradients by the number of ranks left on, as it comes."""

import sys

from torchrec.distributed.comm_ops import set_gradient_division

from recsys.cf.models import torchrec_worker

set_gradient_division(True)
sys.exit(torchrec_worker.main(sys.argv[1]))
