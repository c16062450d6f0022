"""Beyond the paper: more descriptors and losses, attention, and changes of training pictures.

The registries in `descriptors`, `losses` and `attention` list the blocks.
"""
