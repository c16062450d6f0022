"""Files on disk: written whole or not at all, as tables of text, as figures."""
