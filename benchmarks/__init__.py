"""`python -m benchmarks` measures speed and memory; `benchmarks.accuracy`, `.fashion_mnist`, `.pictures` run alone."""
