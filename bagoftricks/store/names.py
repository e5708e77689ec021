"""Names of the files in the folder of a run, and of the folder of the studies."""

RECORD, METRICS, WEIGHTS = "record.json", "metrics.csv", "weights.safetensors"
CORRECT = "correct.safetensors"  # images that each weight set got right (correctness.py)
FAILURE, INTERRUPTED = "failure.json", "interrupted"
LOG, EVIDENCE = "log.txt", "evidence.json"  # of a worker of a sweep; of a loss that is not finite
KEPT_STATE, STUDIES = "state.safetensors", "studies"  # what a longer run continues; a folder that all runs share
