"""Planning of studies: designs, experiments, arms, estimates, and the processes that train their runs."""
