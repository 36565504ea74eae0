"""Brings `tiny`, which lies beside this file, within reach of the tests of every room."""
