"""What of this machine is ready to train, and what to do about what is not."""
