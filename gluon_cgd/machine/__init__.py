"""This computer: its cores and devices, and what must happen before MXNet is imported."""
