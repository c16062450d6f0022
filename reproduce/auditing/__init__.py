"""What `reproduce/audit.py` recomputes, without any code of the project: NumPy, SciPy and the standard library."""
