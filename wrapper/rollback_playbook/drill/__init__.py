"""Drills: what users see meanwhile, and how an environment of one's own is broken.

Knows the execution below it and nothing of the lab, which has faults of its own.
"""
