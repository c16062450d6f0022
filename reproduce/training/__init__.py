"""Training the runs that tables need: here, in local processes, or on a Slurm cluster; what they cost."""
