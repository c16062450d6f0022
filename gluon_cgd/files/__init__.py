"""Files on disk: complete writing, checksums and locks; tables as text; figures."""
