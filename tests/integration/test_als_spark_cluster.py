"""ALS on a cluster of two Spark workers, one of whose executors is lost in the middle."""

import threading

import numpy as np
from als_reference import rated_matrices
from spark_cluster import needs_spark, running_spark

from recsys.cf.models.als_train import train_als
from recsys.config.schema import AlsConfig, SparkConfig


class Stages(threading.Thread):
    """Watches the numbers of Spark's stages, which rise, and does something once when one of them is reached."""

    def __init__(self, session, at=None, action=None):
        super().__init__(daemon=True)
        self._tracker, self._at, self._action = session.sparkContext.statusTracker(), at, action
        self._over, self.last, self.acted = threading.Event(), 0, False

    def run(self):
        while not self._over.wait(0.05):
            self.last = max([self.last, *self._tracker.getActiveStageIds()])
            if self._at is not None and self.last >= self._at and not self.acted:
                self._action()
                self.acted = True

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self.join()


@needs_spark
def test_an_executor_killed_in_the_middle_changes_nothing(tmp_path):
    from recsys.engines.spark_session import spark_session

    confidence, positives = rated_matrices(1000, 200)
    config = AlsConfig(factors=16, iterations=12, regularization=2.0)
    with running_spark(tmp_path / "cluster") as cluster:
        spark = SparkConfig(
            master=cluster.master,
            partitions=4,
            executor_memory="512m",
            driver_memory="512m",
            checkpoint_interval=5,
        )
        with spark_session(spark, "tests") as session:
            with Stages(session) as stages:
                whole = train_als(confidence, positives, config, seed=3, spark=spark)
            middle = stages.last + stages.last // 2  # the second fit has as many stages again
            before = cluster.executor_pids()
            with Stages(session, middle, cluster.kill_an_executor) as stages:
                again = train_als(confidence, positives, config, seed=3, spark=spark)
    assert stages.acted
    assert len(before) == 2
    for one, other in (
        (whole.factors.user_factors, again.factors.user_factors),
        (whole.factors.item_factors, again.factors.item_factors),
    ):
        np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(one).max())
