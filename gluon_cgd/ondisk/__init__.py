"""Search in little memory: inverted lists of compressed vectors that stay on the disk."""
