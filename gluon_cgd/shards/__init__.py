"""An index that is embedded in shards, by several processes or machines, and joined."""
