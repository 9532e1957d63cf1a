"""Problems whose optimum is known: quadratics and convex classification."""
