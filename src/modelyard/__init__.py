"""Modelyard: the ML operations platform you run yourself."""

__version__ = "0.1.0"
