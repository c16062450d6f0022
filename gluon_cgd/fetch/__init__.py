"""Files that come over the network: datasets and ImageNet parameters."""
