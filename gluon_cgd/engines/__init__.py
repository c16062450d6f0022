"""What computes a training step: one graph, which MXNet defines, and the engines that run it."""
