"""Bundles that a device keeps, in slots with an active, a previous and a candidate one, and the log of it all.

`Store` is what is on the disk, `installing` what people do to it, `Store.start` and its neighbours what a run
says of a bundle on probation, `audit` the log.
"""
