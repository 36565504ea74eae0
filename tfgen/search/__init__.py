"""From a trained network, or from none, to the one that is best on a given device."""
