"""The Compute API v2.1, microversions 2.1 to 2.100, in front of instance, host and project actors.

What it shows are the actors' ready views, cut to what the caller and the microversion get; what it changes
goes to the actors as commands, but for flavors, key pairs and limits, which are rows of its own.
"""
