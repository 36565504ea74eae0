"""The network that client and attacker share: its loss, its gradient, its statistics."""

from tfgen.privacy.network.classifiers import CLASSIFIERS, build_classifier
from tfgen.privacy.network.forward import Statistics
from tfgen.privacy.network.shared import Head, SharedNetwork

__all__ = ["CLASSIFIERS", "Head", "SharedNetwork", "Statistics", "build_classifier"]
