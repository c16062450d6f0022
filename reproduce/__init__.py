"""The paper's tables, regenerated and compared."""
