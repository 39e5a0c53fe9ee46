"""Measures of rankings and topics, from arrays alone."""
