"""Array-only numerical kernels: they know NumPy and nothing of the rest of the package."""
