"""Beyond the paper: more descriptors and losses; the registries in `descriptors` and `losses` list them."""
