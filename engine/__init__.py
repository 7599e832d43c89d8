"""Ouroboros: lineages of generative models that train on their own samples."""
