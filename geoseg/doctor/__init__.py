"""``geoseg doctor``: whether everything that geoseg stands on works here, and what to do where it does not.

Nothing is loaded at the top of these modules but the standard library: what is broken must not break its own examination.
"""
