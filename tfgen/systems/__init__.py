"""The systems of the house: which there are, and how a trained one is kept and found."""
