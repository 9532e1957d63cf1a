"""Which worker holds which samples."""
