"""MLflow: a run on a tracking server, or in a database of this folder."""

import os
import time
from typing import Optional

from bagoftricks.loggers.base import Figures, Logger, RunFacts
from bagoftricks.registry import logger

TAG = "bagoftricks.run"  # by which a run that goes on is found
STATUS = {"done": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
LONGEST_PARAM, MOST_PARAMS = 500, 100  # of one request


@logger(name="mlflow", package="mlflow")
class MLflow(Logger):
    """MLflow: a run with our id as a tag, and its study as another."""

    tracking_uri: Optional[str] = None  # noqa: UP045 (the spelling that OmegaConf reads)
    """server or database; default: MLFLOW_TRACKING_URI, else a database in the working folder"""
    experiment: str = "bagoftricks"
    """experiment of the run"""

    def start(self, run: RunFacts) -> str:
        """Make the run, or open the one that an earlier process made."""
        for name, value in {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "WARNING"}.items():
            os.environ.setdefault(name, value)
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        self.client = MlflowClient(self.tracking_uri)
        known = self.client.get_experiment_by_name(self.experiment)
        experiment = known.experiment_id if known else self.client.create_experiment(self.experiment)
        found = [] if run.again else self.client.search_runs([experiment], f"tags.`{TAG}` = '{run.id}'", max_results=1)
        if found:
            self.id = found[0].info.run_id
            self.client.update_run(self.id, status="RUNNING")
        else:
            tags = {TAG: run.id, **({"bagoftricks.study": run.group} if run.group else {})}
            self.id = self.client.create_run(experiment, run_name=run.label, tags=tags).info.run_id
            params = [Param(name, str(value)[:LONGEST_PARAM]) for name, value in run.flat.items()]
            for first in range(0, len(params), MOST_PARAMS):
                self.client.log_batch(self.id, params=params[first : first + MOST_PARAMS])
        return f"experiment {self.experiment}, run {self.id}"

    def log(self, step: int, figures: Figures) -> None:
        """Send the figures of a step."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self.client.log_batch(self.id, metrics=[Metric(name, value, now, step) for name, value in figures.items()])

    def finish(self, outcome: str) -> None:
        """Set the status of the run."""
        self.client.set_terminated(self.id, STATUS[outcome])
